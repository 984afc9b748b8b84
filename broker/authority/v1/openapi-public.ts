/**
 * What else the authority answers, in the OpenAPI document: metadata and keys, the lists of what is revoked, enrolment (RFC
 * 7030), what a client may know of itself, and what whoever runs it looks at.
 */
import { z } from "zod";
import { PROBLEM_CBOR, TRL_CBOR } from "../../../shared/trl.ts";
import { JSON_TYPE, PKCS10 } from "../body.ts";
import { trlPath } from "../context.ts";
import {
  bytes,
  cborMap,
  describe,
  entityTag,
  header,
  headerParameter,
  ifNoneMatch,
  queryParameter,
  reference,
  says,
  type Described,
  type Json,
  type Operation,
} from "./openapi-parts.ts";

/** What is answered there, for the document's schemas. */
export const publicSchemas = {
  Self: z.object({
    id: z.string(),
    kind: z.enum(["device", "service", "app"]),
    project: z.string(),
    enabled: z.boolean(),
    apis: z.array(
      z.object({
        name: z.string(),
        kind: z.enum(["mqtt", "http"]),
        audience: z.string(),
        bearer: z.boolean(),
        permissions: z.array(z.string()),
      }),
    ),
    brokers: z.object({ mqtts: z.string().nullable(), wss: z.string().nullable() }),
    issuer: z.string(),
    time: z.int().meta({ description: "the authority's clock, in seconds" }),
  }),
  Health: z.object({ status: z.literal("ok") }),
};

/** The same in CBOR. */
export const publicBytes = {
  RevokedTokens: cborMap(
    "RFC 9770, section 6",
    "`0` full_set, `1` diff_set, `2` cursor, `3` more, and `-65537` for who asks with `trust`",
  ),
  RevokedTokensProblem: cborMap(
    "RFC 9290",
    "`1` the error of RFC 9770, section 6.1, or `-1` title and `-2` detail, which has the id that `postern explain` takes",
  ),
};

/** Refusals in the language of a path. */
const refusedAs = {
  oauth: { [JSON_TYPE]: { schema: reference("OauthError") } },
  problem: { "application/problem+json": { schema: reference("Problem") } },
  text: { "text/plain": { schema: { type: "string" } } },
  trl: { [PROBLEM_CBOR]: { schema: reference("RevokedTokensProblem") } },
};

/** Two Authorization headers are refused everywhere. */
const twice = { "400": says("request.malformed") };
const asClient = {
  "401": "who asks has not proven who they are",
  "403": "the certificate is not accepted",
  "429": "too many failures to prove who asks",
};
const asDevice = [{ client: [] }, { certificate: [] }];
const nothingWritten = says("storage.failed");
const anObject = { type: "object" };
const base64 = { type: "string", contentEncoding: "base64", description: "Base64 of DER." };
const certificates = "application/pkcs7-mime";
const certificationRequest = { [PKCS10]: { schema: base64 } };
const refusedToEnrol = {
  "403": "the certificate is not accepted, or one of this key was revoked",
  "409": "it was decided otherwise meanwhile: ask again",
  "413": says("request.too-large"),
  "415": says("request.media-type"),
  "507": nothingWritten,
};

/** What may be asked for again with its entity tag. */
const tagged = { parameters: [ifNoneMatch], unchanged: entityTag };
const made = { "Last-Modified": header("when it was made", { isRequired: true }) };
const applied = { "Preference-Applied": header("`wait=N`, where `Prefer` was heeded") };

