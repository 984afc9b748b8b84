/**
 * Verifies tokens for this gate, and remembers which it has verified, so that a reconnect with the same token costs a
 * hash instead of a signature check.
 *
 * What is remembered is the signature check and the parse. Everything that can change since is asked again each time:
 * expiry, whether the key is still the issuer's, whether the audience is still one of ours.
 */
import { createHash } from "node:crypto";
import { samePublicKey } from "../../shared/cose-key.ts";
import type { PublicKey } from "../../shared/cose-key.ts";
import { refuse } from "../../shared/refusal.ts";
import { MAX_TOKEN_BYTES, verifyToken } from "../../shared/token.ts";
import type { VerifiedToken } from "../../shared/token.ts";
import type { Trust } from "../trust/trust.ts";
import { BoundedMap } from "./bounded-map.ts";

/** Verifies the tokens that clients present. */
export interface Tokens {
  /** The verified token; throws `token.*`, `cose.*`, `cbor.*`, `key.*`. */
  verify(presented: string | Uint8Array, nowSeconds: number): VerifiedToken;
}

/** Opens a verifier that remembers at most `capacity` tokens, and takes none of more than `maxBytes`. */
export function openTokens(trust: Trust, capacity: number, maxBytes = MAX_TOKEN_BYTES): Tokens {
  const verified = new BoundedMap<string, { readonly token: VerifiedToken; readonly key: PublicKey }>(capacity);
  const isAudience = (audience: string): boolean => trust.api(audience)?.kind === "mqtt";

  return {
    verify(presented, nowSeconds) {
      if (presented.length > 2 * maxBytes) refuse("token.too-large", `${presented.length} bytes`);
      const digest = createHash("sha256").update(presented).digest("base64");
      const known = verified.get(digest);
      if (known !== undefined) {
        const key = trust.keyFor(known.token.kid);
        if (key !== undefined && samePublicKey(key, known.key)) {
          if (known.token.claims.exp <= nowSeconds) refuse("token.expired");
          if (!isAudience(known.token.claims.aud)) refuse("token.audience");
          return known.token;
        }
        verified.delete(digest);
      }
      const keyFor = (kid: string): PublicKey | undefined => trust.keyFor(kid);
      const expected = { issuer: trust.issuer, keyFor, isAudience, nowSeconds, maxBytes };
      const token = verifyToken(presented, expected);
      verified.set(digest, { token, key: trust.keyFor(token.kid)! });
      return token;
    },
  };
}
