/**
 * The messages of token introspection, written and read by both ends: the question in CBOR (RFC 9200, section 5.9.1), the
 * answer in JSON (RFC 7662, section 2.2) and in CBOR (RFC 9200, section 5.9.2).
 *
 * The keys belong to this endpoint alone: 1, 2 and 33 mean other things at the token endpoint. A JWT's confirmations have no
 * number for CBOR, so they have one of the private-use range; who does not know it knows no key, and lets nobody in.
 */
import { fromBase64url, toBase64url } from "./base64url.ts";
import { asMap, decode, encode, type Cbor, type CborMap } from "./cbor.ts";
import { readCwtClaims, readJwtClaims, toCwtClaims, toJwtClaims, type Claims, type Confirmation } from "./claims.ts";
import { readCoseKey, toCoseKey } from "./cose-key.ts";
import { refuse } from "./refusal.ts";

/** Media type of a signed answer, and with `application/` taken off its `typ` (RFC 9701, sections 4 and 5). */
export const INTROSPECTION_JWT = "application/token-introspection+jwt";

/**
 * How a token is presented. `Bearer` says nothing of whether it is bound: over HTTP one that is bound to a certificate is sent
 * like any other (RFC 8705, section 3). In CBOR a DPoP token is `pop`, and its confirmation says by what.
 */
export type TokenType = "Bearer" | "DPoP" | "pop";

/** What is asked, and what of it says who asks. */
export interface IntrospectionRequest {
  /** CWT bytes, or the text of either format. */
  readonly token: Uint8Array | string;
  readonly clientId?: string;
  /** A CWT signed by the caller's key. */
  readonly clientAssertion?: Uint8Array;
}

/** A token that is good. */
export interface ActiveToken {
  readonly active: true;
  /** The scope is what it allows now, which may be less than the token says. */
  readonly claims: Claims;
  readonly tokenType: TokenType;
  /** The time at the authority, in seconds. */
  readonly time: number;
}

/** The answer; of a token that is not good nothing more is said. */
export type Introspection = ActiveToken | { readonly active: false };

/** RFC 9200, tables 5 and 6; those below -65536 are of the private-use range. */
const parameter = {
  cnf: 8,
  active: 10,
  token: 11,
  clientId: 24,
  tokenType: 34,
  clientAssertion: -65537,
  time: -65538,
  expiresIn: -65539,
} as const;
/** RFC 8747, section 3.1; the others are of the private-use range. */
const confirmation = { coseKey: 1, certificateSha256: -65537, jwkThumbprint: -65538 } as const;
const tokenTypes: Record<TokenType, number> = { Bearer: 1, DPoP: 2, pop: 2 };

/** Writes a question. */
export function encodeIntrospectionRequest(request: IntrospectionRequest): Uint8Array {
  const map = new Map<Cbor, Cbor>([[parameter.token, request.token]]);
  if (request.clientId !== undefined) map.set(parameter.clientId, request.clientId);
  if (request.clientAssertion !== undefined) map.set(parameter.clientAssertion, request.clientAssertion);
  return encode(map);
}

/** Reads a question. Throws `cbor.*` and `request.malformed`; parameters that it does not know are ignored, hints among them. */
export function readIntrospectionRequest(body: Uint8Array): IntrospectionRequest {
  const map = asMap(decode(body, { anyOrder: true }));
  const token = map.get(parameter.token);
  const clientId = map.get(parameter.clientId);
  const clientAssertion = map.get(parameter.clientAssertion);
  const isToken = (token instanceof Uint8Array || typeof token === "string") && token.length > 0;
  if (!isToken) return refuse("request.malformed", "token");
  if (clientId !== undefined && typeof clientId !== "string") return refuse("request.malformed", "client_id");
  if (clientAssertion !== undefined && !(clientAssertion instanceof Uint8Array)) {
    return refuse("request.malformed", "client_assertion");
  }
  return { token, ...(clientId !== undefined && { clientId }), ...(clientAssertion && { clientAssertion }) };
}

