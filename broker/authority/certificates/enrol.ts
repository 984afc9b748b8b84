/**
 * How a device gets its certificate: with a ticket the first time, with the certificate it has from then on. What brokers
 * elsewhere bring is told apart here, and is for `enrol-broker.ts`.
 *
 * Signing takes a moment in which others act, and a transaction cannot wait for it. So each way looks first whether and
 * for whom a certificate will be due, has it made, and then decides in one transaction, as if it had not looked: the
 * right to it is used up, the certificate recorded, the audit log written. A certificate that is not on record never
 * leaves, and one that came to nothing is forgotten.
 */
import type { TLSSocket } from "node:tls";
import type { PublicKey } from "../../../shared/cose-key.ts";
import type { DeviceCertificate } from "../../../shared/device-certificate.ts";
import { refuse } from "../../../shared/refusal.ts";
import { isBrokerTicket } from "../../registry/broker-tickets.ts";
import { recordCertificate } from "../../registry/certificates.ts";
import { findClient, type Client } from "../../registry/clients.ts";
import { foreseeClient, redeemTicket } from "../../registry/tickets.ts";
import { readBasic } from "../basic.ts";
import { assertLive } from "../oauth/client-auth.ts";
import type { AuthorityContext } from "../context.ts";
import { readCertificationRequest } from "./csr.ts";
import { enrolBroker, renewBroker } from "./enrol-broker.ts";
import { readPeerCertificate } from "../peer-certificate.ts";
import type { IssuedCertificate } from "./x509.ts";

/** First enrolment (RFC 7030, section 4.2): HTTP Basic with an empty user and the ticket's secret. */
export async function enrol(
  context: AuthorityContext,
  authorization: string | undefined,
  body: Uint8Array,
): Promise<IssuedCertificate> {
  const { registry, ca, limits } = context;
  const { user, password } = readBasic(authorization ?? refuse("credential.missing"));
  if (user !== "" || password === "") refuse("ticket.malformed", "an empty user and the ticket's secret");
  const { key } = readCertificationRequest(body, limits.csrBytes);
  if (isBrokerTicket(registry, password)) return enrolBroker(context, password, key);
  const foreseen = foreseeClient(registry, password, key);
  const issued = await ca.issueDevice(key, foreseen, limits.certificateDays);
  return registry.change(() => {
    const { client, ticketId } = redeemTicket(registry, password, key);
    if (client.id !== foreseen) refuse("registry.conflict", `the ticket gives ${client.id} and no longer ${foreseen}`);
    return record(context, issued, client.id, key, ticketId);
  });
}

/** Renewal (RFC 7030, section 4.2.2): the certificate of the TLS connection, for the same or a new key. */
export async function renew(
  context: AuthorityContext,
  socket: TLSSocket,
  body: Uint8Array,
): Promise<IssuedCertificate> {
  const { registry, ca, limits } = context;
  const ofBroker = await renewBroker(context, socket, () => readCertificationRequest(body, limits.csrBytes));
  if (ofBroker !== undefined) return ofBroker;
  const certificate = readPeerCertificate(socket, ca, registry.nowSeconds());
  const { id } = findHolder(context, certificate);
  const { key, subject } = readCertificationRequest(body, limits.csrBytes);
  // nothing in a client id needs escaping, so its name has this one spelling
  if (subject !== "" && subject !== `CN=${id}`) refuse("csr.malformed", "the subject is not that of the certificate");
  const issued = await ca.issueDevice(key, id, limits.certificateDays);
  return registry.change(() => record(context, issued, findHolder(context, certificate).id, key));
}

/** The client that the certificate is of, if it may act and the certificate is on record. */
function findHolder(context: AuthorityContext, certificate: DeviceCertificate): Client {
  const client = findClient(context.registry, certificate.clientId);
  if (client === undefined) return refuse("client.unknown", certificate.clientId);
  assertLive(context, { client, method: "certificate", certificate });
  return client;
}

function record(
  context: AuthorityContext,
  issued: IssuedCertificate,
  clientId: string,
  key: PublicKey,
  ticketId?: string,
): IssuedCertificate {
  recordCertificate(context.registry, { ...issued, clientId, key, ticketId });
  return issued;
}