/** The operations, by what they are about. */
export const publicOperations: readonly Operation[] = [
  known("oauth-authorization-server", "metadata (RFC 8414)", { [JSON_TYPE]: { schema: anObject } }),
  known("jwks.json", "the keys that verify tokens (RFC 7517)", { "application/jwk-set+json": { schema: anObject } }),
  known("cose-keys", "the same keys (RFC 9052, section 7)", {
    "application/cose-key-set": { schema: bytes("application/cbor", "A CBOR array of COSE_Key.") },
  }),
  describe("get", "/openapi.json", {
    id: "get-openapi",
    tag: "discovery",
    summary: "this document",
    answer: { says: "found", content: { [JSON_TYPE]: { schema: anObject } } },
    refusals: twice,
    refusalContent: refusedAs.problem,
  }),
  describe("get", "/docs", {
    id: "get-docs",
    tag: "discovery",
    summary: "this document for people",
    answer: { says: "found", content: { "text/html": { schema: { type: "string" } } } },
    refusals: twice,
    refusalContent: refusedAs.problem,
  }),
  describe("get", "/v1/self", {
    id: "get-self",
    tag: "discovery",
    summary: "what a client may know of itself",
    description: "Who it is, what its roles give it, where the brokers are, and what time it is.",
    security: asDevice,
    answer: { says: "found", content: { [JSON_TYPE]: { schema: reference("Self") } } },
    refusals: { ...twice, ...asClient },
    refusalContent: refusedAs.problem,
  }),
  describe("get", trlPath, {
    id: "get-revoke-trl",
    tag: "revocations",
    summary: "the list of revoked tokens (RFC 9770)",
    description:
      "A client sees its own tokens, an api those of its audience, a broker those for MQTT, whoever holds the admin key all. Without `diff` the whole list comes, with it what has changed.",
    security: [...asDevice, { admin: [] }],
    parameters: [
      queryParameter("diff", "how many updates at most, 0 for all that are kept"),
      queryParameter("cursor", "with `diff`: where the last answer ended"),
      queryParameter("trust", "for brokers and the admin key: where the last answer ended on keys, apis and clients"),
      headerParameter("Prefer", "`wait=N` holds the answer for at most N seconds until there is news (RFC 7240)"),
      ifNoneMatch,
    ],
    answer: {
      says: "found",
      content: { [TRL_CBOR]: { schema: reference("RevokedTokens") } },
      headers: { ETag: header("what to ask again with; absent where `trust` says what is known"), ...applied },
    },
    unchanged: { ...entityTag, ...applied },
    refusals: { "400": "the request, or a parameter of it, is wrong", ...asClient, "507": nothingWritten },
    refusalContent: refusedAs.trl,
  }),
  describe("get", "/crl", {
    ...tagged,
    id: "get-crl",
    tag: "certificates",
    summary: "the list of revoked certificates (RFC 5280)",
    answer: {
      says: "found",
      content: { "application/pkix-crl": { schema: bytes("application/pkix-crl", "DER.") } },
      headers: { ...entityTag, ...made },
    },
    unchanged: { ...entityTag, ...made },
    refusals: { ...twice, "507": nothingWritten },
    refusalContent: refusedAs.oauth,
  }),
  est("get", "cacerts", { summary: "the certificate of the authority (RFC 7030)", answer: enclosed(certificates) }),
  est("get", "csrattrs", {
    summary: "what a certification request should hold (RFC 8951)",
    answer: enclosed("application/csrattrs"),
  }),
  est("post", "simpleenroll", {
    summary: "the first certificate, for a ticket (RFC 7030)",
    security: [{ ticket: [] }],
    sends: certificationRequest,
    answer: enclosed(certificates),
    refusals: { "401": "the ticket is not accepted", ...refusedToEnrol },
  }),
  est("post", "simplereenroll", {
    summary: "the next certificate, for the one before (RFC 7030)",
    security: [{ certificate: [] }],
    sends: certificationRequest,
    answer: enclosed(certificates),
    refusals: { "401": "there is no certificate, or its holder is not enabled", ...refusedToEnrol },
  }),
  describe("get", "/healthz", {
    id: "get-healthz",
    tag: "status",
    summary: "that the authority is there",
    answer: { says: "it is", content: { [JSON_TYPE]: { schema: reference("Health") } } },
    refusals: twice,
    refusalContent: refusedAs.oauth,
  }),
  describe("get", "/metrics", {
    id: "get-metrics",
    tag: "status",
    summary: "the figures of this process",
    description: "For a scraper on the same machine, and for whoever holds the admin key.",
    security: [{ admin: [] }, {}],
    answer: { says: "found", content: { "text/plain": { schema: { type: "string" } } } },
    refusals: { ...twice, "401": says("admin.key") },
    refusalContent: refusedAs.problem,
  }),
];

function known(name: string, summary: string, content: Json): Operation {
  return describe("get", `/.well-known/${name}`, {
    ...tagged,
    id: `get-${name}`,
    tag: "discovery",
    summary,
    answer: { says: "found", content, headers: entityTag },
    refusals: twice,
    refusalContent: refusedAs.oauth,
  });
}

function est(
  method: Operation["method"],
  name: string,
  said: Pick<Described, "summary" | "security" | "sends" | "answer"> & Partial<Described>,
): Operation {
  return describe(method, `/.well-known/est/${name}`, {
    ...said,
    id: `${method}-est-${name}`,
    tag: "certificates",
    refusals: { "400": says("request.malformed"), ...said.refusals },
    refusalContent: refusedAs.text,
  });
}

function enclosed(type: string): Described["answer"] {
  return { says: "found", content: { [type]: { schema: base64 } } };
}
