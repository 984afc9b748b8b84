/**
 * Tokens that were issued, by their hashes (RFC 9770, section 4): what a revocation needs to know of them. The token
 * itself is not kept. A row goes soon after the token has expired.
 */
import { statement } from "../sqlite/database.ts";
import type { Registry } from "./registry.ts";

/** What is recorded of a token. */
export interface IssuedToken {
  /** Hex; one for a CWT, two for a JWT, that of the spelling in which it was given out first. */
  readonly hashes: readonly string[];
  /** What {@link nextTokenId} gave. */
  readonly id: Uint8Array;
  readonly clientId: string;
  readonly audience: string;
  readonly kid: string;
  /** Its `iat`, in seconds; default now. */
  readonly issuedAt?: number | undefined;
  /** In seconds. */
  readonly exp: number;
  /** Of the key that it is bound to; absent for a bearer token. */
  readonly keyThumbprint?: string | undefined;
}

/** A token on record, as far as a revocation must know it. */
export interface IssuedRow {
  readonly number: number;
  /** 33 bytes, of the spelling in which it was given out. */
  readonly hash: Uint8Array;
  /** Of the other spelling; null for a CWT. */
  readonly otherHash: Uint8Array | null;
  readonly client: string;
  readonly audience: string;
  readonly kid: string;
  readonly keyThumbprint: string | null;
  readonly issuedAt: number;
  readonly exp: number;
}

/**
 * Which tokens died: those of a client up to the number `bound`; those that a key signed, whatever the bound; those of a
 * project's clients that were issued before the time `bound`.
 */
export interface TokenSelection {
  readonly kind: "client" | "key" | "project";
  readonly name: string;
  readonly bound: number;
}

/** With each new row at most this many old ones go. */
const prunedAtOnce = 2;
const numbers = new WeakMap<Registry, number>();

/**
 * The `cti` of the next token: its number in this installation, in as few bytes as that takes, because every device sends
 * every byte of it. Nothing rests on its being hard to guess. The newest row is never pruned, so no number comes twice.
 */
export function nextTokenId(r: Registry): Uint8Array {
  const number = newestToken(r) + 1;
  numbers.set(r, number);
  const hex = number.toString(16);
  return Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, "hex");
}

/** The number of the newest token that was given out; 0 before the first. */
export function newestToken(r: Registry): number {
  let newest = numbers.get(r);
  if (newest === undefined) numbers.set(r, (newest = readNewest(r)));
  return newest;
}

/**
 * A number up to which all tokens are that were given out, and none that will be; beyond the one of the last time, also where
 * none was given out since: by that it shows that something was taken back once more. Call it within a change.
 */
export function nextBound(r: Registry, before: number): number {
  const bound = Math.max(newestToken(r), before + 1);
  r.afterCommit(() => numbers.set(r, Math.max(newestToken(r), bound)));
  return bound;
}

/** Call it in one {@link Registry.append} with the assertion that is spent and the audit row. */
export function recordIssued(r: Registry, token: IssuedToken): void {
  const [hash, other] = token.hashes;
  if (hash === undefined) throw new TypeError("a token has a hash");
  r.append(() => {
    const now = r.nowSeconds();
    statement(
      r.db,
      `DELETE FROM issued WHERE number IN (SELECT number FROM issued WHERE exp < ? ORDER BY exp LIMIT ${prunedAtOnce})`,
    ).run(now);
    statement(
      r.db,
      `INSERT INTO issued (number, token_hash, other_hash, client, audience, kid, key_thumbprint, issued_at, exp)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    ).run(
      Buffer.from(token.id).readUIntBE(0, token.id.length),
      Buffer.from(hash, "hex"),
      other === undefined ? null : Buffer.from(other, "hex"),
      token.clientId,
      token.audience,
      token.kid,
      token.keyThumbprint ?? null,
      token.issuedAt ?? now,
      token.exp,
    );
  });
}

/** The token with this hash, in either spelling. */
export function findIssued(r: Registry, hash: Uint8Array): IssuedRow | undefined {
  return (
    statement<IssuedRow>(r.db, `${select} WHERE token_hash = ?`).get(hash) ??
    statement<IssuedRow>(r.db, `${select} WHERE other_hash = ?`).get(hash)
  );
}

/** Tokens of a client that are bound to this key. */
export function listBoundTo(r: Registry, clientId: string, keyThumbprint: string): IssuedRow[] {
  return statement<IssuedRow>(r.db, `${select} WHERE client = ? AND key_thumbprint = ?`).all(clientId, keyThumbprint);
}

/** Tokens with a number beyond `after`, of everybody or of one client, in the order of issue. */
export function listIssued(
  r: Registry,
  asked: { readonly after: number; readonly limit: number; readonly client?: string | undefined },
): IssuedRow[] {
  const { after, limit, client } = asked;
  if (client === undefined) {
    return statement<IssuedRow>(r.db, `${select} WHERE number > ? ORDER BY number LIMIT ?`).all(after, limit);
  }
  const sql = `${select} WHERE client = ? AND number > ? ORDER BY number LIMIT ?`;
  return statement<IssuedRow>(r.db, sql).all(client, after, limit);
}

const select = `
  SELECT number, token_hash AS hash, other_hash AS otherHash, client, audience, kid, key_thumbprint AS keyThumbprint,
    issued_at AS issuedAt, exp
  FROM issued`;

/** A number up to which a client's tokens were taken back may be that of a token that never was; it is not given out either. */
function readNewest(r: Registry): number {
  const sql = `SELECT max(coalesce((SELECT max(number) FROM issued), 0), coalesce((SELECT max(tokens_after) FROM client), 0))`;
  return statement<number>(r.db, sql).pluck().get() ?? 0;
}
