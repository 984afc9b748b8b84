/**
 * The revoked tokens in a copy of trust.
 *
 * A token leaves the list when it has expired. One that an authority restored from an older backup does not list may be just
 * one that was revoked after that backup: it is kept for as long as any token lives.
 */
import { HASH_BYTES, type TrlPatch } from "../../shared/trl.ts";
import { statement, type Database } from "../sqlite/database.ts";
import type { Reading } from "./copy-entries.ts";
import { HashSet } from "./hash-set.ts";
import type { MemoryTrust } from "./memory-trust.ts";
import type { TrustSink } from "./trust.ts";

/** No token lives longer. */
const KEPT_SECONDS = 30 * 24 * 3600;
/** So many are read at once. */
const READ = 20_000;
/** So many are written in one transaction, so that other work gets its turn. */
const WRITTEN = 4000;

const listSql = `INSERT INTO revoked_token (token_hash) VALUES (?) ON CONFLICT DO UPDATE SET kept_until = NULL`;
const dropSql = `DELETE FROM revoked_token WHERE token_hash = ?`;

/** Tells the sink all that are there. */
export function tellTokens(db: Database, sink: TrustSink): void {
  const count = statement<number>(db, `SELECT count(*) FROM revoked_token`).pluck().get()!;
  if (count > 0) sink.expectTokens(count);
  for (const hashes of readTokens(db)) sink.revokeTokens(hashes);
}

/** Writes updates of the list, within a transaction, and what to tell of them. The newest stands first. */
export function writePatches(db: Database, patches: readonly TrlPatch[]): Array<(sink: TrustSink) => void> {
  return patches.toReversed().flatMap(({ removed, added }) => {
    for (const hash of eachHash(removed)) statement(db, dropSql).run(hash);
    for (const hash of eachHash(added)) statement(db, listSql).run(hash);
    return [(sink: TrustSink) => sink.releaseTokens(removed), (sink: TrustSink) => sink.revokeTokens(added)];
  });
}

/** What a full list came to. */
export interface Replaced {
  readonly added: number;
  /** They have expired. */
  readonly released: number;
  /** They are not on the list and stay. */
  readonly kept: number;
}

/**
 * Makes the tokens those of a full list, in steps between which other work gets its turn: each is a transaction of its own and
 * true by itself, and what was begun is done again when the process ends on the way. `turn` may throw to give up. `isAhead`: what
 * the trust knows need not be on the disk.
 */
export async function replaceTokens(
  db: Database,
  trust: MemoryTrust,
  list: Uint8Array,
  options: {
    readonly reading: Reading;
    readonly nowSeconds: number;
    readonly turn: () => Promise<void>;
    readonly isAhead: boolean;
  },
): Promise<Replaced> {
  const { reading, nowSeconds, turn, isAhead } = options;
  const fresh: number[] = [];
  for (let from = 0; from < list.length; from += READ * HASH_BYTES) {
    const end = Math.min(from + READ * HASH_BYTES, list.length);
    for (let at = from; at < end; at += HASH_BYTES) if (isAhead || !trust.isListed(list, at)) fresh.push(at);
    await turn();
  }
  const order = roughlySorted(list, fresh);
  for (let from = 0; from < order.length; from += WRITTEN) {
    const part = Array.from(order.subarray(from, from + WRITTEN), (at) => list.subarray(at, at + HASH_BYTES));
    db.transaction(() => part.forEach((hash) => statement(db, listSql).run(hash))).immediate();
    trust.revokeTokens(Buffer.concat(part));
    await turn();
  }

  let released = 0;
  const hasOthers = trust.revokedTokens * HASH_BYTES !== list.length || countKept(db) > 0;
  if (hasOthers) {
    const keptUntil = reading === "plain" ? null : Math.ceil(nowSeconds) + KEPT_SECONDS;
    const listed = new HashSet(list.length / HASH_BYTES);
    for (let at = 0; at < list.length; at += HASH_BYTES) {
      listed.addAt(list, at);
      if (at % (READ * HASH_BYTES) === 0) await turn();
    }
    for (const hashes of readTokens(db)) {
      released += release(db, trust, hashes, listed, keptUntil);
      await turn();
    }
  }
  return { added: fresh.length, released, kept: countKept(db) };
}

