/**
 * Client assertions: how a client proves its key to the authority without a TLS certificate. A CWT in CBOR requests, a JWT
 * (RFC 7523) in JSON and form requests; both signed by the client's own key, short-lived, used once.
 *
 * Reading checks the form only; subject, audience, times and replay are for the authority.
 */
import { toBase64url } from "./base64url.ts";
import { type Cbor } from "./cbor.ts";
import { claimKey } from "./claims.ts";
import { verifySign1 } from "./cose.ts";
import { readLooseCwt, signCwt } from "./cwt.ts";
import type { PublicKey } from "./cose-key.ts";
import type { Signer } from "./es256.ts";
import { isSignedBy, readJwt, signJwt } from "./jwt.ts";
import { Refusal, refuse } from "./refusal.ts";

/** Longest `cti` or `jti` of an assertion: it is kept until it expires. */
export const MAX_ASSERTION_ID_BYTES = 64;

/** What an assertion says. Times in seconds since 1970. */
export interface AssertionClaims {
  readonly iss: string;
  readonly sub: string;
  readonly aud: string;
  readonly exp: number;
  readonly iat?: number;
  /** `cti` or `jti`: one use only. */
  readonly id: Uint8Array;
}

/** An assertion that is read and not yet verified. */
export interface Assertion {
  readonly claims: AssertionClaims;
  isSignedBy(key: PublicKey): boolean;
}

/** Signs an assertion as a CWT, for CBOR requests. */
export function mintCwtAssertion(claims: AssertionClaims, signer: Signer): Uint8Array {
  const map = new Map<Cbor, Cbor>([
    [claimKey.iss, claims.iss],
    [claimKey.sub, claims.sub],
    [claimKey.aud, claims.aud],
    [claimKey.exp, claims.exp],
    [claimKey.cti, claims.id],
  ]);
  if (claims.iat !== undefined) map.set(claimKey.iat, claims.iat);
  return signCwt(map, signer);
}

/** Signs an assertion as a JWT, for JSON and form requests. */
export function mintJwtAssertion(claims: AssertionClaims, signer: Signer): string {
  const { id, ...rest } = claims;
  return signJwt({ ...rest, jti: toBase64url(id) }, "JWT", signer);
}

/** Reads an assertion, CWT bytes or JWT text. Throws `assertion.malformed`. */
export function readAssertion(presented: Uint8Array | string): Assertion {
  try {
    return typeof presented === "string" ? readJwtAssertion(presented) : readCwtAssertion(presented);
  } catch (error) {
    if (error instanceof Refusal) return refuse("assertion.malformed", error.message);
    throw error;
  }
}

function readCwtAssertion(bytes: Uint8Array): Assertion {
  const { claims, message } = readLooseCwt(bytes);
  const holds = (key: PublicKey): boolean => {
    try {
      verifySign1(message, key);
      return true;
    } catch {
      return false;
    }
  };
  const { iss, sub, aud, exp, iat, cti } = claimKey;
  return {
    claims: toClaims(
      claims.get(iss),
      claims.get(sub),
      claims.get(aud),
      claims.get(exp),
      claims.get(iat),
      claims.get(cti),
    ),
    isSignedBy: holds,
  };
}

function readJwtAssertion(text: string): Assertion {
  const jwt = readJwt(text);
  const { iss, sub, aud, exp, iat, jti } = jwt.payload;
  const id = typeof jti === "string" ? Buffer.from(jti) : undefined;
  return { claims: toClaims(iss, sub, aud, exp, iat, id), isSignedBy: (key) => isSignedBy(jwt, key) };
}

function toClaims(iss: unknown, sub: unknown, aud: unknown, exp: unknown, iat: unknown, id: unknown): AssertionClaims {
  const audience: unknown = Array.isArray(aud) && aud.length === 1 ? aud[0] : aud;
  if (typeof iss !== "string" || typeof sub !== "string" || typeof audience !== "string") {
    return refuse("assertion.malformed", "iss, sub or aud is missing");
  }
  if (typeof exp !== "number" || !Number.isSafeInteger(exp)) return refuse("assertion.malformed", "exp is missing");
  if (!(id instanceof Uint8Array) || id.length === 0 || id.length > MAX_ASSERTION_ID_BYTES) {
    return refuse("assertion.malformed", "the id is missing or too long");
  }
  const base = { iss, sub, aud: audience, exp, id };
  if (iat === undefined) return base;
  return typeof iat === "number" ? { ...base, iat } : refuse("assertion.malformed", "iat is no number");
}
