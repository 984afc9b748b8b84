/**
 * Access tokens, whichever their format: telling CWT from JWT, verifying, and the hashes under which they are revoked
 * (RFC 9770, section 4).
 *
 * Verification follows RFC 9431 (section 2.2.5) and RFC 9200 (section 5.10.1.1): signature by a known key of the issuer, then
 * issuer, expiry, audience. Proof of possession is for the caller: it depends on the connection.
 */
import { hash as digest } from "node:crypto";
import { fromBase64url, toBase64url } from "./base64url.ts";
import { readCwtClaims, readJwtClaims, type Claims } from "./claims.ts";
import { verifySign1 } from "./cose.ts";
import type { PublicKey } from "./cose-key.ts";
import { readCwt } from "./cwt.ts";
import { SIGNATURE_BYTES, twinOf } from "./es256.ts";
import { isSignedBy, readJwt } from "./jwt.ts";
import { Refusal, refuse } from "./refusal.ts";
import type { Grant } from "./scope.ts";

/** The two formats of access tokens. */
export type TokenFormat = "cwt" | "jwt";

/** A token as bytes: the CWT, or the ASCII of the JWT. */
export interface Token {
  readonly format: TokenFormat;
  readonly bytes: Uint8Array;
}

/** A token that passed every check. `hashes` are all under which it may be listed: see {@link everyHash}. */
export interface VerifiedToken {
  readonly format: TokenFormat;
  readonly kid: string;
  readonly claims: Claims;
  /** The grants of an api of kind mqtt; empty when the scope is of another kind. */
  readonly grants: readonly Grant[];
  readonly hashes: readonly string[];
}

/** What the verifier expects. */
export interface TokenExpectation {
  readonly issuer: string;
  keyFor(kid: string): PublicKey | undefined;
  isAudience(audience: string): boolean;
  readonly nowSeconds: number;
  /** For how long a token is taken after its `exp`; default 0. */
  readonly leewaySeconds?: number;
  /** Longest token that is taken, in bytes; default and at most {@link MAX_TOKEN_BYTES}. */
  readonly maxBytes?: number;
}

/** Longest token in bytes (docs/protocol.md, section 12). */
export const MAX_TOKEN_BYTES = 4096;
/** How far `iat` and `nbf` may lie ahead. `exp` has no tolerance unless somebody asks for one. */
const skewSeconds = 60;

/** Tells the format of what was presented: CWT bytes, base64url(CWT), or a JWT; text as string or as bytes. */
export function toToken(presented: string | Uint8Array, maxBytes = MAX_TOKEN_BYTES): Token {
  if (presented.length > Math.ceil((maxBytes * 4) / 3)) refuse("token.too-large", `${presented.length} bytes`);
  if (presented.length === 0) refuse("token.malformed", "empty");
  // a CWT starts with a tag or an array, text never with such a byte
  const isText = typeof presented === "string" || presented[0]! < 0x80;
  if (!isText) return withinLimit({ format: "cwt", bytes: presented }, maxBytes);
  const text = typeof presented === "string" ? presented : toText(presented);
  if (text.includes(".")) return withinLimit({ format: "jwt", bytes: Buffer.from(text, "latin1") }, maxBytes);
  return withinLimit({ format: "cwt", bytes: fromText(text) }, maxBytes);
}

/** The text form: base64url of a CWT, a JWT as it is. */
export function presentToken(token: Token): string {
  return token.format === "cwt" ? toBase64url(token.bytes) : toText(token.bytes);
}

/** Verifies a token; synchronous, no I/O. Throws `token.*`, `cose.*`, `cbor.*` or `key.*`. */
export function verifyToken(presented: string | Uint8Array, expected: TokenExpectation): VerifiedToken {
  const token = toToken(presented, expected.maxBytes);
  const read = readUnverified(token);
  const key = read.kid === undefined ? undefined : expected.keyFor(read.kid);
  if (read.kid === undefined || key === undefined) return refuse("token.key-unknown", `kid ${read.kid ?? "absent"}`);
  read.verify(key);
  const claims = read.claims();
  const latest = expected.nowSeconds + skewSeconds;
  if (claims.iss !== expected.issuer) refuse("token.issuer");
  if (claims.exp + (expected.leewaySeconds ?? 0) <= expected.nowSeconds) refuse("token.expired");
  if (claims.iat > latest || (claims.nbf ?? 0) > latest) refuse("token.not-yet-valid");
  if (!expected.isAudience(claims.aud)) refuse("token.audience");
  // what is not asked for costs nothing, and once it was asked for the token is kept no longer
  let unhashed: Token | undefined = token;
  let hashes: readonly string[] = [];
  return {
    format: token.format,
    kid: read.kid,
    claims,
    grants: grantsOf(claims),
    get hashes() {
      if (unhashed !== undefined) hashes = everyHash(unhashed);
      unhashed = undefined;
      return hashes;
    },
  };
}

