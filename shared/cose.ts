/**
 * COSE_Sign1 (RFC 9052, sections 3 and 4.2): reading, writing and verifying one signer's message.
 *
 * The protected bytes are used as received and never re-encoded; an empty protected header is the empty string in the
 * Sig_structure, however it was sent. It refuses a label in both headers, `crit` outside the protected header or naming
 * what is not understood, and any algorithm but ES256. Where the algorithm must stand is for the caller to say.
 */
import { asMap, decode, encode, Tag, type Cbor, type CborMap } from "./cbor.ts";
import { type PublicKey } from "./cose-key.ts";
import { verifyEs256, type Signer } from "./es256.ts";
import { refuse } from "./refusal.ts";

/** Header labels (RFC 9052, section 3.1). */
export const header = { alg: 1, crit: 2, contentType: 3, kid: 4 } as const;
/** ES256 in the COSE algorithms registry (RFC 9053, section 2.1). */
export const ES256 = -7;
/** CBOR tag of COSE_Sign1. */
export const SIGN1_TAG = 18;

/** A COSE_Sign1 that is read and not yet verified. */
export interface Sign1 {
  readonly protected: CborMap;
  readonly unprotected: CborMap;
  readonly payload: Uint8Array;
  readonly signature: Uint8Array;
  /** The protected header as received: what the signature covers. */
  readonly protectedBytes: Uint8Array;
}

const none = new Uint8Array();

/** The bytes that are signed (RFC 9052, section 4.4). */
export function toBeSigned(
  message: Pick<Sign1, "protectedBytes" | "payload">,
  externalAad: Uint8Array = none,
): Uint8Array {
  return encode(["Signature1", message.protectedBytes, externalAad, message.payload]);
}

/** Signs a payload: the tagged COSE_Sign1, unencoded so that a caller may put it in another tag. */
export function signSign1(
  message: { readonly protected: CborMap; readonly unprotected?: CborMap; readonly payload: Uint8Array },
  signer: Signer,
): Tag {
  const protectedBytes = message.protected.size === 0 ? none : encode(message.protected);
  const signature = signer.sign(toBeSigned({ protectedBytes, payload: message.payload }));
  return new Tag([protectedBytes, message.unprotected ?? new Map(), message.payload, signature], SIGN1_TAG);
}

/** Reads a decoded COSE_Sign1, tagged 18 or not tagged. Throws `cose.*` and `cbor.*`. */
export function readSign1(value: Cbor): Sign1 {
  if (value instanceof Tag && value.tag !== SIGN1_TAG) return refuse("cose.tag", `tag ${value.tag}`);
  const parts = value instanceof Tag ? (value.value as Cbor) : value;
  if (!Array.isArray(parts) || parts.length !== 4) return refuse("cose.structure", "not an array of four");
  const [received, unprotected, payload, signature] = parts;
  if (
    !(received instanceof Uint8Array) ||
    !(unprotected instanceof Map) ||
    !(payload instanceof Uint8Array) ||
    !(signature instanceof Uint8Array)
  ) {
    return refuse("cose.structure", "a part has the wrong type");
  }
  const protectedHeader = received.length === 0 ? new Map<Cbor, Cbor>() : asMap(decode(received, { anyOrder: true }));
  const protectedBytes = protectedHeader.size === 0 ? none : received;
  checkHeaders(protectedHeader, unprotected);
  return { protected: protectedHeader, unprotected, payload, signature, protectedBytes };
}

/** Verifies the signature. Throws `cose.algorithm` when it is not ES256, `cose.signature` when it does not hold. */
export function verifySign1(message: Sign1, key: PublicKey, externalAad: Uint8Array = none): void {
  const algorithm = message.protected.get(header.alg) ?? message.unprotected.get(header.alg);
  if (algorithm !== ES256) refuse("cose.algorithm", "not ES256");
  if (!verifyEs256(key, toBeSigned(message, externalAad), message.signature)) refuse("cose.signature");
}

function checkHeaders(protectedHeader: CborMap, unprotected: CborMap): void {
  for (const label of [...protectedHeader.keys(), ...unprotected.keys()]) {
    if (typeof label !== "number" && typeof label !== "string") refuse("cose.header", "a label is an integer or text");
  }
  for (const label of unprotected.keys()) {
    if (protectedHeader.has(label)) refuse("cose.header", "a label stands in both headers");
  }
  if (unprotected.has(header.crit)) refuse("cose.header", "crit is not protected");
  const critical = protectedHeader.get(header.crit);
  if (critical === undefined) return;
  if (!Array.isArray(critical) || critical.length === 0) return refuse("cose.header", "crit lists at least one label");
  for (const label of critical) {
    if (!protectedHeader.has(label) || !Object.values<Cbor>(header).includes(label)) {
      refuse("cose.header", "crit names what is not understood");
    }
  }
}
