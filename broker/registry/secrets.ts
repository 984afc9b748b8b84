/**
 * Secrets of clients and of resource servers: random, shown once, kept as SHA-256 only. Several are good at a time, so that a
 * new one is in use everywhere before the old one goes (docs/operating.md).
 *
 * A secret ends by its expiry, by hand, or by itself: once a newer one has stood beside it, and nobody has used it, for its
 * idle time. What has ended stays so, whatever becomes of the newer one; and the newest never ends by itself.
 */
import { hash, randomBytes, timingSafeEqual } from "node:crypto";
import { Refusal, refuse } from "../../shared/refusal.ts";
import { assertWithin } from "./apis.ts";
import { ADMIN, audit } from "./audit.ts";
import { statement } from "../sqlite/database.ts";
import type { Registry } from "./registry.ts";

/** Whose secret it is: a client's, or an api's own. */
export type SecretOwner =
  { readonly project: string; readonly client: string } | { readonly project: string; readonly api: string };

/** A secret on record, without the secret. Times in seconds. */
export interface SecretRecord {
  readonly id: string;
  readonly createdAt: number;
  /** Null: it has no end of its own. */
  readonly expiresAt: number | null;
  /** How long an old one may go unused. */
  readonly idleSeconds: number;
  /** It may have been used for a minute longer; null: never. */
  readonly lastUsedAt: number | null;
  readonly status: "valid" | "expired" | "retired";
}

/** What a secret is created with. */
export interface NewSecret {
  readonly ttlSeconds?: number | undefined;
  readonly idleSeconds?: number | undefined;
}

/** How long a secret may live, and go unused, in seconds. */
export const secretTtl = { min: 60, max: 5 * 365 * 86_400 } as const;
export const secretIdle = { min: 60, default: 7 * 86_400, max: 365 * 86_400 } as const;
/** Good ones of one owner at a time. */
export const MAX_SECRETS = 5;
/** Of those that have ended the newest stay on record, and are told apart from what never was one. */
const keptEnded = 15;
/** The last use is written down at most this often. */
const noteEverySeconds = 60;
/** Compared with where there is no such owner. */
const decoy = hashSecret(randomBytes(32).toString("base64url"));

