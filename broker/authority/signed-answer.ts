/**
 * An answer of introspection as a JWT (RFC 9701), for a resource server that wants to show later what it was told.
 *
 * It is no access token and is not taken for one: `typ` says what it is, and what was found out stands one level deeper.
 */
import { INTROSPECTION_JWT, toIntrospectionJson, type Introspection } from "../../shared/introspection.ts";
import { signJwt } from "../../shared/jwt.ts";
import { activeSigner } from "../registry/signing-keys.ts";
import type { AuthorityContext } from "./context.ts";

/** Signs an answer to whoever asked. */
export function signAnswer({ registry, issuer }: AuthorityContext, answer: Introspection, audience: string): string {
  const claims = {
    iss: issuer,
    aud: audience,
    iat: registry.nowSeconds(),
    token_introspection: toIntrospectionJson(answer),
  };
  return signJwt(claims, INTROSPECTION_JWT.replace("application/", ""), activeSigner(registry));
}
