/**
 * The device certificate of a TLS connection: verified by ourselves, once for each connection.
 *
 * The server asks for certificates and lets every connection in, so `authorized` means nothing here; what counts is
 * {@link readDeviceCertificate} over our own authority. Validity is looked at again at each use, because a connection may
 * outlive it; whether the certificate and its client are still in the registry is for the caller.
 */
import type { X509Certificate } from "node:crypto";
import type { TLSSocket } from "node:tls";
import {
  assertCertificateTime,
  readDeviceCertificate,
  type DeviceCertificate,
} from "../../shared/device-certificate.ts";
import { refuse } from "../../shared/refusal.ts";
import type { CertificateAuthority } from "./certificates/certificates.ts";

const presented = new WeakMap<TLSSocket, X509Certificate>();
const verified = new WeakMap<TLSSocket, DeviceCertificate>();

/**
 * Keeps what the peer presents; call it when the handshake is done. Asking at once also clears what OpenSSL noted of a
 * certificate whose signature is wrong, which it would take for a failure of the connection at the next read.
 */
export function notePeerCertificate(socket: TLSSocket): void {
  const certificate = socket.getPeerX509Certificate();
  if (certificate !== undefined) presented.set(socket, certificate);
}

/** Whether the peer presented any certificate. */
export function hasPeerCertificate(socket: TLSSocket): boolean {
  return presented.has(socket);
}

/** What the peer presents, unverified. */
export function presentedCertificate(socket: TLSSocket): X509Certificate | undefined {
  return presented.get(socket);
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
  const certificate = presented.get(socket) ?? refuse("certificate.missing");
  const read = readDeviceCertificate(certificate, [ca.caCertificate], nowSeconds);
  verified.set(socket, read);
  return read;
}
