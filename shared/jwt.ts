/**
 * JSON Web Tokens in compact form, signed with ES256: access tokens (`at+jwt`, RFC 9068), client assertions (RFC 7523) and
 * DPoP proofs (RFC 9449).
 *
 * Refuses every other algorithm, `none` included, `crit`, any text that base64url would decode but not give back, and JSON that
 * is not UTF-8.
 */
import { isUtf8 } from "node:buffer";
import { decodeProtectedHeader } from "jose";
import { fromBase64url, toBase64url } from "./base64url.ts";
import { toJwtClaims, type Claims } from "./claims.ts";
import type { PublicJwk, PublicKey } from "./cose-key.ts";
import { verifyEs256, type Signer } from "./es256.ts";
import { refuse } from "./refusal.ts";

/** A JWT that is read and not yet verified. */
export interface Jwt {
  readonly kid: string | undefined;
  readonly type: string | undefined;
  /** The key that it names as its own, unread. Only a DPoP proof may be verified with it. */
  readonly jwk: unknown;
  readonly payload: Record<string, unknown>;
  readonly signed: Uint8Array;
  readonly signature: Uint8Array;
}

const headers = new Map<string, Readonly<Record<string, unknown>>>();
const headersKept = 1024;
const longestHeaderKept = 512;

/** Signs a payload in compact form. `type` is the `typ` header, for example `at+jwt`; `jwk` names the key in place of a kid. */
export function signJwt(payload: Record<string, unknown>, type: string, signer: Signer, jwk?: PublicJwk): string {
  const name = jwk === undefined ? signer.kid !== "" && { kid: signer.kid } : { jwk };
  const protectedHeader = { alg: "ES256", typ: type, ...name };
  const signed = `${toPart(protectedHeader)}.${toPart(payload)}`;
  return `${signed}.${toBase64url(signer.sign(Buffer.from(signed, "latin1")))}`;
}

/** Mints an access token (RFC 9068). */
export function mintJwt(claims: Claims, signer: Signer): string {
  return signJwt(toJwtClaims(claims), "at+jwt", signer);
}

/** Reads a compact JWT. Throws `token.malformed`, `token.algorithm`. */
export function readJwt(text: string): Jwt {
  const headerEnd = text.indexOf(".");
  const payloadEnd = text.indexOf(".", headerEnd + 1);
  if (payloadEnd < 0 || text.includes(".", payloadEnd + 1)) return refuse("token.malformed", "a JWT has three parts");
  const signature = fromBase64url(text.slice(payloadEnd + 1));
  const payload = toObject(fromBase64url(text.slice(headerEnd + 1, payloadEnd)));
  const { alg, crit, kid, typ, jwk } = readHeader(text.slice(0, headerEnd));
  if (alg !== "ES256") return refuse("token.algorithm", "not ES256");
  if (crit !== undefined) return refuse("token.malformed", "crit is not understood");
  if (kid !== undefined && typeof kid !== "string") return refuse("token.malformed", "kid is not text");
  if (typ !== undefined && typeof typ !== "string") return refuse("token.malformed", "typ is not text");
  return { kid, type: typ, jwk, payload, signed: Buffer.from(text.slice(0, payloadEnd), "latin1"), signature };
}

/** Whether the signature is one by this key. */
export function isSignedBy(jwt: Jwt, key: PublicKey): boolean {
  return verifyEs256(key, jwt.signed, jwt.signature);
}

/** Headers are few and come again and again: those of one key are all the same. */
function readHeader(part: string): Readonly<Record<string, unknown>> {
  const known = headers.get(part);
  if (known !== undefined) return known;
  if (!isUtf8(fromBase64url(part))) return refuse("token.malformed", "the header is not UTF-8");
  let header: Readonly<Record<string, unknown>>;
  try {
    header = Object.freeze(decodeProtectedHeader({ protected: part }));
  } catch {
    return refuse("token.malformed", "the header is not a JSON object");
  }
  if (part.length > longestHeaderKept) return header;
  if (headers.size >= headersKept) headers.delete(headers.keys().next().value!);
  headers.set(part, header);
  return header;
}

/** The payload. Of two members of one name the last counts (RFC 7515, section 4; RFC 7519, section 4). */
function toObject(json: Uint8Array): Record<string, unknown> {
  let value: unknown;
  try {
    value = isUtf8(json)
      ? JSON.parse(Buffer.from(json.buffer, json.byteOffset, json.byteLength).toString())
      : undefined;
  } catch {
    // no JSON at all is no object either
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  return refuse("token.malformed", "the payload is not a JSON object");
}

function toPart(value: Record<string, unknown>): string {
  return toBase64url(Buffer.from(JSON.stringify(value)));
}
