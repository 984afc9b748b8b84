/**
 * Enrolment: from a ticket to a key, a certificate and a known authority (EST, RFC 7030, with RFC 8951's encodings).
 *
 * The CA is fetched from a server nobody has verified yet (RFC 7030, section 4.1.1) and must have the public key that the
 * ticket pins; the ticket's secret leaves the device only after that, over TLS verified with that CA alone. The key is made
 * on the device and written before the request goes out, so that a lost answer costs nothing: the same key may redeem
 * the same ticket again.
 */
import { createHash, createPrivateKey, generateKeyPairSync, timingSafeEqual } from "node:crypto";
import { X509Certificate, type KeyObject } from "node:crypto";
import { Refusal } from "../shared/refusal.ts";
import { parseTicket, type Ticket } from "../shared/ticket.ts";
import { requestSelf } from "./authority.ts";
import { openServerClock } from "./clock.ts";
import * as est from "./est.ts";
import { AgentFailure } from "./failure.ts";
import { sendHttps } from "./request.ts";
import * as state from "./state.ts";

/** Redeems the ticket into `dir` and returns what the agent now is. Rejects `refused` when it is enrolled already. */
export async function enrol(ticketText: string, dir: string): Promise<state.Enrolment> {
  const ticket = readTicket(ticketText);
  const known = state.readEnrolment(dir);
  if (known !== undefined) {
    throw new AgentFailure("refused", `${dir} is enrolled already, as ${known.clientId}; choose another folder`);
  }
  const clock = openServerClock();
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
  const clientId = est.verifyCertificate(certificatePem, ca, privateKey);
  const caPem = ca.toString();
  const identity = { keyPem: toPem(privateKey), certificatePem, caPem };
  const self = await requestSelf(ticket.authority, identity, clock);
  if (self.clientId !== clientId) throw new AgentFailure("refused", "the authority calls this agent by another name");
  const enrolment = { authority: ticket.authority, ...self };
  state.writeCa(dir, caPem);
  state.writeCertificate(dir, certificatePem);
  state.writeTokens(dir, { time: clock.remember(), tokens: {} });
  state.writeEnrolment(dir, enrolment);
  return enrolment;
}

function readTicket(text: string): Ticket {
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
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
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

function isPinned(certificate: X509Certificate, pin: Buffer): boolean {
  const spki = certificate.publicKey.export({ format: "der", type: "spki" });
  const hash = createHash("sha256").update(spki).digest();
  return hash.length === pin.length && timingSafeEqual(hash, pin);
}

function toPem(privateKey: KeyObject): string {
  return privateKey.export({ format: "pem", type: "pkcs8" }).toString();
}
