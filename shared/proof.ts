/**
 * Proof of possession over the TLS exporter (RFC 9431, sections 2.2.4.2.1 and 6.1): the client signs 32 bytes that both
 * ends derive from this TLS connection and nobody can derive from another.
 *
 * TLS 1.3 only: in 1.2 an empty context and none give different values. Signatures are ES256 as r‖s; RFC 9431 leaves
 * the encoding open.
 */
import type { TLSSocket } from "node:tls";
import type { PublicKey } from "./cose-key.ts";
import { SIGNATURE_BYTES, verifyEs256 } from "./es256.ts";
import { refuse } from "./refusal.ts";

/** Label of the exporter (RFC 9431, section 7.1). */
export const EXPORTER_LABEL = "EXPORTER-ACE-MQTT-Sign-Challenge";
/** Length of the exported value. */
export const EXPORTER_BYTES = 32;
const emptyContext = Buffer.alloc(0);

/** The value to sign on this connection. Throws `proof.tls` without TLS 1.3. */
export function exporterValue(socket: TLSSocket | undefined): Uint8Array {
  if (socket === undefined || typeof socket.getProtocol !== "function") return refuse("proof.tls", "no TLS");
  const protocol = socket.getProtocol();
  if (protocol !== "TLSv1.3") return refuse("proof.tls", protocol ?? "no protocol");
  return socket.exportKeyingMaterial(EXPORTER_BYTES, EXPORTER_LABEL, emptyContext);
}

/** Checks the signature over the exporter value. Throws `proof.length`, `proof.signature`. */
export function verifyProof(key: PublicKey, exported: Uint8Array, signature: Uint8Array): void {
  if (signature.length !== SIGNATURE_BYTES) refuse("proof.length", `${signature.length} bytes`);
  if (!verifyEs256(key, exported, signature)) refuse("proof.signature");
}
