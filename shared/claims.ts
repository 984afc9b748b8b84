/**
 * The claims of a token, and their two encodings: CWT (RFC 8392, RFC 8747, RFC 9200 5.10) and JWT (RFC 7519, RFC 7800,
 * RFC 8705, RFC 9068, RFC 9449).
 *
 * Refuses dates that are not whole seconds, tagged dates, several audiences, and confirmations of more than one key.
 */
import { fromBase64url, toBase64url } from "./base64url.ts";
import { type Cbor, type CborMap } from "./cbor.ts";
import { readCoseKey, readJwk, toCoseKey, toJwk, type PublicKey } from "./cose-key.ts";
import { Refusal, refuse } from "./refusal.ts";
import { decodeScope, decodeScopeText, encodeScope, encodeScopeText, type Scope } from "./scope.ts";

/**
 * What a token is bound to: a key, a certificate by the SHA-256 of its DER, or the key of DPoP proofs by its JWK thumbprint
 * (RFC 7638, base64url). The last two are for JWTs alone.
 */
export type Confirmation =
  | { readonly kind: "key"; readonly key: PublicKey }
  | { readonly kind: "certificate"; readonly sha256: Uint8Array }
  | { readonly kind: "thumbprint"; readonly jkt: string };

/** The claims of an access token. Times in seconds since 1970. */
export interface Claims {
  readonly iss: string;
  readonly sub: string;
  readonly aud: string;
  readonly exp: number;
  readonly iat: number;
  readonly nbf?: number;
  /** `cti`, or `jti` as bytes; empty when the issuer gave none. */
  readonly id: Uint8Array;
  readonly cnf?: Confirmation;
  readonly scope?: Scope;
}

/** CWT claim keys (RFC 8392, section 4; RFC 8747; RFC 9200). */
export const claimKey = { iss: 1, sub: 2, aud: 3, exp: 4, nbf: 5, iat: 6, cti: 7, cnf: 8, scope: 9 } as const;
/** Confirmation method of RFC 8747 3.1. */
const COSE_KEY = 1;

/** The claims of a CWT. A confirmation by anything but a key is the caller's mistake (TypeError). */
export function toCwtClaims(claims: Claims): CborMap {
  const map = new Map<Cbor, Cbor>([
    [claimKey.iss, claims.iss],
    [claimKey.sub, claims.sub],
    [claimKey.aud, claims.aud],
    [claimKey.exp, claims.exp],
    [claimKey.iat, claims.iat],
    [claimKey.cti, claims.id],
  ]);
  if (claims.nbf !== undefined) map.set(claimKey.nbf, claims.nbf);
  if (claims.cnf !== undefined) {
    if (claims.cnf.kind !== "key") throw new TypeError(`a CWT is bound to a key, not to a ${claims.cnf.kind}`);
    map.set(claimKey.cnf, new Map([[COSE_KEY, toCoseKey(claims.cnf.key)]]));
  }
  if (claims.scope !== undefined) {
    map.set(claimKey.scope, typeof claims.scope === "string" ? claims.scope : encodeScope(claims.scope));
  }
  return map;
}

/** Reads the claims of a CWT. Throws `token.claims`, `token.scope` and `key.*`. */
export function readCwtClaims(map: CborMap): Claims {
  const scope = map.get(claimKey.scope);
  const claims = {
    iss: asText(map.get(claimKey.iss), "iss"),
    sub: asText(map.get(claimKey.sub), "sub"),
    aud: asAudience(map.get(claimKey.aud)),
    exp: asDate(map.get(claimKey.exp), "exp"),
    iat: asDate(map.get(claimKey.iat), "iat"),
    id: asBytes(map.get(claimKey.cti) ?? new Uint8Array(), "cti"),
  };
  return {
    ...claims,
    ...(map.has(claimKey.nbf) && { nbf: asDate(map.get(claimKey.nbf), "nbf") }),
    ...(map.has(claimKey.cnf) && { cnf: readCwtConfirmation(map.get(claimKey.cnf)) }),
    ...(scope !== undefined && { scope: typeof scope === "string" ? scope : decodeScope(asBytes(scope, "scope")) }),
  };
}

