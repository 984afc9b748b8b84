/**
 * The introspection endpoint over HTTP (RFC 7662; RFC 9200, section 5.9): `/introspect`, also as `/verify-token`.
 *
 * The answer comes in the encoding of the question, or signed where the caller asks for that (RFC 9701), and is never cached.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { ACE_CBOR } from "../../../shared/ace.ts";
import { encodeIntrospection, INTROSPECTION_JWT, toIntrospectionJson } from "../../../shared/introspection.ts";
import { activeSigner } from "../../registry/signing-keys.ts";
import { isWanted } from "./accept.ts";
import { JSON_TYPE, type OauthBody } from "../body.ts";
import { nameCaller } from "./caller.ts";
import type { AuthorityContext } from "../context.ts";
import { answerLater, createInTurn } from "./in-turn.ts";
import { introspect, type Finding } from "./introspect.ts";
import { readPresentedToken } from "./presented-token.ts";
import { addressOf } from "../refusal-audit.ts";
import { sendJson } from "../send-json.ts";
import { signAnswer } from "./signed-answer.ts";

/** Where it answers; metadata names the first. */
export const introspectionPaths = ["/introspect", "/verify-token"] as const;

/** Registers the introspection endpoint under its two paths. */
export function registerIntrospectRoute(scope: FastifyInstance, context: AuthorityContext): void {
  const { registry } = context;
  const inTurn = createInTurn();
  for (const path of introspectionPaths) {
    scope.post(path, (request, reply) => {
      const asked = readPresentedToken(request);
      // an assertion is a row; those of one turn of the event loop are committed together
      const isWritten = asked.evidence.assertion !== undefined;
      const decide = (): Finding => introspect(context, asked);
      answerLater(reply, isWritten ? registry.appendSoon(decide) : inTurn(decide), (finding) => {
        note(context, finding, request);
        answer(context, finding, request, reply);
      });
    });
  }
}

function answer(
  { registry, issuer }: AuthorityContext,
  { caller, answer: found }: Finding,
  request: FastifyRequest,
  reply: FastifyReply,
): FastifyReply {
  const body = request.body as OauthBody;
  const usual = body.wire === "cbor" ? ACE_CBOR : body.wire === "json" ? body.type : JSON_TYPE;
  void reply.header("cache-control", "no-store").header("pragma", "no-cache");
  if (isWanted(request.headers.accept, INTROSPECTION_JWT, usual)) {
    const answerer = { issuer, signer: activeSigner(registry), nowSeconds: registry.nowSeconds() };
    return reply.type(INTROSPECTION_JWT).send(Buffer.from(signAnswer(answerer, found, nameCaller(caller))));
  }
  if (usual !== ACE_CBOR) return sendJson(reply, usual, toIntrospectionJson(found));
  return reply.type(usual).send(Buffer.from(encodeIntrospection(found)));
}

/** Why a token is not active is told to operators alone. */
function note({ log }: AuthorityContext, { caller, why }: Finding, request: FastifyRequest): void {
  if (why === undefined) return;
  const { reason, id, detail } = why;
  log.info({ reason, id, detail, caller: nameCaller(caller), remote: addressOf(request) }, "inactive");
}
