/**
 * What a credential allows at this moment: a token no more than it says and no more than the roles of its client allow now,
 * a certificate alone what the roles allow.
 */
import { refuse } from "../../shared/refusal.ts";
import { cutGrants, type Grant } from "../../shared/scope.ts";
import type { Trust } from "../trust/trust.ts";

/** The parts of a token that are asked. */
export interface Scoped {
  readonly grants: readonly Grant[];
  readonly claims: { readonly sub: string; readonly aud: string };
}

/**
 * The grants of a token, cut to what the roles of its client allow on its api; the very array of the token where that cuts
 * nothing, or where nobody tells of roles. Throws `request.scope` where the cut has more pieces than a token has room for.
 */
export function effectiveGrants(trust: Trust, { grants, claims }: Scoped): readonly Grant[] {
  const roles = trust.client(claims.sub)?.grants;
  if (roles === undefined) return grants;
  return cutGrants(roles.find(({ audience }) => audience === claims.aud)?.grants ?? [], grants);
}

/** What the roles of a client allow, on all apis; undefined where nobody tells of roles. */
export function roleGrants(trust: Trust, subject: string): readonly Grant[] | undefined {
  return trust.client(subject)?.grants?.flatMap(({ grants }) => grants);
}

/**
 * The grants with which a token or, without one, a certificate is let in. Throws `client.grants` where no roles are known for
 * the one, or nothing is left of the other; a token that never allowed anything may still be renewed.
 */
export function admittedGrants(trust: Trust, subject: string, token: Scoped | undefined): readonly Grant[] {
  if (token === undefined) return roleGrants(trust, subject) ?? refuse("client.grants", "no token and no roles known");
  const grants = effectiveGrants(trust, token);
  if (grants.length === 0 && token.grants.length > 0) {
    refuse("client.grants", "the roles allow nothing of what the token says");
  }
  return grants;
}
