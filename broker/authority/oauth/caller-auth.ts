/**
 * Who asks about tokens: a client, an api by its own credential, or whoever holds the admin key.
 *
 * An api is called `<project>/<api>` where a client has its id: in HTTP Basic, in the body, and as `iss` and `sub` of an
 * assertion. One that is not there and one that fails to prove itself cost the same and hear the same.
 */
import type { AssertionClaims } from "../../../shared/assertion.ts";
import { readResourceServer } from "../../../shared/names.ts";
import { refuse } from "../../../shared/refusal.ts";
import { findApiOf, type Api } from "../../registry/apis.ts";
import { assertUnspent } from "../../registry/assertions.ts";
import { liveKeys } from "../../registry/public-keys.ts";
import { checkInVain, checkSecret } from "../../registry/secrets.ts";
import { createAdminCheck } from "../admin-key.ts";
import { assertMeant, findSigner } from "./assertion-auth.ts";
import {
  assertLive,
  proveClient,
  proveSomeone,
  sayClaimed,
  type Asker,
  type Claimed,
  type Evidence,
} from "./client-auth.ts";
import type { AuthorityContext } from "../context.ts";
import { hasPeerCertificate } from "../peer-certificate.ts";

/** An api that proved itself. */
export interface ApiCaller {
  readonly kind: "api";
  readonly api: Api;
  /** To be spent by whoever acts on it, under the name `<project>/<api>`. */
  readonly assertion?: AssertionClaims;
}

/** Who asks, proven, and live. */
export type Caller = { readonly kind: "client"; readonly asker: Asker } | ApiCaller | { readonly kind: "admin" };

/**
 * Finds out who asks, and that it is live. Throws what `authenticateClient` and `assertLive` throw, `admin.key`, and
 * `resource-server.unknown` for an api that is not there.
 */
export function authenticateCaller(context: AuthorityContext, evidence: Evidence, nowSeconds: number): Caller {
  const { authorization, clientSecret, assertion, socket } = evidence;
  if (authorization !== undefined && /^bearer(?: |$)/i.test(authorization)) {
    if (clientSecret !== undefined || assertion !== undefined || hasPeerCertificate(socket)) {
      refuse("request.malformed", "more than one way of client authentication");
    }
    createAdminCheck(context.adminKey)({ headers: { authorization } });
    return { kind: "admin" };
  }
  const caller = proveSomeone<Caller>(context, evidence, nowSeconds, (claimed) => {
    // no client id has a slash
    if (claimed.way !== "certificate" && claimed.user.includes("/")) return proveApi(context, claimed, nowSeconds);
    return { kind: "client", asker: proveClient(context, evidence, claimed, nowSeconds) };
  });
  if (caller.kind === "client") assertLive(context, caller.asker);
  return caller;
}

function proveApi(
  context: AuthorityContext,
  claimed: Exclude<Claimed, { way: "certificate" }>,
  nowSeconds: number,
): ApiCaller {
  const { registry } = context;
  const owner = readResourceServer(claimed.user);
  const api = owner && findApiOf(registry, owner.project, owner.api);
  if (claimed.way === "secret") {
    if (api === undefined) checkInVain(claimed.secret);
    else checkSecret(registry, { project: api.project, api: api.name }, claimed.secret);
    return { kind: "api", api: api ?? unknown(claimed) };
  }
  const { assertion } = claimed;
  assertMeant(context, assertion.claims, nowSeconds);
  const keys = api === undefined ? [] : liveKeys(registry, { project: api.project, api: api.name });
  const key = findSigner(assertion, keys);
  if (api === undefined) return unknown(claimed);
  if (key === undefined) return refuse("assertion.signature", claimed.user);
  assertUnspent(registry, claimed.user, assertion.claims.id);
  return { kind: "api", api, assertion: assertion.claims };
}

function unknown({ user }: { readonly user: string }): never {
  return refuse("resource-server.unknown", sayClaimed(user));
}
