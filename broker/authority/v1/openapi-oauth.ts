/**
 * The OAuth endpoints in the OpenAPI document: requests by the schemas that they are parsed with, answers as RFC 6749, 7662 and
 * 9701 have them, and the headers of RFC 6585 and RFC 9449.
 *
 * The CBOR of the same requests (RFC 9200) has no schema language here: its keys are named, and docs/protocol.md gives it byte
 * for byte.
 */
import { z } from "zod";
import { ACE_CBOR } from "../../../shared/ace.ts";
import { INTROSPECTION_JWT } from "../../../shared/introspection.ts";
import { JSON_TYPE } from "../body.ts";
import { tokenPaths } from "../context.ts";
import { introspectionPaths } from "../oauth/introspect-route.ts";
import { presentedTokenSchema } from "../oauth/presented-token.ts";
import { revocationPath } from "../oauth/revoke-route.ts";
import { tokenRequestSchema } from "../oauth/token-request.ts";
import {
  bytes,
  cborMap,
  describe,
  header,
  headerParameter,
  reference,
  says,
  type Described,
  type Json,
  type Operation,
} from "./openapi-parts.ts";

const tokenType = z.enum(["Bearer", "DPoP", "pop"]);

/** What is sent and answered there, for the document's schemas. */
export const oauthSchemas = {
  TokenRequest: tokenRequestSchema,
  PresentedToken: presentedTokenSchema,
  TokenAnswer: z.object({
    access_token: z.string(),
    token_type: tokenType,
    expires_in: z.int(),
    scope: z.string().optional().meta({ description: "where it is not exactly what was asked for" }),
    ace_profile: z.literal("mqtt_tls").optional().meta({ description: "where it was asked for" }),
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
      scope: z.string().optional().meta({ description: "what it allows now" }),
      cnf: z
        .looseObject({})
        .optional()
        .meta({ description: "what it is bound to: `jwk`, `x5t#S256` or `jkt` (RFC 7800, 8705, 9449)" }),
      token_type: tokenType.optional(),
      time: z.int().optional().meta({ description: "the authority's clock, in seconds" }),
      expires_in: z.int().optional(),
    })
    .meta({ description: "of a token that is not active, or is none of the caller's: `active` alone" }),
  OauthError: z.object({
    error: z.string().meta({ description: "RFC 6749, section 5.2; RFC 9449, section 5" }),
    error_description: z.string().meta({ description: "ends with the id that `postern explain` takes" }),
  }),
};

/** The same in CBOR, and the answer that is signed. */
export const oauthBytes = {
  TokenRequestCbor: cborMap(
    "RFC 9200, section 5.8.1",
    "`4` req_cnf, `5` audience, `9` scope, `24` client_id, `33` grant_type, `38` ace_profile, `-65537` client_assertion, a CWT",
  ),
  TokenAnswerCbor: cborMap(
    "RFC 9200, section 5.8.2",
    "`1` access_token, `2` expires_in, `9` scope, `34` token_type, `38` ace_profile",
  ),
  PresentedTokenCbor: cborMap(
    "RFC 9200, section 5.9.1",
    "`11` token, `24` client_id, `-65537` client_assertion, a CWT",
  ),
  IntrospectionAnswerCbor: cborMap(
    "RFC 9200, section 5.9.2",
    "`1` iss, `2` sub, `3` aud, `4` exp, `6` iat, `7` cti, `8` cnf, `9` scope, `10` active, `24` client_id, `34` token_type, `-65538` time, `-65539` expires_in",
  ),
  OauthErrorCbor: cborMap("RFC 9200, section 5.8.3", "`30` error, `31` error_description"),
  SignedIntrospectionAnswer: bytes(
    "application/jwt",
    "Where `Accept` names it: a JWT (RFC 9701) with the IntrospectionAnswer in `token_introspection`.",
  ),
};

