/**
 * How a device gets its certificate: with a ticket the first time, with the certificate it has from then on.
 *
 * Each way is one transaction, in which the right to a certificate is used up, the certificate made and recorded, and the
 * audit log written; a certificate that is not on record never leaves.
 */
import type { TLSSocket } from "node:tls";
import { refuse } from "../../shared/refusal.ts";
import { recordCertificate } from "../registry/certificates.ts";
import { findClient } from "../registry/clients.ts";
import { redeemTicket } from "../registry/tickets.ts";
import { readBasic } from "./basic.ts";
import { assertLive } from "./client-auth.ts";
import type { AuthorityContext } from "./context.ts";
import { isEmptyName, readCertificationRequest } from "./csr.ts";
import { readPeerCertificate } from "./peer-certificate.ts";
import { isCommonName, type IssuedCertificate } from "./x509.ts";
import type { PublicKey } from "../../shared/cose-key.ts";

/** First enrolment (RFC 7030, section 4.2): HTTP Basic with an empty user and the ticket's secret. */
export function enrol(
  context: AuthorityContext,
  authorization: string | undefined,
  body: Uint8Array,
): IssuedCertificate {
  const { registry } = context;
  const { user, password } = readBasic(authorization ?? refuse("credential.missing"));
  if (user !== "" || password === "") refuse("ticket.malformed", "an empty user and the ticket's secret");
  const { key } = readCertificationRequest(body, context.limits.csrBytes);
  return registry.change(() => {
    const { client, ticketId } = redeemTicket(registry, password, key);
    if (!client.enabled) refuse("client.disabled", client.id);
    return certify(context, client.id, key, ticketId);
  });
}

/** Renewal (RFC 7030, section 4.2.2): the certificate of the TLS connection, for the same or a new key. */
export function renew(context: AuthorityContext, socket: TLSSocket, body: Uint8Array): IssuedCertificate {
  const { registry } = context;
  const certificate = readPeerCertificate(socket, context.ca, registry.nowSeconds());
  const client = findClient(registry, certificate.clientId) ?? refuse("client.unknown", certificate.clientId);
  assertLive(context, { client, method: "certificate", certificate });
  const { key, subject } = readCertificationRequest(body, context.limits.csrBytes);
  if (!isEmptyName(subject) && !isCommonName(subject, client.id)) {
    refuse("csr.malformed", "the subject is not that of the certificate");
  }
  return registry.change(() => certify(context, client.id, key));
}

function certify(context: AuthorityContext, clientId: string, key: PublicKey, ticketId?: string): IssuedCertificate {
  const issued = context.ca.issueDevice(key, clientId, context.limits.certificateDays);
  recordCertificate(context.registry, {
    serial: issued.serial,
    clientId,
    key,
    notBefore: issued.notBefore,
    notAfter: issued.notAfter,
    der: issued.der,
    ticketId,
  });
  return issued;
}
