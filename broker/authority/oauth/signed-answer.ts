/**
 * An answer of introspection as a JWT (RFC 9701), for a resource server that wants to show later what it was told.
 *
 * It is no access token and is not taken for one: `typ` says what it is, and what was found out stands one level deeper.
 */
import type { Signer } from "../../../shared/es256.ts";
import { INTROSPECTION_JWT, toIntrospectionJson, type Introspection } from "../../../shared/introspection.ts";
import { signJwt } from "../../../shared/jwt.ts";

/** Who answers, with which key, and when. */
export interface Answerer {
  readonly issuer: string;
  readonly signer: Signer;
  readonly nowSeconds: number;
}

/** Signs an answer to whoever asked. */
export function signAnswer({ issuer, signer, nowSeconds }: Answerer, answer: Introspection, audience: string): string {
  const claims = { iss: issuer, aud: audience, iat: nowSeconds, token_introspection: toIntrospectionJson(answer) };
  return signJwt(claims, INTROSPECTION_JWT.replace("application/", ""), signer);
}
