/**
 * The device certificate of a TLS connection: verified by ourselves, once for each connection.
 *
 * The server asks for certificates and lets every connection in, so `authorized` means nothing here; what counts is
 * {@link readDeviceCertificate} over our own authority. Validity is looked at again at each use, because a connection may
 * outlive it; whether the certificate and its client are still in the registry is for the caller.
 */
import type { TLSSocket } from "node:tls";
import {
  assertCertificateTime,
  readDeviceCertificate,
  type DeviceCertificate,
} from "../../shared/device-certificate.ts";
import { refuse } from "../../shared/refusal.ts";
import type { CertificateAuthority } from "./certificates.ts";

const verified = new WeakMap<TLSSocket, DeviceCertificate>();

/** Whether the peer presented any certificate. */
export function hasPeerCertificate(socket: TLSSocket): boolean {
  return verified.has(socket) || socket.getPeerX509Certificate() !== undefined;
}

/** The peer's certificate. Throws `certificate.*` or `key.*`. */
export function readPeerCertificate(
  socket: TLSSocket,
  ca: CertificateAuthority,
  nowSeconds: number,
): DeviceCertificate {
  const known = verified.get(socket);
  if (known !== undefined) {
    assertCertificateTime(known, nowSeconds);
    return known;
  }
  const presented = socket.getPeerX509Certificate() ?? refuse("certificate.missing");
  const read = readDeviceCertificate(presented, [ca.caCertificate], nowSeconds);
  verified.set(socket, read);
  return read;
}
