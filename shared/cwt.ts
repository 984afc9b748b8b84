/**
 * CBOR Web Tokens (RFC 8392) signed with COSE_Sign1, in the one frame that RFC 9770 (section 3) lets be revoked:
 * `61(18([protected, {}, payload, signature]))`, deterministic throughout, everything in the protected header.
 */
import { asMap, decode, encode, Tag, type Cbor, type CborMap } from "./cbor.ts";
import { toCwtClaims, type Claims } from "./claims.ts";
import { ES256, header, readSign1, signSign1, type Sign1 } from "./cose.ts";
import type { Signer } from "./es256.ts";
import { refuse } from "./refusal.ts";

/** CBOR tag of a CWT (RFC 8392, section 6). */
export const CWT_TAG = 61;

/** A CWT that is read and not yet verified. */
export interface Cwt {
  readonly kid: string | undefined;
  readonly claims: CborMap;
  readonly message: Sign1;
}

/** Signs a claims map as `61(18(…))`. The kid's characters are the bytes of the COSE kid. */
export function signCwt(claims: CborMap, signer: Signer): Uint8Array {
  const protectedHeader = new Map<Cbor, Cbor>([[header.alg, ES256]]);
  if (signer.kid !== "") protectedHeader.set(header.kid, Buffer.from(signer.kid, "latin1"));
  return encode(new Tag(signSign1({ protected: protectedHeader, payload: encode(claims) }, signer), CWT_TAG));
}

/** Mints an access token. */
export function mintCwt(claims: Claims, signer: Signer): Uint8Array {
  return signCwt(toCwtClaims(claims), signer);
}

/** Reads a CWT in the frame above. Throws `cbor.*`, `cose.*`. */
export function readCwt(bytes: Uint8Array): Cwt {
  const outer = decode(bytes);
  if (!(outer instanceof Tag) || outer.tag !== CWT_TAG) return refuse("cose.tag", "no CWT tag 61 outside");
  if (!(outer.value instanceof Tag)) return refuse("cose.tag", "no COSE tag inside tag 61");
  const message = readSign1(outer.value);
  if (message.unprotected.size !== 0) return refuse("cose.unprotected", "the unprotected header is not empty");
  return toCwt(message, message.protected.get(header.kid));
}

/** Reads a CWT of any tagging, with what it likes in the unprotected header: for what is not a token of ours. */
export function readLooseCwt(bytes: Uint8Array): Cwt {
  const outer = decode(bytes, { anyOrder: true });
  const inner = outer instanceof Tag && outer.tag === CWT_TAG ? (outer.value as Cbor) : outer;
  const message = readSign1(inner);
  return toCwt(message, message.protected.get(header.kid) ?? message.unprotected.get(header.kid));
}

function toCwt(message: Sign1, kid: Cbor | undefined): Cwt {
  if (message.protected.get(header.alg) !== ES256) return refuse("cose.algorithm", "not ES256 in the protected header");
  if (kid !== undefined && !(kid instanceof Uint8Array)) return refuse("cose.header", "kid is not a byte string");
  const text = kid === undefined ? undefined : Buffer.from(kid).toString("latin1");
  return { kid: text, claims: asMap(decode(message.payload, { anyOrder: true })), message };
}
