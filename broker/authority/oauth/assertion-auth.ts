/**
 * What makes an assertion good (RFC 7523, section 3): it is meant for this authority, not too old and not too far ahead, and
 * signed by a key that is on record for who it speaks of. That it is used once is for whoever acts on it; one that was
 * used before proves nothing, since others may have seen it by then.
 *
 * The algorithm is ES256 whatever the header says, and the key never comes from the header: a `kid` only tells which of
 * the keys on record is meant.
 */
import type { Assertion, AssertionClaims } from "../../../shared/assertion.ts";
import { jwkThumbprint, readPublicKey, type PublicKey } from "../../../shared/cose-key.ts";
import { generatePrivateKey } from "../../../shared/es256.ts";
import { refuse } from "../../../shared/refusal.ts";
import { tokenPaths, type AuthorityContext } from "../context.ts";

/** A key on record, and what its owner calls it. */
export interface NamedKey {
  readonly key: PublicKey;
  readonly kid: string | null;
}

/** How far ahead of ours a client's clock may be when it says when it signed. */
const skewSeconds = 60;
/** Where an assertion may be used; it may name the endpoint in place of the authority. */
const endpoints = new Set([...tokenPaths, "/introspect", "/verify-token", "/revoke"]);
/** Stands in for the key of a client that has none, so that the answer takes as long. */
const decoy = readPublicKey(generatePrivateKey());

/** Throws `assertion.audience`, `assertion.expired` and `assertion.lifetime`. */
export function assertMeant(
  context: AuthorityContext,
  { aud, exp, iat, nbf }: AssertionClaims,
  nowSeconds: number,
): void {
  const { issuer } = context;
  const isOurs = aud === issuer || (aud.startsWith(issuer) && endpoints.has(aud.slice(issuer.length)));
  if (!isOurs) refuse("assertion.audience");
  if (exp <= nowSeconds) refuse("assertion.expired");
  if (exp > nowSeconds + context.limits.assertionSeconds) refuse("assertion.lifetime", "exp is too far ahead");
  if ((iat ?? 0) > nowSeconds + skewSeconds) refuse("assertion.lifetime", "iat is in the future");
  if ((nbf ?? 0) > nowSeconds + skewSeconds) refuse("assertion.lifetime", "nbf is in the future");
}

/** Which of the keys signed it; of those with a name only the one that it names is asked. */
export function findSigner(assertion: Assertion, keys: readonly NamedKey[]): PublicKey | undefined {
  const meant = keys.filter(({ key, kid }) => isMeant(assertion.kid, key, kid));
  if (meant.length > 0) return meant.find(({ key }) => assertion.isSignedBy(key))?.key;
  assertion.isSignedBy(decoy);
  return undefined;
}

/** A key without a name of its own goes by any; every key goes by its thumbprint too (RFC 7638). */
function isMeant(named: string | undefined, key: PublicKey, kid: string | null): boolean {
  return named === undefined || kid === null || kid === named || named === jwkThumbprint(key);
}