/** Makes one more. Throws `limit.reached` and `registry.invalid`. The owner is there. */
export function createSecret(
  r: Registry,
  owner: SecretOwner,
  { ttlSeconds, idleSeconds = secretIdle.default }: NewSecret = {},
  actor: string = ADMIN,
): { readonly record: SecretRecord; readonly secret: string } {
  if (ttlSeconds !== undefined) assertWithin("ttl_seconds", ttlSeconds, secretTtl);
  assertWithin("idle_seconds", idleSeconds, secretIdle);
  return r.change(() => {
    const now = r.nowSeconds();
    const [valid, ended] = divide(listSecrets(r, owner));
    if (valid.length >= MAX_SECRETS) {
      refuse("limit.reached", `at most ${MAX_SECRETS} secrets are good at a time; retire one`);
    }
    for (const { id } of ended.slice(keptEnded)) statement(r.db, `DELETE FROM secret WHERE id = ?`).run(id);
    const id = randomBytes(6).toString("hex");
    const secret = randomBytes(32).toString("base64url");
    const expiresAt = ttlSeconds === undefined ? null : now + ttlSeconds;
    statement(
      r.db,
      `INSERT INTO secret (id, project, client, api, secret_hash, created_at, expires_at, idle_seconds)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
    ).run(id, ...columnsOf(owner), hashSecret(secret), now, expiresAt, idleSeconds);
    const facts = { secret: id, expires: expiresAt ?? undefined };
    audit(r, { event: "secret.created", actor, subject: nameOwner(owner), project: owner.project, facts });
    return { record: listSecrets(r, owner).find((one) => one.id === id)!, secret };
  });
}

/** Newest first, the last ones that are good no more included. */
export function listSecrets(r: Registry, owner: SecretOwner): SecretRecord[] {
  const rows = readRows(r, owner);
  return rows.map((row, index) => ({
    id: row.id,
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    idleSeconds: row.idle_seconds,
    lastUsedAt: row.last_used_at,
    status: statusOf(row, rows.slice(0, index), r.nowSeconds()),
  }));
}

/** Ends a secret; done for one that was ended by hand. Throws `registry.not-found`. */
export function retireSecret(r: Registry, owner: SecretOwner, id: string, actor: string = ADMIN): void {
  r.change(() => {
    const row = readRows(r, owner).find((one) => one.id === id);
    if (row === undefined) refuse("registry.not-found", `no secret ${id.slice(0, 32)} of ${nameOwner(owner)}`);
    if (row.retired_at !== null) return;
    statement(r.db, `UPDATE secret SET retired_at = ? WHERE id = ?`).run(r.nowSeconds(), id);
    const facts = { secret: id };
    audit(r, { event: "secret.retired", actor, subject: nameOwner(owner), project: owner.project, facts });
  });
}

/** Removes all that a client has. Call it within the change that deletes the client. */
export function deleteSecrets(r: Registry, owner: { readonly project: string; readonly client: string }): void {
  statement(r.db, `DELETE FROM secret WHERE project = ? AND client = ?`).run(owner.project, owner.client);
}

/**
 * Checks a secret; gives its id. Throws `secret.expired` and `secret.retired`, and `client.secret` for what is none of the
 * owner's.
 */
export function checkSecret(r: Registry, owner: SecretOwner, secret: string): string {
  const presented = hashSecret(secret);
  const rows = r.remember(`secrets ${nameOwner(owner)}`, () => readRows(r, owner));
  const at = rows.findIndex((row) => timingSafeEqual(presented, row.secret_hash));
  const found = rows[at] ?? refuse("client.secret", nameOwner(owner));
  const status = statusOf(found, rows.slice(0, at), r.nowSeconds());
  if (status !== "valid") refuse(`secret.${status}`, `${nameOwner(owner)} secret ${found.id}`);
  noteUse(r, found);
  return found.id;
}

/** Does the work of a check where there is no owner, so that the answer takes as long. */
export function checkInVain(secret: string): void {
  timingSafeEqual(hashSecret(secret), decoy);
}

/** What is kept of a secret. Ours are random and long, so no slower hash is needed. */
export function hashSecret(secret: string): Uint8Array {
  // by way of text, which costs a third of bytes that are given out alone
  return Buffer.from(hash("sha256", secret, "hex"), "hex");
}

/** As the audit log and the credential call it: `<project>.<client>`, `<project>/<api>`. */
export function nameOwner(owner: SecretOwner): string {
  return "client" in owner ? `${owner.project}.${owner.client}` : `${owner.project}/${owner.api}`;
}

/** The owner in the columns `project`, `client` and `api`. */
export function columnsOf(owner: SecretOwner): [project: string, client: string | null, api: string | null] {
  return "client" in owner ? [owner.project, owner.client, null] : [owner.project, null, owner.api];
}

interface SecretRow {
  readonly id: string;
  readonly secret_hash: Uint8Array;
  readonly created_at: number;
  readonly expires_at: number | null;
  readonly idle_seconds: number;
  /** What is remembered of a row is forgotten at a change, and not when a use is written down. */
  last_used_at: number | null;
  readonly retired_at: number | null;
}

/** Newest first. */
function readRows(r: Registry, owner: SecretOwner): SecretRow[] {
  const column = "client" in owner ? "client" : "api";
  const name = "client" in owner ? owner.client : owner.api;
  const sql = `SELECT * FROM secret WHERE project = ? AND ${column} = ? ORDER BY number DESC`;
  return statement<SecretRow>(r.db, sql).all(owner.project, name);
}

function statusOf(row: SecretRow, newer: readonly SecretRow[], now: number): SecretRecord["status"] {
  if (row.retired_at !== null) return "retired";
  const lastUse = row.last_used_at === null ? row.created_at : row.last_used_at + noteEverySeconds;
  // it retired in the life of a newer one, or it did not
  const hasRetired = newer.some((one) => {
    const retiresAt = Math.max(lastUse, one.created_at) + row.idle_seconds;
    return retiresAt <= Math.min(now, endOf(one)) && retiresAt < (row.expires_at ?? Infinity);
  });
  if (hasRetired) return "retired";
  return endOf(row) <= now ? "expired" : "valid";
}

function endOf({ expires_at: expires, retired_at: retired }: SecretRow): number {
  return Math.min(expires ?? Infinity, retired ?? Infinity);
}

function noteUse(r: Registry, row: SecretRow): void {
  const now = r.nowSeconds();
  if (row.last_used_at !== null && now - row.last_used_at < noteEverySeconds) return;
  row.last_used_at = now;
  try {
    r.append(() => statement(r.db, `UPDATE secret SET last_used_at = ? WHERE id = ?`).run(now, row.id));
  } catch (error) {
    // a full disk does not keep anybody out
    if (!(error instanceof Refusal)) throw error;
  }
}

function divide(records: readonly SecretRecord[]): [valid: SecretRecord[], ended: SecretRecord[]] {
  return [records.filter(({ status }) => status === "valid"), records.filter(({ status }) => status !== "valid")];
}
