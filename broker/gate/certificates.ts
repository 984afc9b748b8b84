/**
 * Verifies device certificates for this gate, and remembers which it has verified by fingerprint, so that a reconnect
 * does not check the authority's signature again. The validity period is asked each time, and whether that authority still is one.
 */
import type { X509Certificate } from "node:crypto";
import { assertCertificateTime, readDeviceCertificate } from "../../shared/device-certificate.ts";
import type { DeviceCertificate } from "../../shared/device-certificate.ts";
import type { Trust } from "../trust/trust.ts";
import { BoundedMap } from "./bounded-map.ts";

/** Verifies the certificates that clients present. */
export interface Certificates {
  /** Whose certificate it is; throws `certificate.*` or `key.*`. */
  verify(certificate: X509Certificate, nowSeconds: number): DeviceCertificate;
}

/** Opens a verifier that remembers at most `capacity` certificates. */
export function openCertificates(trust: Trust, capacity: number): Certificates {
  const verified = new BoundedMap<string, DeviceCertificate>(capacity);
  return {
    verify(certificate, nowSeconds) {
      const fingerprint = certificate.fingerprint256;
      const known = verified.get(fingerprint);
      const isIssuerKnown = trust.deviceAuthorities.some(({ id }) => id === known?.authority);
      if (known !== undefined && isIssuerKnown) {
        assertCertificateTime(known, nowSeconds);
        return known;
      }
      const authorities = trust.deviceAuthorities.map((authority) => authority.certificate);
      const device = readDeviceCertificate(certificate, authorities, nowSeconds);
      verified.set(fingerprint, device);
      return device;
    },
  };
}
