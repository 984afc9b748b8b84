/**
 * The messages of the token endpoint in CBOR (RFC 9200, section 5.8; RFC 9201), written and read by both ends.
 *
 * Parameter keys belong to this endpoint alone: 1, 2 and 33 mean other things elsewhere. Requests may come in any key
 * order; what we send is deterministic.
 */
import { asMap, decode, encode, type Cbor } from "./cbor.ts";
import { readCoseKey, toCoseKey, type PublicKey } from "./cose-key.ts";
import { Refusal, refuse, type OauthError } from "./refusal.ts";
import { decodeScope, encodeScope, type Scope } from "./scope.ts";

/** Media type of these messages. */
export const ACE_CBOR = "application/ace+cbor";

/** Parameters (RFC 9200, table 5; RFC 9201, table 1). `client_assertion` is of the private-use range. */
const parameter = {
  accessToken: 1,
  expiresIn: 2,
  reqCnf: 4,
  audience: 5,
  scope: 9,
  clientId: 24,
  error: 30,
  errorDescription: 31,
  grantType: 33,
  tokenType: 34,
  aceProfile: 38,
  clientAssertion: -65537,
} as const;

const clientCredentials = 2;
const mqttTls = 3;
const coseKey = 1;
const tokenTypes = { bearer: 1, pop: 2 } as const;

/** RFC 9200, table 3. `server_error` and `invalid_dpop_proof` have no number there; invalid_request is the nearest. */
const errorCodes: Record<OauthError, number> = {
  invalid_request: 1,
  invalid_client: 2,
  invalid_grant: 3,
  unauthorized_client: 4,
  unsupported_grant_type: 5,
  invalid_scope: 6,
  unsupported_pop_key: 7,
  incompatible_ace_profiles: 8,
  invalid_dpop_proof: 1,
  server_error: 1,
};

/** A request for a token, and what of it says who asks. */
export interface TokenRequest {
  readonly audience?: string;
  readonly scope?: Scope;
  /** The key that the token shall be bound to. */
  readonly reqCnf?: PublicKey;
  readonly clientId?: string;
  /** A CWT signed by the client's key. */
  readonly clientAssertion?: Uint8Array;
  /** Whether the client asked for `ace_profile` in the answer. */
  readonly wantsProfile?: boolean;
}

/** The answer to a request that was granted. */
export interface TokenResponse {
  readonly accessToken: Uint8Array;
  readonly expiresIn: number;
  readonly tokenType: "pop" | "bearer";
  /** Present when it differs from what was asked. */
  readonly scope?: Scope;
  readonly profile?: boolean;
}

/** Writes a token request; the grant is always client_credentials. */
export function encodeTokenRequest(request: TokenRequest): Uint8Array {
  const map = new Map<Cbor, Cbor>([[parameter.grantType, clientCredentials]]);
  if (request.audience !== undefined) map.set(parameter.audience, request.audience);
  if (request.scope !== undefined) map.set(parameter.scope, toScope(request.scope));
  if (request.reqCnf !== undefined) map.set(parameter.reqCnf, new Map([[coseKey, toCoseKey(request.reqCnf)]]));
  if (request.clientId !== undefined) map.set(parameter.clientId, request.clientId);
  if (request.clientAssertion !== undefined) map.set(parameter.clientAssertion, request.clientAssertion);
  if (request.wantsProfile === true) map.set(parameter.aceProfile, null);
  return encode(map);
}

/** Reads a token request. Throws `cbor.*`, `request.*`, `key.*`; parameters it does not know are ignored. */
export function readTokenRequest(body: Uint8Array): TokenRequest {
  const map = asMap(decode(body, { anyOrder: true }));
  const grantType = map.get(parameter.grantType);
  if (grantType !== undefined && grantType !== clientCredentials) refuse("request.grant-type");
  const profile = map.get(parameter.aceProfile);
  if (profile !== undefined && profile !== null && profile !== mqttTls) refuse("request.profile");
  const scope = map.get(parameter.scope);
  const reqCnf = map.get(parameter.reqCnf);
  const audience = asText(map.get(parameter.audience), "audience");
  const clientId = asText(map.get(parameter.clientId), "client_id");
  const clientAssertion = asBytes(map.get(parameter.clientAssertion), "client_assertion");
  return {
    wantsProfile: profile !== undefined,
    ...(audience !== undefined && { audience }),
    ...(clientId !== undefined && { clientId }),
    ...(clientAssertion !== undefined && { clientAssertion }),
    ...(scope !== undefined && { scope: readRequestedScope(scope) }),
    ...(reqCnf !== undefined && { reqCnf: readRequestedKey(reqCnf) }),
  };
}

