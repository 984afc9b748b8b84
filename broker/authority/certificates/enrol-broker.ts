/**
 * How a broker elsewhere gets its certificate: as a device does, in the same order and for the same reasons, but for a name
 * of its own and the hosts that the registry has for it. A renewal carries the hosts of the day.
 */
import type { TLSSocket } from "node:tls";
import type { PublicKey } from "../../../shared/cose-key.ts";
import { brokerSubject } from "../../../shared/names.ts";
import { refuse } from "../../../shared/refusal.ts";
import { foreseeBroker, redeemBrokerTicket } from "../../registry/broker-tickets.ts";
import { getBroker, type Broker } from "../../registry/brokers.ts";
import { recordCertificate } from "../../registry/certificates.ts";
import { readBrokerPeer } from "./broker-peer.ts";
import type { AuthorityContext } from "../context.ts";
import type { CertificationRequest } from "./csr.ts";
import type { IssuedCertificate } from "./x509.ts";

/** First enrolment: the ticket of a broker, and the key that the request was signed with. */
export async function enrolBroker(
  context: AuthorityContext,
  secret: string,
  key: PublicKey,
): Promise<IssuedCertificate> {
  const { registry } = context;
  const foreseen = foreseeBroker(registry, secret, key).broker;
  const issued = await issue(context, foreseen, key);
  return registry.change(() =>
    record(context, foreseen, redeemBrokerTicket(registry, secret, key).broker, issued, key),
  );
}

/** Renewal for the same or a new key; nothing where the certificate of the connection is not a broker's. */
export async function renewBroker(
  context: AuthorityContext,
  socket: TLSSocket,
  readRequest: () => CertificationRequest,
): Promise<IssuedCertificate | undefined> {
  const { registry } = context;
  const findHolder = (): Broker | undefined => {
    const peer = readBrokerPeer(context, socket, registry.nowSeconds());
    return peer && getBroker(registry, peer.name);
  };
  const foreseen = findHolder();
  if (foreseen === undefined) return undefined;
  const { key, subject } = readRequest();
  if (subject !== "" && subject !== `CN=${brokerSubject(foreseen.name)}`) {
    refuse("csr.malformed", "the subject is not that of the certificate");
  }
  const issued = await issue(context, foreseen, key);
  return registry.change(() => record(context, foreseen, findHolder(), issued, key));
}

function issue({ ca, limits }: AuthorityContext, { name, hosts }: Broker, key: PublicKey): Promise<IssuedCertificate> {
  return ca.issueBroker(key, name, hosts, limits.certificateDays);
}

/** The certificate was made for what was foreseen; by now the hosts may be others. */
function record(
  { registry }: AuthorityContext,
  foreseen: Broker,
  broker: Broker | undefined,
  issued: IssuedCertificate,
  key: PublicKey,
): IssuedCertificate {
  if (broker === undefined || broker.hosts.join() !== foreseen.hosts.join()) {
    refuse("registry.conflict", `the hosts of broker ${foreseen.name} have changed meanwhile`);
  }
  recordCertificate(registry, { ...issued, clientId: brokerSubject(foreseen.name), key });
  return issued;
}
