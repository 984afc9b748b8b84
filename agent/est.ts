/**
 * What enrolment and renewal have in common: asking for a certificate by EST (RFC 7030, with RFC 8951's encodings) and
 * believing what comes back only when it is for our key, from our CA, and names one of those that it should.
 */
import { X509Certificate, type KeyObject } from "node:crypto";
import { readClientId } from "../shared/names.ts";
import { readDateHeader, type ServerClock } from "./clock.ts";
import { AgentFailure, printable, toFailure } from "./failure.ts";
import { readRetryAfter, sendHttps, type HttpsResponse } from "./request.ts";

/** One request for a certificate, proven by a ticket's secret or by the certificate that is to be followed. */
export interface CertificateWish {
  readonly url: URL;
  readonly caPem: string;
  readonly privateKey: KeyObject;
  readonly clock: ServerClock;
  /** The Authorization header, with a ticket. */
  readonly authorization?: string;
  /** The present certificate and key in PEM, and its subject. */
  readonly present?: { readonly certificatePem: string; readonly keyPem: string; readonly subject: string };
  /** What is said when the answer is no. */
  readonly otherwise: string;
}

/** Asks for a certificate for the key; resolves with it in PEM, not yet verified. */
export async function requestCertificate(wish: CertificateWish): Promise<string> {
  const { createRequest } = await import("./certificate-request.ts");
  const { present } = wish;
  const response = await sendHttps({
    url: wish.url,
    method: "POST",
    headers: {
      "content-type": "application/pkcs10",
      ...(wish.authorization !== undefined && { authorization: wish.authorization }),
    },
    body: await createRequest(wish.privateKey, present?.subject),
    ca: wish.caPem,
    maxBytes: 65_536,
    ...(present !== undefined && { certificatePem: present.certificatePem, keyPem: present.keyPem }),
  });
  const seconds = readDateHeader(response.headers.date);
  if (seconds !== undefined) wish.clock.learn(seconds);
  if (response.status !== 200) throw toFailureOf(response, wish.otherwise);
  const [certificate] = await readCertificates(response.body, "the certificate cannot be read");
  if (certificate === undefined) throw new AgentFailure("refused", "the authority sent no certificate");
  return certificate.toString();
}

/** Whom a certificate is for; throws where it is not of the form that it should have. */
export type ReadName = (certificate: X509Certificate, ca: X509Certificate) => string;

/** Whom the certificate is for, once it is for our key and from the pinned CA. */
export function verifyCertificate(
  pem: string,
  ca: X509Certificate,
  privateKey: KeyObject,
  readName: ReadName = readClientName,
): string {
  const certificate = new X509Certificate(pem);
  if (!certificate.checkPrivateKey(privateKey)) {
    throw new AgentFailure("refused", "the authority certified another key");
  }
  if (!certificate.checkIssued(ca) || !certificate.verify(ca.publicKey)) {
    throw new AgentFailure("refused", "the certificate is not from the authority that the ticket names");
  }
  return readName(certificate, ca);
}

/** The client id that a certificate names. */
export function readClientName(certificate: X509Certificate): string {
  const clientId = /^CN=([^\n]+)$/.exec(certificate.subject)?.[1] ?? "";
  try {
    readClientId(clientId);
  } catch (error) {
    throw toFailure(error, "the certificate names no client");
  }
  return clientId;
}

/** The certificates of a certs-only answer; rejects `refused` with `what` when it is none. */
export async function readCertificates(body: Buffer, what: string): Promise<X509Certificate[]> {
  const { readCertsOnly } = await import("./certificate-request.ts");
  try {
    return readCertsOnly(body).map((pem) => new X509Certificate(pem));
  } catch {
    throw new AgentFailure("refused", what);
  }
}

/** What an answer that is no success means; a text body says more (RFC 8951, section 5). */
export function toFailureOf(response: HttpsResponse, what: string): AgentFailure {
  const retryAfterSeconds = readRetryAfter(response.headers["retry-after"], Date.now() / 1000);
  const later = response.status === 202 || response.status === 429 || response.status >= 500;
  const says =
    response.headers["content-type"]?.startsWith("text/plain") === true ? response.body.toString("utf8") : "";
  const why = says.trim() === "" ? `HTTP ${response.status}` : printable(says.trim());
  return new AgentFailure(later ? "unreachable" : "refused", `${what}: ${why}`, {
    ...(retryAfterSeconds !== undefined && { retryAfterSeconds }),
  });
}
