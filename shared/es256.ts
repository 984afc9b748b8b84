/**
 * ES256: ECDSA on P-256 with SHA-256, signatures as r‖s in 64 bytes (RFC 9053, section 2.1; RFC 7518, section 3.4).
 *
 * Refuses DER: a signature of any other length is simply not valid.
 */
import { createPrivateKey, generateKeyPairSync, sign, verify, type KeyObject } from "node:crypto";
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
/** The number of points of P-256 (SEC 2, section 2.4.2). */
const order = Buffer.from("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", "hex");

/**
 * A new private key on P-256. Made as bytes and read back: the object that node would give shares a lock with the job that
 * made it, and on Node 20 the collection of that job waits for ever for an export of the key that it interrupts.
 */
export function generatePrivateKey(): KeyObject {
  const { privateKey } = generateKeyPairSync("ec", {
    namedCurve: "P-256",
    privateKeyEncoding: { type: "pkcs8", format: "der" },
    publicKeyEncoding: { type: "spki", format: "der" },
  });
  return createPrivateKey({ key: privateKey, type: "pkcs8", format: "der" });
}

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

/**
 * The other signature that is as good: r‖(n − s). Anybody makes it of the one, without the key, so that what was signed has
 * two forms, and whoever knows it by a hash of all its bytes must know both. Of what is no signature by its length, itself.
 */
export function twinOf(signature: Uint8Array): Uint8Array {
  if (signature.length !== SIGNATURE_BYTES) return signature;
  const twin = Uint8Array.from(signature);
  let borrow = 0;
  for (let at = SIGNATURE_BYTES - 1; at >= SIGNATURE_BYTES / 2; at--) {
    const difference = order[at - SIGNATURE_BYTES / 2]! - signature[at]! - borrow;
    twin[at] = difference;
    borrow = difference < 0 ? 1 : 0;
  }
  return twin;
}