/** The places of hashes by their first two bytes of digest: what is written together stands together on the disk. */
function roughlySorted(packed: Uint8Array, places: readonly number[]): Float64Array {
  const bucketOf = (at: number): number => (packed[at + 1]! << 8) | packed[at + 2]!;
  const next = new Uint32Array(65_537);
  for (const at of places) next[bucketOf(at) + 1]!++;
  for (let bucket = 1; bucket < next.length; bucket++) next[bucket]! += next[bucket - 1]!;
  const order = new Float64Array(places.length);
  for (const at of places) order[next[bucketOf(at)]!++] = at;
  return order;
}

/** Drops those that were kept long enough; how many. */
export function dropKept(db: Database, sink: TrustSink, nowSeconds: number): number {
  const sql = `DELETE FROM revoked_token WHERE kept_until <= ? RETURNING token_hash`;
  const dropped = statement<Buffer>(db, sql).pluck().all(nowSeconds);
  if (dropped.length > 0) sink.releaseTokens(Buffer.concat(dropped));
  return dropped.length;
}

/** Of these tokens, lets go of those that are not listed and not kept, or keeps them until a time. */
function release(db: Database, sink: TrustSink, hashes: Buffer, listed: HashSet, keptUntil: number | null): number {
  const gone: Uint8Array[] = [];
  db.transaction(() => {
    for (const hash of eachHash(hashes)) {
      if (listed.has(hash)) continue;
      if (keptUntil !== null) {
        statement(db, `UPDATE revoked_token SET kept_until = coalesce(kept_until, ?) WHERE token_hash = ?`).run(
          keptUntil,
          hash,
        );
      } else if (statement(db, `${dropSql} AND kept_until IS NULL`).run(hash).changes > 0) gone.push(hash);
    }
    const isListedAgain = statement(db, `UPDATE revoked_token SET kept_until = NULL WHERE token_hash = ?`);
    for (const hash of keptWithin(db, hashes)) if (listed.has(hash)) isListedAgain.run(hash);
  }).immediate();
  if (gone.length > 0) sink.releaseTokens(Buffer.concat(gone));
  return gone.length;
}

/** All of them, in slices of their order. */
function* readTokens(db: Database): Generator<Buffer> {
  const slice = statement<{ hashes: Buffer | null; last: Buffer | null }>(
    db,
    `SELECT CAST(group_concat(token_hash, '') AS BLOB) AS hashes, max(token_hash) AS last
     FROM (SELECT token_hash FROM revoked_token WHERE token_hash > ? ORDER BY token_hash LIMIT ${READ})`,
  );
  for (let after: Buffer = Buffer.alloc(0); ;) {
    const { hashes, last } = slice.get(after)!;
    if (hashes === null || last === null) return;
    yield hashes;
    after = last;
  }
}

function keptWithin(db: Database, hashes: Buffer): Buffer[] {
  const sql = `SELECT token_hash FROM revoked_token WHERE kept_until IS NOT NULL AND token_hash BETWEEN ? AND ?`;
  return statement<Buffer>(db, sql).pluck().all(hashes.subarray(0, HASH_BYTES), hashes.subarray(-HASH_BYTES));
}

function countKept(db: Database): number {
  const sql = `SELECT count(*) FROM revoked_token WHERE kept_until IS NOT NULL`;
  return statement<number>(db, sql).pluck().get()!;
}

function* eachHash(packed: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < packed.length; at += HASH_BYTES) yield packed.subarray(at, at + HASH_BYTES);
}
