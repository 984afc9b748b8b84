/**
 * The broker elsewhere at the other end of a TLS connection, known by its certificate (RFC 8705, section 2, done for brokers).
 *
 * The certificate is verified once for each connection; whether it is in time, on record and not taken back, and its broker
 * not deleted, is looked at again at each use, because a connection outlives such news.
 */
import type { TLSSocket } from "node:tls";
import { claimsBroker, readBrokerCertificate, type BrokerCertificate } from "../../../shared/broker-certificate.ts";
import { assertCertificateTime } from "../../../shared/device-certificate.ts";
import { assertLiveBroker } from "../../registry/brokers.ts";
import type { AuthorityContext } from "../context.ts";
import { presentedCertificate } from "../peer-certificate.ts";

const verified = new WeakMap<TLSSocket, BrokerCertificate>();

/**
 * The broker that this connection is of; nothing where the peer presents no certificate, or one that does not call itself
 * a broker's. Throws `certificate.*` or `key.*` where it does and is not good.
 */
export function readBrokerPeer(
  { registry, ca }: Pick<AuthorityContext, "registry" | "ca">,
  socket: TLSSocket,
  nowSeconds: number,
): BrokerCertificate | undefined {
  const certificate = presentedCertificate(socket);
  if (certificate === undefined || !claimsBroker(certificate)) return undefined;
  const known = verified.get(socket);
  if (known !== undefined) assertCertificateTime(known, nowSeconds);
  const read = known ?? readBrokerCertificate(certificate, [ca.caCertificate], nowSeconds);
  verified.set(socket, read);
  assertLiveBroker(registry, read);
  return read;
}