/** Decodes without verifying anything. */
export function inspectToken(presented: string | Uint8Array): {
  readonly format: TokenFormat;
  readonly kid: string | undefined;
  readonly claims: Claims;
  readonly grants: readonly Grant[];
  readonly hashes: readonly string[];
  readonly bytes: number;
} {
  const token = toToken(presented);
  const read = readUnverified(token);
  const claims = read.claims();
  return {
    format: token.format,
    kid: read.kid,
    claims,
    grants: grantsOf(claims),
    hashes: hashesOf(token),
    bytes: token.bytes.length,
  };
}

/** The RFC 9770 hashes of a token, hexadecimal: of a JWT both spellings, since a client may present either. */
export function tokenHashes(presented: string | Uint8Array): string[] {
  return hashesOf(toToken(presented));
}

/**
 * The hashes of a signed token and of its twin, which has the other form of the signature: who presents the one may have been
 * given the other. Those of the token itself come first.
 */
export function everyHash(token: Token): string[] {
  return [...hashesOf(token), ...hashesOf(withOtherSignature(token))];
}

interface Unverified {
  readonly kid: string | undefined;
  verify(key: PublicKey): void;
  claims(): Claims;
}

function readUnverified(token: Token): Unverified {
  if (token.format === "cwt") {
    const cwt = readCwt(token.bytes);
    return { kid: cwt.kid, verify: (key) => verifySign1(cwt.message, key), claims: () => readCwtClaims(cwt.claims) };
  }
  const jwt = readJwt(presentToken(token));
  if (!/^(application\/)?at\+jwt$/i.test(jwt.type ?? "")) refuse("token.type", "typ is not at+jwt");
  const verify = (key: PublicKey): void => {
    if (!isSignedBy(jwt, key)) refuse("token.signature");
  };
  return { kid: jwt.kid, verify, claims: () => readJwtClaims(jwt.payload) };
}

function grantsOf(claims: Claims): readonly Grant[] {
  return claims.scope === undefined || typeof claims.scope === "string" ? [] : claims.scope;
}

function hashesOf(token: Token): string[] {
  const encoded = hash(toBase64url(token.bytes));
  return token.format === "cwt" ? [encoded] : [hash(presentToken(token)), encoded];
}

/** In the frame of either format the signature stands last. */
function withOtherSignature({ format, bytes }: Token): Token {
  if (format === "jwt") {
    const text = presentToken({ format, bytes });
    const end = text.lastIndexOf(".") + 1;
    return { format, bytes: Buffer.from(text.slice(0, end) + toBase64url(twinOf(fromBase64url(text.slice(end))))) };
  }
  const twin = twinOf(bytes.subarray(-SIGNATURE_BYTES));
  return { format, bytes: Buffer.concat([bytes.subarray(0, -SIGNATURE_BYTES), twin]) };
}

/** `0x01 ‖ SHA-256(ASCII)` (RFC 6920, suite 1). */
function hash(ascii: string): string {
  return `01${digest("sha256", ascii, "hex")}`;
}

function toText(ascii: Uint8Array): string {
  return Buffer.from(ascii.buffer, ascii.byteOffset, ascii.byteLength).toString("latin1");
}

function fromText(text: string): Uint8Array {
  try {
    return fromBase64url(text);
  } catch (error) {
    if (error instanceof Refusal) return refuse("token.malformed", "neither a JWT nor base64url of a CWT");
    throw error;
  }
}

function withinLimit(token: Token, maxBytes: number): Token {
  return token.bytes.length > maxBytes ? refuse("token.too-large", `${token.bytes.length} bytes`) : token;
}
