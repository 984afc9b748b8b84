/**
 * The audit log: who did what to whom, and why it was refused. Rows are added and never changed or deleted.
 *
 * A row holds nothing secret: no secrets, tokens, payloads or keys, only names, ids, hashes and reasons.
 */
import type { Reason } from "../../shared/refusal.ts";
import { statement } from "../sqlite/database.ts";
import type { Registry } from "./registry.ts";

/** What a row says. */
export interface AuditEntry {
  /** What happened, `<thing>.<past participle>`: `client.created`, `token.issued`. */
  readonly event: string;
  /** Who did it: `admin`, a client id, `ticket:<id>`, `postern` itself. */
  readonly actor: string;
  /** To whom or what: a client id, `<project>.<api or role>`, a ticket's id, a certificate's serial, a kid. */
  readonly subject?: string | undefined;
  /** Taken from the subject where that is `<project>.<name>`. */
  readonly project?: string | undefined;
  readonly reason?: Reason | undefined;
  readonly refusalId?: string | undefined;
  readonly facts?: Readonly<Record<string, unknown>> | undefined;
}

/** A row as it was written. */
export interface AuditRecord extends AuditEntry {
  readonly seq: number;
  /** When, in seconds. */
  readonly at: number;
}

/** The actor of whoever holds the admin key. */
export const ADMIN = "admin";
/** The actor of what the program does of its own accord. */
export const ITSELF = "postern";

/** Names from outside are cut to this many characters. */
const maxNameLength = 160;

/** Adds a row; call it within the transaction of the change that it speaks of. */
export function audit(r: Registry, entry: AuditEntry): void {
  statement(
    r.db,
    `INSERT INTO audit (at, event, actor, project, subject, reason, refusal_id, facts) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
  ).run(
    r.nowSeconds(),
    entry.event,
    entry.actor.slice(0, maxNameLength),
    entry.project ?? projectOf(entry.subject),
    entry.subject?.slice(0, maxNameLength) ?? null,
    entry.reason ?? null,
    entry.refusalId ?? null,
    entry.facts === undefined ? null : JSON.stringify(entry.facts),
  );
}

/** Newest first; `before` is the `seq` of the last row that is known already. */
export function listAudit(
  r: Registry,
  asked: { readonly project: string; readonly limit: number; readonly before?: number | undefined },
): AuditRecord[] {
  return statement<AuditRow>(r.db, `SELECT * FROM audit WHERE project = ? AND seq < ? ORDER BY seq DESC LIMIT ?`)
    .all(asked.project, asked.before ?? Number.MAX_SAFE_INTEGER, asked.limit)
    .map(toRecord);
}

interface AuditRow {
  readonly seq: number;
  readonly at: number;
  readonly event: string;
  readonly actor: string;
  readonly project: string | null;
  readonly subject: string | null;
  readonly reason: Reason | null;
  readonly refusal_id: string | null;
  readonly facts: string | null;
}

function toRecord(row: AuditRow): AuditRecord {
  return {
    seq: row.seq,
    at: row.at,
    event: row.event,
    actor: row.actor,
    project: row.project ?? undefined,
    subject: row.subject ?? undefined,
    reason: row.reason ?? undefined,
    refusalId: row.refusal_id ?? undefined,
    facts: row.facts === null ? undefined : (JSON.parse(row.facts) as Record<string, unknown>),
  };
}

function projectOf(subject: string | undefined): string | null {
  const dot = subject?.indexOf(".") ?? -1;
  return dot < 0 ? null : subject!.slice(0, Math.min(dot, maxNameLength));
}
