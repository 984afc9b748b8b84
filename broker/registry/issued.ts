/**
 * Tokens that were issued, by their hashes (RFC 9770, section 4): what a revocation needs to know of them. The token
 * itself is not kept. A row goes soon after the token has expired.
 */
import { statement } from "../sqlite/database.ts";
import type { Registry } from "./registry.ts";

/** What is recorded of a token. */
export interface IssuedToken {
  /** Hex; one for a CWT, two for a JWT. */
  readonly hashes: readonly string[];
  /** What {@link nextTokenId} gave. */
  readonly id: Uint8Array;
  readonly clientId: string;
  readonly audience: string;
  readonly kid: string;
  /** In seconds. */
  readonly exp: number;
  /** Of the key that it is bound to; absent for a bearer token. */
  readonly keyThumbprint?: string | undefined;
}

/** With each new row at most this many old ones go. */
const prunedAtOnce = 2;
const numbers = new WeakMap<Registry, number>();

/**
 * The `cti` of the next token: its number in this installation, in as few bytes as that takes, because every device sends
 * every byte of it. Nothing rests on its being hard to guess. The newest row is never pruned, so no number comes twice.
 */
export function nextTokenId(r: Registry): Uint8Array {
  const number = (numbers.get(r) ?? readNewest(r)) + 1;
  numbers.set(r, number);
  const hex = number.toString(16);
  return Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, "hex");
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
      now,
      token.exp,
    );
  });
}

function readNewest(r: Registry): number {
  return statement<{ newest: number | null }>(r.db, `SELECT max(number) AS newest FROM issued`).get()?.newest ?? 0;
}
