/**
 * From a ticket to a key, a certificate and a known authority (EST, RFC 7030, with RFC 8951's encodings): what a device and
 * a broker elsewhere do alike.
 *
 * The CA is fetched from a server nobody has verified yet (RFC 7030, section 4.1.1) and must have the public key that the
 * ticket pins; the ticket's secret leaves this machine only after that, over TLS verified with that CA alone. The key is made
 * here and written before the request goes out, so that a lost answer costs nothing: the same key may redeem the same
 * ticket again.
 */
import { createHash, createPrivateKey, timingSafeEqual } from "node:crypto";
import { X509Certificate, type KeyObject } from "node:crypto";
import { Refusal } from "../shared/refusal.ts";
import { parseTicket, type Ticket } from "../shared/ticket.ts";
import type { ServerClock } from "./clock.ts";
import * as est from "./est.ts";
import { AgentFailure } from "./failure.ts";
import { sendHttps } from "./request.ts";
import * as state from "./state.ts";
import { generatePrivateKey } from "../shared/es256.ts";

/** What a ticket brought; the key is in the folder already, the rest is for the caller to write. All PEM. */
export interface Redeemed {
  readonly keyPem: string;
  readonly certificatePem: string;
  readonly caPem: string;
  /** Whom the certificate is for, as `readName` says. */
  readonly name: string;
}

/** Redeems the ticket for the key in `dir`, which is made unless it is there. `readName` throws for a certificate that is not as it should be. */
export async function redeemTicket(
  ticket: Ticket,
  dir: string,
  clock: ServerClock,
  readName: est.ReadName,
): Promise<Redeemed> {
  const privateKey = readOrCreateKey(dir);
  const ca = await fetchPinnedCa(ticket);
  const certificatePem = await est.requestCertificate({
    url: new URL("/.well-known/est/simpleenroll", ticket.authority),
    caPem: ca.toString(),
    privateKey,
    clock,
    authorization: `Basic ${Buffer.from(`:${ticket.secret}`).toString("base64")}`,
    otherwise: "the ticket was refused",
  });
  const name = est.verifyCertificate(certificatePem, ca, privateKey, readName);
  return { keyPem: toPem(privateKey), certificatePem, caPem: ca.toString(), name };
}

/** The ticket in a text from outside. Throws `refused`. */
export function readTicket(text: string): Ticket {
  try {
    return parseTicket(text.trim());
  } catch (error) {
    if (error instanceof Refusal) throw new AgentFailure("refused", "this is not a ticket", { code: error.reason });
    throw error;
  }
}

function readOrCreateKey(dir: string): KeyObject {
  const known = state.readKey(dir);
  if (known !== undefined) return createPrivateKey(known);
  const privateKey = generatePrivateKey();
  state.writeKey(dir, toPem(privateKey));
  return privateKey;
}

/** The CA whose SubjectPublicKeyInfo has the pinned SHA-256. */
async function fetchPinnedCa(ticket: Ticket): Promise<X509Certificate> {
  const url = new URL("/.well-known/est/cacerts", ticket.authority);
  const response = await sendHttps({ url, method: "GET", unverified: true, maxBytes: 65_536 });
  if (response.status !== 200) throw est.toFailureOf(response, "the authority does not tell its certificate");
  const pin = Buffer.from(ticket.pin, "hex");
  const certificates = await est.readCertificates(response.body, "the authority's certificate cannot be read");
  const pinned = certificates.find(
    (certificate) => certificate.ca && isPinned(certificate, pin) && certificate.verify(certificate.publicKey),
  );
  if (pinned === undefined) {
    throw new AgentFailure("refused", "the authority's certificate is not the one that the ticket names", {
      code: "ticket.pin",
    });
  }
  return pinned;
}

/** Whether the certificate's SubjectPublicKeyInfo has this SHA-256. */
export function isPinned(certificate: X509Certificate, pin: Uint8Array): boolean {
  const spki = certificate.publicKey.export({ format: "der", type: "spki" });
  const hash = createHash("sha256").update(spki).digest();
  return hash.length === pin.length && timingSafeEqual(hash, pin);
}

function toPem(privateKey: KeyObject): string {
  return privateKey.export({ format: "pem", type: "pkcs8" }).toString();
}
