/**
 * `POST /revoke` (RFC 7009): a client takes back a token of its own, and whoever holds the admin key any.
 *
 * What is no token of ours, or none any more, is answered as if it had been taken back (section 2.2). Another's token is
 * refused by what it says itself, before it is looked for, so that the answer does not tell whether there is such a token.
 */
import type { TLSSocket } from "node:tls";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { Refusal, refuse } from "../../shared/refusal.ts";
import { inspectToken, toToken } from "../../shared/token.ts";
import { spendAssertion } from "../registry/assertions.ts";
import { ADMIN } from "../registry/audit.ts";
import { readLiveToken, revokeToken } from "../registry/revocations.ts";
import { isListed, type RevokedToken } from "../registry/revoked-tokens.ts";
import { createAdminCheck } from "./admin-key.ts";
import type { OauthBody } from "./body.ts";
import { assertLive, authenticateClient, type Asker } from "./client-auth.ts";
import type { AuthorityContext } from "./context.ts";
import { readRevocationRequest, type RevocationRequest } from "./revoke-request.ts";

/** Where it answers, as metadata names it. */
export const revocationPath = "/revoke";

/** Registers the revocation endpoint. */
export function registerRevokeRoute(scope: FastifyInstance, context: AuthorityContext): void {
  const assertAdmin = createAdminCheck(context.adminKey);

  /** Who asks; nothing for the administrator. */
  const findAsker = (request: FastifyRequest, asked: RevocationRequest): Asker | undefined => {
    const { authorization } = request.headers;
    if (authorization !== undefined && /^bearer(?: |$)/i.test(authorization)) {
      assertAdmin(request);
      return undefined;
    }
    const evidence = { ...asked, authorization, socket: request.raw.socket as TLSSocket };
    const asker = authenticateClient(context, evidence, context.registry.nowSeconds());
    assertLive(context, asker);
    return asker;
  };

  scope.post(revocationPath, (request, reply) => {
    const asked = readRevocationRequest(request.body as OauthBody | undefined);
    const asker = findAsker(request, asked);
    takeBack(context, asker, findOwn(context, asker, asked.token));
    void reply.header("cache-control", "no-store").header("pragma", "no-cache").send();
  });
}

/** The token, if there is anything to take back. Throws `token.subject` for another's. */
function findOwn(
  { registry, issuer }: AuthorityContext,
  asker: Asker | undefined,
  presented: string | Uint8Array,
): RevokedToken | undefined {
  let token: string | Uint8Array;
  let subject: string;
  try {
    token = toOneSpelling(presented);
    subject = inspectToken(token).claims.sub;
  } catch (error) {
    return orNothing(error);
  }
  if (asker !== undefined && subject !== asker.client.id) refuse("token.subject", "it is another client's");
  try {
    const live = readLiveToken(registry, token, issuer);
    return isListed(registry, live.hash) ? undefined : live;
  } catch (error) {
    return orNothing(error);
  }
}

/** One transaction: an assertion is spent, whatever became of the token. */
function takeBack({ registry }: AuthorityContext, asker: Asker | undefined, token: RevokedToken | undefined): void {
  const spend = (): void => {
    if (asker?.assertion !== undefined)
      spendAssertion(registry, asker.client.id, asker.assertion.id, asker.assertion.exp);
  };
  if (token === undefined) {
    if (asker?.assertion !== undefined) registry.append(spend);
    return;
  }
  registry.changeDurably(() => {
    spend();
    revokeToken(registry, token, asker?.client.id ?? ADMIN);
  });
}

/** A JWT that went out in CBOR is a byte string, and whoever writes that as text has base64url of a JWT. */
function toOneSpelling(presented: string | Uint8Array): string | Uint8Array {
  const { format, bytes } = toToken(presented);
  const isText = format === "cwt" && bytes.length > 0 && bytes[0]! < 0x80;
  return isText ? bytes : presented;
}

function orNothing(error: unknown): undefined {
  if (error instanceof Refusal) return undefined;
  throw error;
}
