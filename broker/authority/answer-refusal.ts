/**
 * How the authority says no, in the language of whoever asked: RFC 6749 5.2 JSON or RFC 9200 5.8.3 CBOR on OAuth paths, RFC
 * 9457 problem details under `/v1`, concise ones on the list of revoked tokens (RFC 9770, section 6.1; RFC 9290), a line of
 * text on EST (RFC 8951, section 5).
 *
 * The precise reason goes to the log under an id; the peer is told the vague sentence and the id. Only who
 * may administrate is told details. What is not a refusal and not a mistake of the client is ours: 500, logged with its stack.
 */
import type { FastifyReply, FastifyRequest } from "fastify";
import { ACE_CBOR, encodeTokenError } from "../../shared/ace.ts";
import { meaningOf, Refusal, type Meaning, type Reason } from "../../shared/refusal.ts";
import { encodeTrlProblem, PROBLEM_CBOR } from "../../shared/trl.ts";
import { principalOf } from "./v1/access.ts";
import { BASIC_CHALLENGE } from "./basic.ts";
import { trlPath, type AuthorityContext } from "./context.ts";
import { quotaHeaders } from "./oauth/quota.ts";
import { TooMany } from "./too-many.ts";
import { InvalidFields, type FieldError } from "./v1/registry-fields.ts";
import { addressOf, auditRefusal, pathOf } from "./refusal-audit.ts";
import { TrlRefusal } from "./trl/trl-query.ts";

/** The error languages; `v1-client` is `/v1` for callers who are not the admin. */
export type Dialect = "oauth" | "v1" | "v1-client" | "est" | "trl";

/** Answers a request with what was thrown. */
export type ErrorAnswer = (error: unknown, request: FastifyRequest, reply: FastifyReply) => void;

const BEARER_CHALLENGE = 'Bearer realm="postern"';

const fastifyReasons: Readonly<Record<string, Reason>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: "request.too-large",
  FST_ERR_CTP_INVALID_MEDIA_TYPE: "request.media-type",
};

/** The error handler for one dialect. */
export function createErrorAnswer(context: AuthorityContext, dialect: Dialect): ErrorAnswer {
  return (error, request, reply) => {
    const refusal = toRefusal(error);
    logRefusal(context, refusal, error, request);
    const refused: Refused = { refusal, error, dialect };
    const written = auditRefusal(context, refusal, request);
    if (written === undefined) answerRefusal(refused, request, reply);
    else void answerWhenWritten(context, written, refused, request, reply);
  };
}

interface Refused {
  readonly refusal: Refusal;
  readonly error: unknown;
  readonly dialect: Dialect;
}

