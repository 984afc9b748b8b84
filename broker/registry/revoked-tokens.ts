/**
 * The list of revoked tokens (RFC 9770): a row for each that was taken back and has not expired yet. A row goes a
 * minute after its token has expired; both are updates, which requesters follow.
 *
 * A JWT has two hashes, one for each spelling. The list that goes out has that of the spelling in which it was given out,
 * and the gate is told both, because a client may present either.
 */
import { HASH_BYTES } from "../../shared/trl.ts";
import { statement } from "../sqlite/database.ts";
import type { Registry } from "./registry.ts";
import { noteUpdate } from "./trl-updates.ts";

/** A token to be taken back. */
export interface RevokedToken {
  /** 33 bytes: what the list says. */
  readonly hash: Uint8Array;
  /** Of its other spelling; null for a CWT. */
  readonly otherHash: Uint8Array | null;
  readonly client: string;
  readonly audience: string;
  /** In seconds. */
  readonly exp: number;
}

/**
 * Kept for a moment beyond the expiry, though the standard's list holds what has not expired: a broker elsewhere may be up to
 * two seconds behind us without setting its clock right, and the token would be good again there.
 */
export const keptSeconds = 3;
/** So many leave the list in one transaction. */
const prunedAtOnce = 2_000;
/** So many rows are read as one value: a value for each row would cost more than reading them. */
const readAtOnce = 20_000;

/** Puts tokens on the list; call it within a change. One that is on it, or has expired, changes nothing. Returns how many came. */
export function listTokens(r: Registry, tokens: readonly RevokedToken[]): number {
  const now = r.nowSeconds();
  const add = statement(
    r.db,
    `INSERT INTO revoked_token (token_hash, other_hash, client, audience, exp) VALUES (?, ?, ?, ?, ?)
     ON CONFLICT DO NOTHING`,
  );
  const added = tokens.filter(
    ({ hash, otherHash, client, audience, exp }) =>
      exp > now && add.run(hash, otherHash, client, audience, exp).changes === 1,
  );
  if (added.length === 0) return 0;
  noteUpdate(r, { removed: [], added });
  r.afterCommit(() => r.sink.revokeTokens(packHashes(added)));
  return added.length;
}

/** Whether a token with this hash, in either spelling, is on the list. */
export function isListed(r: Registry, hash: Uint8Array): boolean {
  const sql = `
    SELECT 1 FROM revoked_token WHERE token_hash = ? UNION ALL SELECT 1 FROM revoked_token WHERE other_hash = ? LIMIT 1`;
  return statement(r.db, sql).get(hash, hash) !== undefined;
}

/** Takes off the list what has expired a moment ago, in a transaction of its own. Returns whether more is due. */
export function pruneRevoked(r: Registry): boolean {
  const before = r.nowSeconds() - keptSeconds;
  const isDue = statement(r.db, `SELECT 1 FROM revoked_token WHERE exp <= ? LIMIT 1`);
  if (isDue.get(before) === undefined) return false;
  r.change(() => {
    const removed = statement<RevokedToken>(
      r.db,
      `DELETE FROM revoked_token WHERE token_hash IN
         (SELECT token_hash FROM revoked_token WHERE exp <= ? ORDER BY exp LIMIT ${prunedAtOnce})
       RETURNING token_hash AS hash, other_hash AS otherHash, client, audience, exp`,
    ).all(before);
    noteUpdate(r, { removed, added: [] });
    r.afterCommit(() => r.sink.releaseTokens(packHashes(removed)));
  });
  return isDue.get(before) !== undefined;
}

/** Tells the sink all tokens on the list. */
export function tellRevokedTokens(r: Registry): void {
  const count = statement<number>(r.db, `SELECT count(token_hash) + count(other_hash) FROM revoked_token`)
    .pluck()
    .get()!;
  if (count > 0) r.sink.expectTokens(count);
  tellHashes(r, "token_hash");
  tellHashes(r, "other_hash");
}

/** A million rows take about 0.1 s this way, because the hashes of many rows cross from SQLite as one value. */
function tellHashes(r: Registry, column: "token_hash" | "other_hash"): void {
  const read = statement<Uint8Array | null>(
    r.db,
    `SELECT CAST(group_concat(hash, '') AS BLOB) FROM
       (SELECT ${column} AS hash FROM revoked_token WHERE ${column} > ? ORDER BY ${column} LIMIT ${readAtOnce})`,
  ).pluck();
  for (let part = read.get(new Uint8Array()); part != null; part = read.get(part.subarray(-HASH_BYTES))) {
    r.sink.revokeTokens(part);
  }
}

function packHashes(tokens: readonly RevokedToken[]): Uint8Array {
  return Buffer.concat(tokens.flatMap(({ hash, otherHash }) => (otherHash === null ? [hash] : [hash, otherHash])));
}
