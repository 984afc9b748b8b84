/**
 * What the operations beside the table of `/v1` are described with in the OpenAPI document: answers, their headers and media
 * types, and refusals in the language of each path.
 *
 * Names every status that can be met, and not one more; `default` is for a failure of ours. That a path has no such method is
 * no answer of an operation: the document says it once for all paths.
 */
import { meaningOf, type Reason } from "../../../shared/refusal.ts";

/** A part of the document. */
export type Json = Readonly<Record<string, unknown>>;

/** One operation that the table of `/v1` has not. */
export interface Operation {
  readonly path: string;
  readonly method: "get" | "post";
  readonly tag: string;
  readonly operation: Json;
}

/** What is said of an operation. `content` is by media type, `refusals` are by status. */
export interface Described {
  readonly id: string;
  readonly tag: string;
  readonly summary: string;
  readonly description?: string;
  /** Credentials of which one is enough; none where anybody may ask. */
  readonly security?: readonly Json[];
  readonly parameters?: readonly Json[];
  readonly sends?: Json;
  readonly answer: { readonly says: string; readonly content?: Json; readonly headers?: Json };
  /** The headers of a 304, where there is one. */
  readonly unchanged?: Json;
  readonly refusals: Readonly<Record<string, string>>;
  readonly refusalContent: Json;
  /** What the refusals of some statuses have instead. */
  readonly otherContent?: Readonly<Record<string, Json>>;
  /** Headers that refusals of these statuses may have besides. */
  readonly refusalHeaders?: { readonly on: readonly string[]; readonly headers: Json };
}

/** What the server says of a request that it could not read, before there is anybody to ask: without a body. */
export const unreadAnswers = {
  TookTooLong: { description: "the request has not come to an end in time; the connection is closed" },
  HeadersTooLarge: { description: "the header is too large; the connection is closed" },
};

/** The same by status: any operation may be answered with them. */
export const unread: Json = {
  "408": { $ref: "#/components/responses/TookTooLong" },
  "431": { $ref: "#/components/responses/HeadersTooLarge" },
};

/** How to prove oneself, with every 401. */
export const challenge: Json = { "WWW-Authenticate": header("how to prove oneself", { isRequired: true }) };

/** When to come back. */
const retryAfter: Json = {
  "Retry-After": header("seconds until it may go better", { type: "integer", isRequired: true }),
};

/** What to ask again with. */
export const entityTag: Json = { ETag: header("what to ask again with in `If-None-Match`", { isRequired: true }) };

/** What a caller has already. */
export const ifNoneMatch = headerParameter("If-None-Match", "the `ETag` of an answer that is there already");

/** An operation as it stands in the document. */
export function describe(method: Operation["method"], path: string, said: Described): Operation {
  const { id, tag, summary, description, security = [], parameters = [], sends, answer, unchanged } = said;
  const open = security.length === 0 ? "Open to anybody." : undefined;
  const { says: found, content, headers } = answer;
  const operation = {
    tags: [tag],
    summary,
    ...((description ?? open) !== undefined && { description: description ?? open }),
    operationId: id,
    security,
    ...(parameters.length > 0 && { parameters }),
    ...(sends !== undefined && { requestBody: { required: true, content: sends } }),
    responses: {
      "200": { description: found, ...(headers && { headers }), ...(content && { content }) },
      ...(unchanged && { "304": { description: "as it was", headers: unchanged } }),
      ...Object.fromEntries(Object.keys(said.refusals).map((status) => [status, toRefusal(said, status)])),
      ...unread,
      default: { description: "the authority failed", content: said.refusalContent },
    },
  };
  return { path, method, tag, operation };
}

/** A header of an answer. */
export function header(
  description: string,
  { type = "string", isRequired = false }: { readonly type?: string; readonly isRequired?: boolean } = {},
): Json {
  return { description, ...(isRequired && { required: true }), schema: { type } };
}

/** A header of a request, which may be left out. */
export function headerParameter(name: string, description: string): Json {
  return { name, in: "header", required: false, description, schema: { type: "string" } };
}

/** A name in a query, which may be left out. */
export function queryParameter(name: string, description: string): Json {
  return { name, in: "query", required: false, description, schema: { type: "string" } };
}

/** Bytes for which there is no schema: what they are is said in words. */
export function bytes(contentMediaType: string, description: string): Json {
  return { contentMediaType, description };
}

/** A CBOR map, by its keys. */
export function cborMap(clause: string, keys: string): Json {
  return bytes("application/cbor", `A CBOR map (${clause}): ${keys}.`);
}

/** A shape of the document. */
export function reference(name: string): Json {
  return { $ref: `#/components/schemas/${name}` };
}

/** What a peer is told with the status of a reason. */
export function says(reason: Reason): string {
  return meaningOf(reason).says;
}

function toRefusal(said: Described, status: string): Json {
  const { refusals, refusalContent, otherContent, refusalHeaders } = said;
  const headers = {
    ...(status === "401" && challenge),
    ...(status === "429" && retryAfter),
    ...(refusalHeaders?.on.includes(status) === true && refusalHeaders.headers),
  };
  return {
    description: refusals[status],
    ...(Object.keys(headers).length > 0 && { headers }),
    content: otherContent?.[status] ?? refusalContent,
  };
}
