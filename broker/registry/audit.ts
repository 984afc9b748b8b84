/**
 * The audit log: who did what to whom, and why it was refused. Rows are added and never changed or deleted, which the schema
 * sees to, and each carries a hash over itself and the row before it (`shared/audit-chain.ts`).
 *
 * A row holds nothing secret: no secrets, tokens, payloads or keys, only names, ids, hashes and reasons.
 */
import { CHAIN_START, hashRow, type AuditRow, type ChainedRow } from "../../shared/audit-chain.ts";
import type { Reason } from "../../shared/refusal.ts";
import { statement, type Database } from "../sqlite/database.ts";
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

/** The last row of the log. */
interface Head {
  readonly seq: number;
  readonly hash: Uint8Array;
}

/** As this process wrote it, and takes it back with the transaction that is undone. */
const heads = new WeakMap<Database, Head>();

/** Names from outside are cut to this many characters. */
const maxNameLength = 160;

/** What SQLite would give back as another character: half of a pair. */
const halves = /\p{Surrogate}/gu;

/** Adds a row; call it within the transaction of the change that it speaks of. */
export function audit(r: Registry, entry: AuditEntry): void {
  r.append(() => {
    const head = heads.get(r.db);
    // the log goes on after a row that somebody else put there, and the verification names that row
    const added = (head !== undefined && addRow(r, entry, head)) || addRow(r, entry, readHead(r));
    if (!added) throw new Error("the audit log takes no row");
  });
}

/** Adds a row behind the head; false where there is a row already. */
function addRow(r: Registry, entry: AuditEntry, head: Head): boolean {
  const row: AuditRow = {
    seq: head.seq + 1,
    at: r.nowSeconds(),
    event: entry.event,
    actor: cut(entry.actor),
    project: cutOrNull(entry.project ?? projectOf(entry.subject)),
    subject: cutOrNull(entry.subject),
    reason: entry.reason ?? null,
    refusal_id: entry.refusalId ?? null,
    facts: entry.facts === undefined ? null : JSON.stringify(entry.facts),
  };
  const hash = hashRow(head.hash, row);
  const { changes } = statement(
    r.db,
    `INSERT INTO audit (seq, at, event, actor, project, subject, reason, refusal_id, facts, hash)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
  ).run(row.seq, row.at, row.event, row.actor, row.project, row.subject, row.reason, row.refusal_id, row.facts, hash);
  if (changes === 0) return false;
  const before = heads.get(r.db);
  heads.set(r.db, { seq: row.seq, hash });
  r.ifUndone(() => (before === undefined ? heads.delete(r.db) : heads.set(r.db, before)));
  return true;
}

/** Newest first; `before` is the `seq` of the last row that is known already. */
export function listAudit(
  r: Registry,
  asked: { readonly project: string; readonly limit: number; readonly before?: number | undefined },
): AuditRecord[] {
  return statement<Row>(r.db, `SELECT * FROM audit WHERE project = ? AND seq < ? ORDER BY seq DESC LIMIT ?`)
    .all(asked.project, asked.before ?? Number.MAX_SAFE_INTEGER, asked.limit)
    .map(toRecord);
}

/** The row of a refusal, by the id that the refused peer was told. */
export function findRefusal(r: Registry, refusalId: string): AuditRecord | undefined {
  const row = statement<Row>(r.db, `SELECT * FROM audit WHERE refusal_id = ? ORDER BY seq LIMIT 1`).get(refusalId);
  return row && toRecord(row);
}

/** A part of the chain. */
export interface ChainPart {
  readonly rows: readonly ChainedRow[];
  readonly more: boolean;
}

/**
 * Rows after `after`, oldest first, or before `before`, newest first: as many as are asked for or as fit into `bytes`, and
 * at least one.
 */
export function readChain(
  r: Registry,
  asked: {
    readonly after?: number | undefined;
    readonly before?: number | undefined;
    readonly limit: number;
    readonly bytes: number;
  },
): ChainPart {
  const rows: ChainedRow[] = [];
  const [where, from] =
    asked.before === undefined ? ["> ? ORDER BY seq", asked.after ?? 0] : ["< ? ORDER BY seq DESC", asked.before];
  let left = asked.bytes;
  const sql = `SELECT ${columns}, hash FROM audit WHERE seq ${where} LIMIT ?`;
  for (const row of statement<AuditRow & { hash: Buffer | null }>(r.db, sql).iterate(from, asked.limit + 1)) {
    left -= rowBytes + (row.facts?.length ?? 0);
    if (rows.length === asked.limit || (left < 0 && rows.length > 0)) return { rows, more: true };
    rows.push({ ...row, hash: row.hash?.toString("hex") ?? null });
  }
  return { rows, more: false };
}

/**
 * Gives the rows of a log from before there was a chain their hashes, in one transaction. Where the first row has one, the
 * others have too; a row without one that is found there all the same is left for the verification to find.
 */
export function sealAudit(r: Registry): void {
  const first = statement<{ hash: Buffer | null }>(r.db, `SELECT hash FROM audit ORDER BY seq LIMIT 1`).get();
  if (first === undefined || first.hash !== null) return;
  r.append(() => {
    let previous: Uint8Array = CHAIN_START;
    for (let after = 0; ;) {
      const sql = `SELECT ${columns} FROM audit WHERE seq > ? ORDER BY seq LIMIT ${sealedAtOnce}`;
      const rows = statement<AuditRow>(r.db, sql).all(after);
      for (const row of rows) {
        previous = hashRow(previous, row);
        statement(r.db, `UPDATE audit SET hash = ? WHERE seq = ?`).run(previous, row.seq);
      }
      if (rows.length < sealedAtOnce) return;
      after = rows.at(-1)!.seq;
    }
  });
}

const columns = "seq, at, event, actor, project, subject, reason, refusal_id, facts";
const sealedAtOnce = 1_000;
/** What a row takes beside its facts, about. */
const rowBytes = 500;

function readHead(r: Registry): Head {
  const sql = `SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1`;
  const last = statement<{ seq: number; hash: Buffer | null }>(r.db, sql).get();
  // a row that was smuggled in may have no hash
  return { seq: last?.seq ?? 0, hash: last?.hash ?? CHAIN_START };
}

type Row = Omit<AuditRow, "reason"> & { readonly reason: Reason | null };

function toRecord(row: Row): AuditRecord {
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

function projectOf(subject: string | undefined): string | undefined {
  const dot = subject?.indexOf(".") ?? -1;
  return dot < 0 ? undefined : subject!.slice(0, dot);
}

function cut(text: string): string {
  return text.slice(0, maxNameLength).replace(halves, "\ufffd");
}

function cutOrNull(text: string | undefined): string | null {
  return text === undefined ? null : cut(text);
}
