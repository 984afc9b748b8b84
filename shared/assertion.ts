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
/** Longest `kid` that is looked at. */
const maxKidLength = 255;

/** What an assertion says. Times in seconds since 1970. */
export interface AssertionClaims {
  readonly iss: string;
  readonly sub: string;
  readonly aud: string;
  readonly exp: number;
  readonly iat?: number;
  readonly nbf?: number;
  /** `cti` or `jti`: one use only. */
  readonly id: Uint8Array;
}

/** An assertion that is read and not yet verified. */
export interface Assertion {
  readonly claims: AssertionClaims;
  /** Which of the client's keys it names; of a JWT alone. Nothing else in the header says whose key it is. */
  readonly kid?: string | undefined;
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
  if (claims.nbf !== undefined) map.set(claimKey.nbf, claims.nbf);
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
  const at = (key: number): unknown => claims.get(key);
  const { iss, sub, aud, exp, iat, nbf, cti } = claimKey;
  const read = { iss: at(iss), sub: at(sub), aud: at(aud), exp: at(exp), iat: at(iat), nbf: at(nbf), id: at(cti) };
  return {
    claims: toClaims(read),
    isSignedBy: holds,
  };
}

function readJwtAssertion(text: string): Assertion {
  const jwt = readJwt(text);
  if ((jwt.kid?.length ?? 0) > maxKidLength) refuse("assertion.malformed", "the kid is too long");
  const { iss, sub, aud, exp, iat, nbf, jti } = jwt.payload;
  const id = typeof jti === "string" ? Buffer.from(jti) : undefined;
  return {
    claims: toClaims({ iss, sub, aud, exp, iat, nbf, id }),
    kid: jwt.kid,
    isSignedBy: (key) => isSignedBy(jwt, key),
  };
}

/** The claims as they stand there. */
type Unread = Readonly<Record<keyof AssertionClaims, unknown>>;

function toClaims({ iss, sub, aud, exp, iat, nbf, id }: Unread): AssertionClaims {
  const audience: unknown = Array.isArray(aud) && aud.length === 1 ? aud[0] : aud;
  if (typeof iss !== "string" || typeof sub !== "string" || typeof audience !== "string") {
    return refuse("assertion.malformed", "iss, sub or aud is missing");
  }
  if (typeof exp !== "number" || !Number.isSafeInteger(exp)) return refuse("assertion.malformed", "exp is missing");
  if (!(id instanceof Uint8Array) || id.length === 0 || id.length > MAX_ASSERTION_ID_BYTES) {
    return refuse("assertion.malformed", "the id is missing or too long");
  }
  if (!isTime(iat) || !isTime(nbf)) return refuse("assertion.malformed", "iat or nbf is no number");
  return { iss, sub, aud: audience, exp, id, ...(iat !== undefined && { iat }), ...(nbf !== undefined && { nbf }) };
}

function isTime(time: unknown): time is number | undefined {
  return time === undefined || typeof time === "number";
}