/** The claims of a JWT, with `client_id` as RFC 9068 wants it. */
export function toJwtClaims(claims: Claims): Record<string, unknown> {
  return {
    iss: claims.iss,
    sub: claims.sub,
    aud: claims.aud,
    exp: claims.exp,
    ...(claims.nbf !== undefined && { nbf: claims.nbf }),
    iat: claims.iat,
    jti: toBase64url(claims.id),
    client_id: claims.sub,
    ...(claims.cnf !== undefined && { cnf: toJwtConfirmation(claims.cnf) }),
    ...(claims.scope !== undefined && {
      scope: typeof claims.scope === "string" ? claims.scope : encodeScopeText(claims.scope),
    }),
  };
}

/** Reads the claims of a JWT. Throws `token.claims`, `key.*` and `base64url.malformed`. */
export function readJwtClaims(payload: Record<string, unknown>): Claims {
  const { iss, sub, aud, exp, iat, nbf, jti, cnf, scope } = payload;
  return {
    iss: asText(iss, "iss"),
    sub: asText(sub, "sub"),
    aud: asAudience(aud),
    exp: asDate(exp, "exp"),
    iat: asDate(iat, "iat"),
    id: readJti(jti),
    ...(nbf !== undefined && { nbf: asDate(nbf, "nbf") }),
    ...(cnf !== undefined && { cnf: readJwtConfirmation(cnf) }),
    ...(scope !== undefined && { scope: readJwtScope(asText(scope, "scope")) }),
  };
}

function readCwtConfirmation(value: Cbor | undefined): Confirmation {
  if (!(value instanceof Map) || value.size !== 1) return refuse("token.claims", "cnf holds exactly one key");
  if (!value.has(COSE_KEY)) return refuse("token.claims", "cnf is not a COSE_Key");
  return { kind: "key", key: readCoseKey(value.get(COSE_KEY)) };
}

function toJwtConfirmation(cnf: Confirmation): Record<string, unknown> {
  if (cnf.kind === "thumbprint") return { jkt: cnf.jkt };
  return cnf.kind === "key" ? { jwk: toJwk(cnf.key) } : { "x5t#S256": toBase64url(cnf.sha256) };
}

function readJwtConfirmation(value: unknown): Confirmation {
  if (typeof value !== "object" || value === null || Object.keys(value).length !== 1) {
    return refuse("token.claims", "cnf holds exactly one confirmation");
  }
  const { jwk, jkt, "x5t#S256": x5t } = value as Record<string, unknown>;
  if (jwk !== undefined) return { kind: "key", key: readJwk(jwk) };
  const hash = x5t ?? jkt;
  const sha256 = typeof hash === "string" ? fromBase64url(hash) : undefined;
  if (typeof hash !== "string" || sha256?.length !== 32) {
    return refuse("token.claims", "cnf is none of jwk, x5t#S256 and jkt");
  }
  if (x5t === undefined) return { kind: "thumbprint", jkt: hash };
  return { kind: "certificate", sha256: Uint8Array.from(sha256) };
}

/** The scope claim is one string for both kinds of api: grants when it reads as AIF-MQTT, names otherwise. */
function readJwtScope(text: string): Scope {
  // as base64url of an array begins; names are no exception to be caught, which costs half of what a signature does
  if (!text.startsWith("W")) return text;
  try {
    return decodeScopeText(text);
  } catch (error) {
    if (error instanceof Refusal) return text;
    throw error;
  }
}

/** Ours is base64url of the bytes; that of another issuer is any text. */
function readJti(jti: unknown): Uint8Array {
  if (jti === undefined) return new Uint8Array();
  const text = asText(jti, "jti");
  try {
    return Uint8Array.from(fromBase64url(text));
  } catch (error) {
    if (error instanceof Refusal) return Uint8Array.from(Buffer.from(text));
    throw error;
  }
}

function asText(value: unknown, claim: string): string {
  if (typeof value !== "string" || value === "") return refuse("token.claims", `${claim} is not a text`);
  return value;
}

function asAudience(value: unknown): string {
  return asText(Array.isArray(value) && value.length === 1 ? value[0] : value, "aud");
}

/** A copy: claims live as long as a session does, and must not keep alive the bytes that they were read from. */
function asBytes(value: unknown, claim: string): Uint8Array {
  return value instanceof Uint8Array ? Uint8Array.from(value) : refuse("token.claims", `${claim} is not a byte string`);
}

function asDate(value: unknown, claim: string): number {
  const seconds = typeof value === "bigint" ? Number(value) : value;
  if (typeof seconds !== "number" || !Number.isSafeInteger(seconds) || seconds < 0) {
    return refuse("token.claims", `${claim} is not a whole number of seconds`);
  }
  return seconds;
}
