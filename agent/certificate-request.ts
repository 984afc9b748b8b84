/**
 * The two things of PKI that only enrolment and renewal need: a PKCS#10 request (RFC 2986) and the certificates in EST's certs-only
 * PKCS#7 (RFC 7030, section 4.1.3). Loaded for these alone: the library costs more to load than the rest of the agent.
 *
 * The request contributes a public key and nothing else; at enrolment its subject is a placeholder, at renewal the
 * client's own (RFC 7030, section 4.2.2).
 */
// what the X.509 library registers its parts with
// oxlint-disable-next-line import/no-unassigned-import
import "reflect-metadata";
import { createPublicKey, webcrypto, type KeyObject } from "node:crypto";
import { Pkcs10CertificateRequestGenerator, X509Certificates } from "@peculiar/x509";

const ecdsa = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;

/** A request for the key and subject, signed by the key, as base64 of DER without line breaks (RFC 8951, section 3). */
export async function createRequest(privateKey: KeyObject, subject: string = "CN=device"): Promise<string> {
  const { subtle } = webcrypto;
  const pkcs8 = privateKey.export({ format: "der", type: "pkcs8" });
  const spki = createPublicKey(privateKey).export({ format: "der", type: "spki" });
  const keys: webcrypto.CryptoKeyPair = {
    privateKey: await subtle.importKey("pkcs8", pkcs8, ecdsa, false, ["sign"]),
    publicKey: await subtle.importKey("spki", spki, ecdsa, true, ["verify"]),
  };
  const request = await Pkcs10CertificateRequestGenerator.create({
    name: subject,
    keys,
    signingAlgorithm: ecdsa,
  });
  return Buffer.from(request.rawData).toString("base64");
}

/** The certificates, in PEM, of a base64 certs-only answer; white space is tolerated. Throws when it is no such thing. */
export function readCertsOnly(body: Uint8Array): string[] {
  const base64 = Buffer.from(body)
    .toString("latin1")
    .replace(/[\r\n\t ]/g, "");
  const der = Buffer.from(base64, "base64");
  return [...new X509Certificates(der)].map((certificate) => certificate.toString("pem"));
}
