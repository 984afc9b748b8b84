/**
 * ES256: ECDSA on P-256 with SHA-256, signatures as r‖s in 64 bytes (RFC 9053, section 2.1; RFC 7518, section 3.4).
 *
 * Refuses DER: a signature of any other length is simply not valid.
 */
import { sign, verify, type KeyObject } from "node:crypto";
import { readPublicKey, type PublicKey } from "./cose-key.ts";

/** Signs with one private key. `kid` names it in headers. */
export interface Signer {
  readonly kid: string;
  readonly publicKey: PublicKey;
  /** The signature over the message, r‖s, 64 bytes. */
  sign(message: Uint8Array): Uint8Array;
}

/** Length of r‖s. */
export const SIGNATURE_BYTES = 64;

/** A signer on node:crypto. Throws `key.type` or `key.curve` for a key that is not P-256. */
export function createSigner(kid: string, privateKey: KeyObject): Signer {
  if (privateKey.type !== "private") throw new TypeError("a signer needs a private key");
  const key = { key: privateKey, dsaEncoding: "ieee-p1363" } as const;
  return { kid, publicKey: readPublicKey(privateKey), sign: (message) => sign("sha256", message, key) };
}

/** Whether the signature is one by this key over the message. Never throws for what a peer sent. */
export function verifyEs256(key: PublicKey, message: Uint8Array, signature: Uint8Array): boolean {
  if (signature.length !== SIGNATURE_BYTES) return false;
  return verify("sha256", message, { key: key.keyObject, dsaEncoding: "ieee-p1363" }, signature);
}
