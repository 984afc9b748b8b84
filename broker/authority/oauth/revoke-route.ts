/**
 * `POST /revoke` (RFC 7009): a client takes back a token of its own, and whoever holds the admin key any. An api takes back
 * none: it was given none.
 *
 * What is no token of ours, or none any more, is answered as if it had been taken back (section 2.2). Another's token is
 * refused by what it says itself, before it is looked for, so that the answer does not tell whether there is such a token.
 */
import type { FastifyInstance } from "fastify";
import { Refusal, refuse } from "../../../shared/refusal.ts";
import { inspectToken } from "../../../shared/token.ts";
import { readLiveToken, revokeToken } from "../../registry/revocations.ts";
import { isListed, type RevokedToken } from "../../registry/revoked-tokens.ts";
import { authenticateCaller, type Caller } from "./caller-auth.ts";
import { nameCaller, spendAssertionOf } from "./caller.ts";
import type { AuthorityContext } from "../context.ts";
import { readPresentedToken } from "./presented-token.ts";
import { asKnown } from "../refusal-audit.ts";

/** Where it answers, as metadata names it. */
export const revocationPath = "/revoke";

/** Registers the revocation endpoint. */
export function registerRevokeRoute(scope: FastifyInstance, context: AuthorityContext): void {
  scope.post(revocationPath, (request, reply) => {
    const { token, evidence } = readPresentedToken(request);
    const caller = authenticateCaller(context, evidence, context.registry.nowSeconds());
    asKnown({ actor: nameCaller(caller) }, () => {
      if (caller.kind === "api") refuse("access.permission", "a resource server takes no token back");
      takeBack(context, caller, findOwn(context, caller, token));
    });
    void reply.header("cache-control", "no-store").header("pragma", "no-cache").send();
  });
}

/** The token, if there is anything to take back. Throws `token.subject` for another's. */
function findOwn(
  { registry, issuer }: AuthorityContext,
  caller: Caller,
  presented: string | Uint8Array,
): RevokedToken | undefined {
  let subject: string;
  try {
    subject = inspectToken(presented).claims.sub;
  } catch (error) {
    return orNothing(error);
  }
  if (caller.kind !== "admin" && subject !== nameCaller(caller)) refuse("token.subject", "it is another client's");
  try {
    const live = readLiveToken(registry, presented, issuer);
    return isListed(registry, live.hash) ? undefined : live;
  } catch (error) {
    return orNothing(error);
  }
}

/** One transaction: an assertion is spent, whatever became of the token. */
function takeBack({ registry }: AuthorityContext, caller: Caller, token: RevokedToken | undefined): void {
  if (token === undefined) return spendAssertionOf(registry, caller);
  registry.changeDurably(() => {
    spendAssertionOf(registry, caller);
    revokeToken(registry, token, nameCaller(caller));
  });
}

function orNothing(error: unknown): undefined {
  if (error instanceof Refusal) return undefined;
  throw error;
}