/** The answer as a JSON object. */
export function toIntrospectionJson(answer: Introspection): Record<string, unknown> {
  if (!answer.active) return { active: false };
  const { claims, tokenType, time } = answer;
  return { active: true, ...toJwtClaims(claims), token_type: tokenType, time, expires_in: claims.exp - time };
}

/** Reads an answer in JSON. Throws `request.malformed`, `token.claims`, `key.*` and `base64url.malformed`. */
export function readIntrospectionJson(value: unknown): Introspection {
  if (typeof value !== "object" || value === null) return refuse("request.malformed", "the answer is not an object");
  const { active, token_type: tokenType, time, ...claims } = value as Record<string, unknown>;
  if (active === false) return { active };
  if (active !== true) return refuse("request.malformed", "active is neither true nor false");
  if (tokenType !== "Bearer" && tokenType !== "DPoP" && tokenType !== "pop") {
    return refuse("request.malformed", "token_type");
  }
  return { active, claims: readJwtClaims(claims), tokenType, time: asSeconds(time) };
}

/** The answer in CBOR. */
export function encodeIntrospection(answer: Introspection): Uint8Array {
  if (!answer.active) return encode(new Map([[parameter.active, false]]));
  const { tokenType, time } = answer;
  const { cnf, ...claims } = answer.claims;
  const map = toCwtClaims(claims);
  if (cnf !== undefined) map.set(parameter.cnf, toConfirmation(cnf));
  map.set(parameter.active, true);
  map.set(parameter.clientId, claims.sub);
  map.set(parameter.tokenType, tokenTypes[tokenType]);
  map.set(parameter.time, time);
  map.set(parameter.expiresIn, claims.exp - time);
  return encode(map);
}

/** Reads an answer in CBOR. Throws `cbor.*`, `request.malformed`, `token.claims`, `token.scope` and `key.*`. */
export function readIntrospection(body: Uint8Array): Introspection {
  const map = asMap(decode(body, { anyOrder: true }));
  const active = map.get(parameter.active);
  if (active === false) return { active };
  if (active !== true) return refuse("request.malformed", "active is neither true nor false");
  const bound = map.get(parameter.cnf);
  const cnf = bound === undefined ? undefined : readConfirmation(asMap(bound));
  const claims = readCwtClaims(new Map([...map].filter(([key]) => key !== parameter.cnf)));
  const pop = cnf?.kind === "thumbprint" ? "DPoP" : "pop";
  const tokenType = (["Bearer", pop] as const).find((type) => tokenTypes[type] === map.get(parameter.tokenType));
  if (tokenType === undefined) return refuse("request.malformed", "token_type");
  const time = asSeconds(map.get(parameter.time));
  return { active, claims: cnf === undefined ? claims : { ...claims, cnf }, tokenType, time };
}

function toConfirmation(cnf: Confirmation): CborMap {
  if (cnf.kind === "key") return new Map([[confirmation.coseKey, toCoseKey(cnf.key)]]);
  if (cnf.kind === "certificate") return new Map([[confirmation.certificateSha256, cnf.sha256]]);
  return new Map([[confirmation.jwkThumbprint, fromBase64url(cnf.jkt)]]);
}

function readConfirmation(map: CborMap): Confirmation {
  const [[kind, value] = []] = map;
  if (map.size === 1 && kind === confirmation.coseKey) return { kind: "key", key: readCoseKey(value) };
  const isHash = map.size === 1 && value instanceof Uint8Array && value.length === 32;
  if (isHash && kind === confirmation.certificateSha256) return { kind: "certificate", sha256: Uint8Array.from(value) };
  if (isHash && kind === confirmation.jwkThumbprint) return { kind: "thumbprint", jkt: toBase64url(value) };
  return refuse("token.claims", "cnf is no confirmation of ours");
}

function asSeconds(value: unknown): number {
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
  return refuse("request.malformed", "time is not a whole number of seconds");
}