/** Writes the answer to a token request. */
export function encodeTokenResponse(response: TokenResponse): Uint8Array {
  const map = new Map<Cbor, Cbor>([
    [parameter.accessToken, response.accessToken],
    [parameter.expiresIn, response.expiresIn],
    [parameter.tokenType, tokenTypes[response.tokenType]],
  ]);
  if (response.scope !== undefined) map.set(parameter.scope, toScope(response.scope));
  if (response.profile === true) map.set(parameter.aceProfile, mqttTls);
  return encode(map);
}

/** Reads the answer to a token request. Throws `cbor.*` and `request.malformed`. */
export function readTokenResponse(body: Uint8Array): TokenResponse {
  const map = asMap(decode(body, { anyOrder: true }));
  const accessToken = asBytes(map.get(parameter.accessToken), "access_token");
  const expiresIn = map.get(parameter.expiresIn);
  // RFC 9200 5.8.2: a client that cannot learn the expiry must not use the token
  if (accessToken === undefined || typeof expiresIn !== "number") {
    return refuse("request.malformed", "the answer lacks the token or its lifetime");
  }
  const scope = map.get(parameter.scope);
  return {
    accessToken,
    expiresIn,
    tokenType: map.get(parameter.tokenType) === tokenTypes.bearer ? "bearer" : "pop",
    profile: map.get(parameter.aceProfile) === mqttTls,
    ...(scope !== undefined && { scope: readRequestedScope(scope) }),
  };
}

/** An error body (RFC 9200, section 5.8.3), for example `a1181e01`. */
export function encodeTokenError(error: OauthError, description?: string): Uint8Array {
  const map = new Map<Cbor, Cbor>([[parameter.error, errorCodes[error]]]);
  if (description !== undefined) map.set(parameter.errorDescription, description);
  return encode(map);
}

/** Reads an error body. Throws `cbor.*` and `request.malformed`. */
export function readTokenError(body: Uint8Array): { readonly error: OauthError; readonly description?: string } {
  const map = asMap(decode(body, { anyOrder: true }));
  const code = map.get(parameter.error);
  const known = (Object.keys(errorCodes) as OauthError[]).find((name) => errorCodes[name] === code);
  const description = asText(map.get(parameter.errorDescription), "error_description");
  if (known === undefined) return refuse("request.malformed", "no known error code");
  return { error: known, ...(description !== undefined && { description }) };
}

function toScope(scope: Scope): Cbor {
  return typeof scope === "string" ? scope : encodeScope(scope);
}

function readRequestedScope(scope: Cbor): Scope {
  if (typeof scope === "string") return scope;
  if (!(scope instanceof Uint8Array)) return refuse("request.scope", "neither text nor a byte string");
  try {
    return decodeScope(scope);
  } catch (error) {
    return refuse("request.scope", error instanceof Refusal ? error.detail : "");
  }
}

function readRequestedKey(reqCnf: Cbor): PublicKey {
  if (!(reqCnf instanceof Map) || reqCnf.size !== 1 || !reqCnf.has(coseKey)) {
    return refuse("request.key", "req_cnf is not one COSE_Key");
  }
  return readCoseKey(reqCnf.get(coseKey));
}

function asText(value: Cbor | undefined, name: string): string | undefined {
  if (value === undefined || typeof value === "string") return value;
  return refuse("request.malformed", `${name} is not text`);
}

function asBytes(value: Cbor | undefined, name: string): Uint8Array | undefined {
  if (value === undefined || value instanceof Uint8Array) return value;
  return refuse("request.malformed", `${name} is not a byte string`);
}