const tokenQuota = "How many tokens the client gets in a minute, and what is left of it";
const rateLimit = (isRequired: boolean): Json => ({
  "RateLimit-Policy": header(`${tokenQuota}: the policy, \`"client";q=600;w=60\``, { isRequired }),
  RateLimit: header(`${tokenQuota}: the state, \`"client";r=599;t=60\``, { isRequired }),
});

/** One of these is enough; nothing is for who proves themselves in the body. */
const clientMayBe = [{ client: [] }, { certificate: [] }, {}];
const callerMayBe = [{ client: [] }, { certificate: [] }, { admin: [] }, {}];

const refusals = {
  "400": "the request is refused",
  "401": "who asks has not proven who they are",
  "413": says("request.too-large"),
  "415": says("request.media-type"),
  "429": "too many failures to prove who asks",
  "507": says("storage.failed"),
};

/** The operations, in the order of the flow. */
export const oauthOperations: readonly Operation[] = [
  ...tokenPaths.map((path) =>
    post(path, {
      summary: "get-access-token",
      description:
        "The client credentials grant (RFC 6749, section 4.4). A client proves itself by certificate, by secret, or by a signed assertion in the body, where a secret may stand too. The answer comes in the encoding of the question.",
      security: clientMayBe,
      parameters: [headerParameter("DPoP", "a proof to bind the token to its key (RFC 9449), for apis of kind http")],
      sends: accepted("TokenRequest"),
      answer: {
        says: "granted",
        content: answered("TokenAnswer"),
        headers: rateLimit(true),
      },
      refusals: {
        ...refusals,
        "429": "too many tokens in this minute, or too many failures to prove who asks",
      },
      // who has not proven who they are hears of nobody's quota
      refusalHeaders: { on: ["400", "429", "507"], headers: rateLimit(false) },
    }),
  ),
  ...introspectionPaths.map((path) =>
    post(path, {
      summary: "verify-token",
      description:
        "Whether a token is good now (RFC 7662). An api asks with its own credential for tokens of its audience, a client for its own, whoever holds the admin key for any. The answer comes in the encoding of the question.",
      security: callerMayBe,
      sends: accepted("PresentedToken"),
      answer: {
        says: "what holds of it",
        content: {
          ...answered("IntrospectionAnswer"),
          [INTROSPECTION_JWT]: { schema: reference("SignedIntrospectionAnswer") },
        },
      },
      refusals: { ...refusals, "507": "the assertion of the caller could not be marked as used" },
    }),
  ),
  post(revocationPath, {
    summary: "a client gives back a token (RFC 7009)",
    description:
      "A client takes back a token of its own, whoever holds the admin key any. What is no token, or none any more, is answered as if it had been taken back.",
    security: callerMayBe,
    sends: accepted("PresentedToken"),
    answer: { says: "done" },
    refusals: { ...refusals, "400": "the request is refused, or the token is another client's" },
  }),
];

type Posted = Omit<Described, "id" | "tag" | "refusalContent">;

function post(path: string, said: Posted): Operation {
  const inJson = { [JSON_TYPE]: { schema: reference("OauthError") } };
  return describe("post", path, {
    ...said,
    id: `post-${path.slice(1)}`,
    tag: "token",
    refusalContent: { ...inJson, [ACE_CBOR]: { schema: reference("OauthErrorCbor") } },
    // who asks in CBOR has no other media type
    otherContent: { "415": inJson },
  });
}

/** What there is in JSON and in CBOR. */
type Name = "TokenRequest" | "TokenAnswer" | "PresentedToken" | "IntrospectionAnswer";

function accepted(name: Name): Json {
  return { "application/x-www-form-urlencoded": { schema: reference(name) }, ...answered(name) };
}

function answered(name: Name): Json {
  const schema = reference(name);
  return {
    [JSON_TYPE]: { schema },
    "application/ace+json": { schema },
    [ACE_CBOR]: { schema: reference(`${name}Cbor`) },
  };
}
