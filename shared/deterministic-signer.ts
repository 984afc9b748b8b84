/**
 * ES256 with the deterministic nonce of RFC 6979: needs no randomness when it signs, for a device whose entropy at first
 * boot is not to be trusted, and gives the same bytes each time, which the standards' vectors check.
 *
 * It is some twenty times slower than node:crypto and not meant for servers.
 */
import { createPrivateKey } from "node:crypto";
import { p256 } from "@noble/curves/nist.js";
import { toBase64url } from "./base64url.ts";
import { readPublicKey } from "./cose-key.ts";
import { refuse } from "./refusal.ts";
import type { Signer } from "./es256.ts";

/** A signer for the private scalar `d`, 32 bytes. Throws `key.malformed` when it is no P-256 scalar. */
export function createDeterministicSigner(kid: string, d: Uint8Array): Signer {
  if (!p256.utils.isValidSecretKey(d)) refuse("key.malformed", "not a P-256 private key");
  const point = p256.getPublicKey(d, false);
  const jwk = {
    kty: "EC",
    crv: "P-256",
    d: toBase64url(d),
    x: toBase64url(point.subarray(1, 33)),
    y: toBase64url(point.subarray(33)),
  };
  return {
    kid,
    publicKey: readPublicKey(createPrivateKey({ key: jwk, format: "jwk" })),
    sign: (message) => p256.sign(message, d, { lowS: false }),
  };
}