/** What a peer is told the id of is in the audit log by then, where it goes there at all. */
async function answerWhenWritten(
  context: AuthorityContext,
  written: Promise<void>,
  refused: Refused,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<void> {
  try {
    await written;
    answerRefusal(refused, request, reply);
  } catch (fault) {
    context.log.error({ err: fault }, "failed");
    request.raw.socket.destroy();
  }
}

function answerRefusal({ refusal, error, dialect }: Refused, request: FastifyRequest, reply: FastifyReply): void {
  void reply.header("cache-control", "no-store");
  if (refusal instanceof TooMany) sayWhen(refusal, reply);
  // closing with unread data would reset the connection and lose the answer; what is left of the body is read and dropped
  if (refusal.reason === "request.too-large") void reply.removeHeader("connection");
  if (dialect === "oauth") answerOauth(refusal, request, reply);
  else if (dialect === "est") answerEst(refusal, reply);
  else if (dialect === "trl") answerTrl(refusal, reply);
  else {
    const isKnown = dialect === "v1" && !["stranger", undefined].includes(principalOf(request)?.kind);
    answerProblem(refusal, fieldErrors(error), { dialect, isKnown }, reply);
  }
}

/** The dialect of a path that belongs to no route. */
export function dialectOf(path: string): Dialect {
  if (path === trlPath) return "trl";
  if (path === "/v1" || path.startsWith("/v1/")) return "v1-client";
  return path.startsWith("/.well-known/est/") ? "est" : "oauth";
}

function toRefusal(error: unknown): Refusal {
  if (error instanceof Refusal) return error;
  const { code, statusCode, message } = error as { code?: unknown; statusCode?: unknown; message?: unknown };
  const known = typeof code === "string" ? fastifyReasons[code] : undefined;
  if (known !== undefined) return new Refusal(known);
  const isTheirs = typeof statusCode === "number" && statusCode >= 400 && statusCode < 500;
  return isTheirs ? new Refusal("request.malformed", String(message)) : new Refusal("internal");
}

/** Logs what went wrong once a request was answered, as if it had been the answer. */
export function logFailure(context: Pick<AuthorityContext, "log">, error: unknown, request: FastifyRequest): void {
  logRefusal(context, toRefusal(error), error, request);
}

function logRefusal(
  { log }: Pick<AuthorityContext, "log">,
  refusal: Refusal,
  error: unknown,
  request: FastifyRequest,
): void {
  const { reason, id, detail } = refusal;
  const path = pathOf(request);
  const facts = { reason, id, detail, remote: addressOf(request), method: request.method, path };
  if (reason === "internal") log.error({ ...facts, err: error }, "failed");
  else if (reason === "storage.failed") log.error(facts, "failed");
  else log.info(facts, "refused");
}

/** RFC 6749 knows 400 and 401; who fails to prove itself is an invalid client, whatever it tried. */
function oauthMeaning(reason: Reason): Meaning {
  const meaning = meaningOf(reason);
  if (/^(certificate|proof)\./.test(reason)) {
    return { ...meaning, http: 401, oauth: "invalid_client", says: meaningOf("client.unknown").says };
  }
  if (meaning.oauth === "invalid_client") return { ...meaning, http: 401 };
  return { ...meaning, http: meaning.http === 401 || meaning.http === 403 ? 400 : meaning.http };
}

function answerOauth(refusal: Refusal, request: FastifyRequest, reply: FastifyReply): void {
  const { http, oauth, says } = oauthMeaning(refusal.reason);
  const description = `${says} (id ${refusal.id})`;
  void reply.code(http).header("pragma", "no-cache");
  if (http === 401) challenge(reply, refusal.reason === "admin.key" ? BEARER_CHALLENGE : BASIC_CHALLENGE);
  if (isCbor(request)) {
    void reply.type(ACE_CBOR).send(Buffer.from(encodeTokenError(oauth, description)));
  } else {
    void reply.type("application/json").send(toJson({ error: oauth, error_description: description }));
  }
}

function answerProblem(
  refusal: Refusal,
  errors: readonly FieldError[],
  { dialect, isKnown }: { readonly dialect: "v1" | "v1-client"; readonly isKnown: boolean },
  reply: FastifyReply,
): void {
  const { http, says } = meaningOf(refusal.reason);
  // which field is wrong is no secret of anybody else
  const mayKnow = (isKnown || errors.length > 0) && http !== 401 && refusal.reason !== "internal";
  if (http === 401) challenge(reply, dialect === "v1" ? BEARER_CHALLENGE : BASIC_CHALLENGE);
  const problem = {
    type: mayKnow ? `urn:postern:refusal:${refusal.reason}` : "about:blank",
    title: says,
    status: http,
    id: refusal.id,
    ...(mayKnow && refusal.detail !== "" && { detail: refusal.detail }),
    ...(mayKnow && errors.length > 0 && { errors }),
  };
  void reply.code(http).type("application/problem+json").send(toJson(problem));
}

function answerEst(refusal: Refusal, reply: FastifyReply): void {
  const { http, says } = meaningOf(refusal.reason);
  if (http === 401) challenge(reply, BASIC_CHALLENGE);
  void reply.code(http).type("text/plain; charset=utf-8").send(`${says} (id ${refusal.id})\n`);
}

/** What RFC 9770 has a number for is told by that number alone; the rest has a sentence and an id (RFC 9290). */
function answerTrl(refusal: Refusal, reply: FastifyReply): void {
  const { http, says } = meaningOf(refusal.reason);
  if (http === 401) challenge(reply, refusal.reason === "admin.key" ? BEARER_CHALLENGE : BASIC_CHALLENGE);
  const problem =
    refusal instanceof TrlRefusal
      ? { error: refusal.error, ...(refusal.cursor !== undefined && { cursor: refusal.cursor }) }
      : { title: says, detail: `id ${refusal.id}` };
  void reply
    .code(http)
    .type(PROBLEM_CBOR)
    .send(Buffer.from(encodeTrlProblem(problem)));
}

/** As bytes, to which the framework adds no charset: JSON has none (RFC 8259, section 11). */
function toJson(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}

/** Set on node's response, because the framework sends names in lower case and not every EST client looks past that. */
function challenge(reply: FastifyReply, value: string): void {
  reply.raw.setHeader("WWW-Authenticate", value);
}

function isCbor(request: FastifyRequest): boolean {
  return request.headers["content-type"]?.split(";", 1)[0]?.trim().toLowerCase() === ACE_CBOR;
}

/** When to come back (RFC 6585, section 4), and what the quota is where it is that. */
function sayWhen({ retryAfterSeconds, quota }: TooMany, reply: FastifyReply): void {
  void reply.header("retry-after", String(retryAfterSeconds));
  if (quota !== undefined) void reply.headers(quotaHeaders(quota));
}

function fieldErrors(error: unknown): readonly FieldError[] {
  return error instanceof InvalidFields ? error.errors : [];
}
