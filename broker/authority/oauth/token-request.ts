/**
 * A token request in any of its three encodings, as one thing: CBOR (RFC 9200, section 5.8.1), JSON with the same names
 * (RFC 9431, section 2.1), and form (RFC 6749, section 4.4.2).
 *
 * Parameters that are not known are ignored (RFC 6749, section 3.2); known ones of the wrong type are refused.
 */
import { z } from "zod";
import { readTokenRequest as readAceRequest } from "../../../shared/ace.ts";
import { readJwk, type PublicKey } from "../../../shared/cose-key.ts";
import { refuse } from "../../../shared/refusal.ts";
import type { Scope } from "../../../shared/scope.ts";
import { readJson, type OauthBody } from "../body.ts";

/** What is asked for, and what of the body says who asks. */
export interface TokenRequest {
  readonly wire: OauthBody["wire"];
  readonly audience?: string | undefined;
  /** Grants, or the text of the parameter, which only the kind of api gives a meaning to. */
  readonly scope?: Scope | undefined;
  /** The key that the token shall be bound to. */
  readonly requestedKey?: PublicKey | undefined;
  /** Whether the answer must name the profile. */
  readonly wantsProfile: boolean;
  readonly clientId?: string | undefined;
  readonly clientSecret?: string | undefined;
  readonly assertion?: Uint8Array | string | undefined;
}

const JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/** The parameters in JSON and form; the form's values are all text but for `req_cnf`. */
export const tokenRequestSchema = z.object({
  grant_type: z.string().optional(),
  audience: z.string().optional(),
  scope: z.string().optional(),
  client_id: z.string().optional(),
  client_secret: z.string().optional(),
  client_assertion: z.string().optional(),
  client_assertion_type: z.string().optional(),
  req_cnf: z.strictObject({ jwk: z.looseObject({}) }).optional(),
  ace_profile: z.string().nullable().optional(),
});

const parameters = Object.keys(tokenRequestSchema.shape);

/** Reads a request. Throws `request.*`, `key.*`, `cbor.*` or `assertion.malformed`. */
export function readTokenRequest(body: OauthBody | undefined): TokenRequest {
  if (body === undefined) return refuse("request.malformed", "no body");
  if (body.wire === "cbor") {
    const { audience, scope, reqCnf, wantsProfile, clientId, clientAssertion } = readAceRequest(body.bytes);
    return {
      wire: "cbor",
      audience,
      scope,
      requestedKey: reqCnf,
      wantsProfile: wantsProfile === true,
      clientId,
      assertion: clientAssertion,
    };
  }
  const read = tokenRequestSchema.safeParse(body.wire === "json" ? body.value : toObject(body.fields));
  if (!read.success) {
    return refuse("request.malformed", read.error.issues.map((issue) => issue.path.join(".")).join(", "));
  }
  const asked = read.data;
  // RFC 6749 demands it, RFC 9200 has client_credentials as its default
  if (asked.grant_type === undefined && body.wire === "form") refuse("request.malformed", "no grant_type");
  if ((asked.grant_type ?? "client_credentials") !== "client_credentials") refuse("request.grant-type");
  if (asked.ace_profile !== undefined && !["", "mqtt_tls", null].includes(asked.ace_profile)) refuse("request.profile");
  if ((asked.client_assertion === undefined) !== (asked.client_assertion_type === undefined)) {
    refuse("request.malformed", "client_assertion and client_assertion_type come together");
  }
  if ((asked.client_assertion_type ?? JWT_BEARER) !== JWT_BEARER) refuse("assertion.malformed", "not jwt-bearer");
  return {
    wire: body.wire,
    audience: asked.audience,
    scope: asked.scope,
    requestedKey: asked.req_cnf === undefined ? undefined : readJwk(asked.req_cnf.jwk),
    wantsProfile: asked.ace_profile !== undefined,
    clientId: asked.client_id,
    clientSecret: asked.client_secret,
    assertion: asked.client_assertion,
  };
}

/** A parameter without a value counts as left out (RFC 6749, section 3.2); `ace_profile` says something by being there. */
function toObject(fields: ReadonlyMap<string, string>): Record<string, unknown> {
  const given: Record<string, unknown> = {};
  for (const name of parameters) {
    const value = fields.get(name);
    if (value === undefined || (value === "" && name !== "ace_profile")) continue;
    given[name] = name === "req_cnf" ? readJson(Buffer.from(value)) : value;
  }
  return given;
}
