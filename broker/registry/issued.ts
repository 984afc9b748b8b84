/**
 * Tokens that were issued, by their hashes (RFC 9770, section 3): what a revocation needs to know of them. The token
 * itself is not kept. A row goes soon after the token has expired.
 */
import { statement } from "./database.ts";
import type { Registry } from "./registry.ts";

export interface IssuedToken {
  /** Hex; one for a CWT, two for a JWT. */
  readonly hashes: readonly string[];
  readonly cti: Uint8Array;
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

/** Call it in one {@link Registry.append} with the assertion that is spent and the audit row. */
export function recordIssued(r: Registry, token: IssuedToken): void {
  const [hash, other] = token.hashes;
  if (hash === undefined) throw new TypeError("a token has a hash");
  r.append(() => {
    const now = r.nowSeconds();
    statement(
      r.db,
      `DELETE FROM issued WHERE seq IN (SELECT seq FROM issued WHERE exp < ? ORDER BY exp LIMIT ${prunedAtOnce})`,
    ).run(now);
    statement(
      r.db,
      `INSERT INTO issued (token_hash, other_hash, cti, client, audience, kid, key_thumbprint, issued_at, exp)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    ).run(
      Buffer.from(hash, "hex"),
      other === undefined ? null : Buffer.from(other, "hex"),
      token.cti,
      token.clientId,
      token.audience,
      token.kid,
      token.keyThumbprint ?? null,
      now,
      token.exp,
    );
  });
}
