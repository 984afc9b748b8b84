/**
 * What a client gets of what it asks for on an api (RFC 6749, section 3.3; RFC 9431, section 2.3): its roles decide, a request
 * can only ask for less, and what is not allowed is left out. Grants for kind mqtt, names of scopes for kind http.
 *
 * Refuses to give nothing at all, and a scope that is not of the kind of the api.
 */
import { Refusal, refuse } from "../../../shared/refusal.ts";
import {
  decodeScopeText,
  intersectGrants,
  mergeGrants,
  readScopeNames,
  type Grant,
  type Scope,
} from "../../../shared/scope.ts";
import type { Api } from "../../registry/apis.ts";
import { grantsFor, scopesFor } from "../../registry/grants.ts";
import type { Registry } from "../../registry/registry.ts";
import type { TokenRequest } from "./token-request.ts";

/** A scope that is granted. */
export interface GrantedScope {
  readonly scope: Scope;
  /** Whether the client must be told (RFC 6749, section 5.1): it asked for none, or for another. */
  readonly mustBeStated: boolean;
}

/** Throws `request.scope`. */
export function grantScope(registry: Registry, clientId: string, api: Api, request: TokenRequest): GrantedScope {
  const granted =
    api.kind === "mqtt"
      ? grantGrants(grantsFor(registry, clientId, api), request)
      : grantNames(scopesFor(registry, clientId, api), request);
  return granted.scope.length > 0 ? granted : refuse("request.scope", `nothing allowed on ${api.audience}`);
}

function grantGrants(allowed: readonly Grant[], request: TokenRequest): GrantedScope {
  const asked = readAskedGrants(request);
  if (asked === undefined) return { scope: allowed, mustBeStated: true };
  const scope = intersectGrants(allowed, asked);
  return { scope, mustBeStated: JSON.stringify(mergeGrants(asked)) !== JSON.stringify(mergeGrants(scope)) };
}

function grantNames(allowed: readonly string[], { scope: text }: TokenRequest): GrantedScope {
  if (text === undefined) return { scope: allowed.join(" "), mustBeStated: true };
  if (typeof text !== "string") return refuse("request.scope", "the scope of an api of kind http is text");
  const asked = refusedAsAsked(() => readScopeNames(text));
  const granted = allowed.filter((name) => asked.has(name));
  return { scope: granted.join(" "), mustBeStated: granted.length < asked.size };
}

/** The grants that are asked for; those of JSON and form come as RFC 9431's base64url text. */
function readAskedGrants({ wire, scope }: TokenRequest): readonly Grant[] | undefined {
  if (typeof scope !== "string") return scope;
  if (wire === "cbor") return refuse("request.scope", "the scope of an api of kind mqtt is a byte string");
  return refusedAsAsked(() => decodeScopeText(scope));
}

/** What cannot be read is refused as part of the request. */
function refusedAsAsked<Result>(read: () => Result): Result {
  try {
    return read();
  } catch (error) {
    if (error instanceof Refusal) return refuse("request.scope", error.detail);
    throw error;
  }
}
