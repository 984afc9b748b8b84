/**
 * The token endpoint over HTTP (RFC 6749, section 3.2; RFC 9200, section 5.8; RFC 9449, section 5): `/token`, also as `/get-access-token`.
 *
 * The answer comes in the encoding of the question and is never cached (RFC 6749, section 5.1).
 */
import type { TLSSocket } from "node:tls";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { ACE_CBOR, encodeTokenResponse } from "../../../shared/ace.ts";
import { meaningOf, Refusal } from "../../../shared/refusal.ts";
import { encodeScopeText } from "../../../shared/scope.ts";
import { presentToken } from "../../../shared/token.ts";
import { JSON_TYPE, type OauthBody } from "../body.ts";
import { tokenPaths, type AuthorityContext } from "../context.ts";
import { issueToken, type TokenAnswer, type TokenQuestion } from "../issue.ts";
import { answerLater } from "./in-turn.ts";
import { quotaHeaders } from "./quota.ts";
import { sendJson } from "../send-json.ts";

/** Token types in JSON (RFC 6750, section 6.1.1; RFC 9200, section 5.8.4.2; RFC 9449, section 5). */
const tokenTypeNames = { bearer: "Bearer", pop: "pop", dpop: "DPoP" } as const;

/** Registers the token endpoint under its two paths. */
export function registerOauthRoutes(scope: FastifyInstance, context: AuthorityContext): void {
  for (const path of tokenPaths) {
    scope.post(path, (request, reply) => {
      // each request is decided as one piece; those of one turn of the event loop are committed together, then answered
      let client: string | undefined;
      const counted: TokenQuestion["counted"] = (clientId, quota) => {
        client = clientId;
        reply.headers(quotaHeaders(quota));
      };
      const given = context.registry.appendSoon(() => ask(context, request, path, counted));
      answerLater(
        reply,
        given,
        (token) => {
          answer(request, reply, token);
        },
        (error) => {
          if (client === undefined || isOfAsker(error)) return;
          reply.headers(quotaHeaders(context.quota.giveBack(client, context.registry.nowSeconds() * 1000)));
        },
      );
    });
  }
}

/** Whether a request failed by what was asked, or who asks; what fails by us costs nobody a token. */
function isOfAsker(error: unknown): boolean {
  return error instanceof Refusal && meaningOf(error.reason).http < 500;
}

function ask(
  context: AuthorityContext,
  request: FastifyRequest,
  path: string,
  counted: TokenQuestion["counted"],
): TokenAnswer {
  // node joins several headers of this name by commas, which no proof holds
  const proof = request.headers.dpop?.toString();
  return issueToken(context, {
    body: request.body as OauthBody | undefined,
    socket: request.raw.socket as TLSSocket,
    authorization: request.headers.authorization,
    dpop: proof === undefined ? undefined : { proof, url: context.issuer + path },
    counted,
  });
}

function answer(request: FastifyRequest, reply: FastifyReply, given: TokenAnswer): FastifyReply {
  const body = request.body as OauthBody;
  void reply.headers({ "cache-control": "no-store", pragma: "no-cache" });
  if (body.wire === "cbor") return reply.type(ACE_CBOR).send(toCbor(given));
  return sendJson(reply, body.wire === "json" ? body.type : JSON_TYPE, toJson(given));
}

function toCbor({ token, expiresInSeconds, tokenType, scope, namesProfile }: TokenAnswer): Buffer {
  return Buffer.from(
    encodeTokenResponse({
      accessToken: token.bytes,
      expiresIn: expiresInSeconds,
      tokenType: tokenType === "bearer" ? "bearer" : "pop",
      profile: namesProfile,
      ...(scope !== undefined && { scope }),
    }),
  );
}

function toJson({ token, expiresInSeconds, tokenType, scope, namesProfile }: TokenAnswer): Record<string, unknown> {
  return {
    access_token: presentToken(token),
    token_type: tokenTypeNames[tokenType],
    expires_in: expiresInSeconds,
    ...(scope !== undefined && { scope: typeof scope === "string" ? scope : encodeScopeText(scope) }),
    ...(namesProfile && { ace_profile: "mqtt_tls" }),
  };
}
