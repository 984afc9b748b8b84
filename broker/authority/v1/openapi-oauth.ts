/**
 * The OAuth endpoints in the OpenAPI document: requests by the schemas that they are parsed with, answers as RFC 6749, 7662 and
 * 8414 have them.
 *
 * The CBOR of the same requests (RFC 9200) has no schema language here; docs/protocol.md gives it byte for byte.
 */
import { z } from "zod";
import { presentedTokenSchema } from "../oauth/presented-token.ts";
import { tokenRequestSchema } from "../oauth/token-request.ts";

/** A part of the document. */
export type Json = Readonly<Record<string, unknown>>;

/** One operation that the table of `/v1` has not. */
export interface OauthOperation {
  readonly path: string;
  readonly method: "get" | "post";
  readonly tag: string;
  readonly operation: Json;
}

/** What is sent and answered there, for the document's schemas. */
export const oauthSchemas = {
  TokenRequest: tokenRequestSchema,
  PresentedToken: presentedTokenSchema,
  TokenAnswer: z.object({
    access_token: z.string(),
    token_type: z.enum(["Bearer", "DPoP", "pop"]),
    expires_in: z.int(),
    scope: z.string().optional().meta({ description: "where it is not exactly what was asked for" }),
    ace_profile: z.literal("mqtt_tls").optional(),
  }),
  IntrospectionAnswer: z
    .looseObject({
      active: z.boolean(),
      iss: z.string().optional(),
      sub: z.string().optional(),
      client_id: z.string().optional(),
      aud: z.string().optional(),
      exp: z.int().optional(),
      iat: z.int().optional(),
      jti: z.string().optional(),
      scope: z.string().optional(),
      token_type: z.enum(["Bearer", "DPoP", "pop"]).optional(),
      time: z.int().optional().meta({ description: "the authority's clock, in seconds" }),
      expires_in: z.int().optional(),
    })
    .meta({ description: "of a token that is not active, or is none of the caller's: `active` alone" }),
  OauthError: z.object({
    error: z.string().meta({ description: "RFC 6749, section 5.2; RFC 9449, section 5" }),
    error_description: z.string().meta({ description: "ends with the id that `postern explain` takes" }),
  }),
};

const clientMayBe = [{ client: [] }, { certificate: [] }, {}];

/** The operations, in the order of the flow. */
export const oauthOperations: readonly OauthOperation[] = [
  ...(["/token", "/get-access-token"] as const).map((path) =>
    post(path, "token", {
      summary: "get-access-token",
      description:
        "The client credentials grant (RFC 6749, section 4.4). A client proves itself by secret, signed assertion or certificate; a `DPoP` header binds the token to a key (RFC 9449).",
      sends: "TokenRequest",
      answers: "TokenAnswer",
      cbor: true,
    }),
  ),
  ...(["/introspect", "/verify-token"] as const).map((path) =>
    post(path, "token", {
      summary: "verify-token",
      description:
        "Whether a token is good now (RFC 7662). An api asks with its own credential for tokens of its audience, a client for its own.",
      sends: "PresentedToken",
      answers: "IntrospectionAnswer",
      cbor: true,
    }),
  ),
  post("/revoke", "token", {
    summary: "a client gives back a token (RFC 7009)",
    description: "What is no token, or none any more, is answered as if it had been taken back.",
    sends: "PresentedToken",
    cbor: true,
  }),
  get("/.well-known/oauth-authorization-server", "metadata (RFC 8414)", "application/json"),
  get("/.well-known/jwks.json", "the keys that verify tokens (RFC 7517)", "application/jwk-set+json"),
  get("/.well-known/cose-keys", "the same keys (RFC 9052, section 7)", "application/cose-key-set"),
];

interface PostedTo {
  readonly summary: string;
  readonly description: string;
  readonly sends: keyof typeof oauthSchemas;
  readonly answers?: keyof typeof oauthSchemas;
  readonly cbor: boolean;
}

function post(path: string, tag: string, { summary, description, sends, answers, cbor }: PostedTo): OauthOperation {
  const asked = { schema: reference(sends) };
  const binary = { schema: { type: "string", contentEncoding: "binary" } };
  const operation = {
    tags: [tag],
    summary,
    description,
    operationId: `post-${path.slice(1)}`,
    security: clientMayBe,
    requestBody: {
      required: true,
      content: {
        "application/x-www-form-urlencoded": asked,
        "application/json": asked,
        "application/ace+json": asked,
        ...(cbor && { "application/ace+cbor": binary }),
      },
    },
    responses: {
      "200":
        answers === undefined
          ? { description: "done" }
          : { description: "granted", content: { "application/json": { schema: reference(answers) } } },
      "400": refused("the request is refused"),
      "401": refused("who asks has not proven who they are"),
      "429": {
        ...refused("too many requests"),
        headers: { "retry-after": { schema: { type: "integer" }, description: "seconds" } },
      },
    },
  };
  return { path, method: "post", tag, operation };
}

function get(path: string, summary: string, type: string): OauthOperation {
  const operation = {
    tags: ["discovery"],
    summary,
    operationId: `get-${path.split("/").at(-1)!}`,
    security: [],
    responses: {
      "200": { description: "found", content: { [type]: { schema: { type: "object" } } } },
      "304": { description: "as it was: see `If-None-Match`" },
      "4XX": { description: "refused" },
    },
  };
  return { path, method: "get", tag: "discovery", operation };
}

function refused(description: string): Json {
  return { description, content: { "application/json": { schema: reference("OauthError") } } };
}

function reference(name: keyof typeof oauthSchemas): Json {
  return { $ref: `#/components/schemas/${name}` };
}
