/**
 * The certificate of a broker elsewhere: by which it is known to the authority, and to the clients that connect to it.
 *
 * Held to what a device's is held to ({@link verifyCertificate}), and to its own names: the subject exactly
 * `CN=broker:<name>`, the subject alternative name the URI `urn:postern:broker:<name>` and then host names and addresses
 * alone, for clientAuth and serverAuth. Neither kind can be taken for the other: a client id holds no colon, and each has
 * its own URI.
 */
import type { X509Certificate } from "node:crypto";
import { verifyCertificate, type VerifiedCertificate } from "./device-certificate.ts";
import { assertName, brokerSubject, brokerUrn, isHost } from "./names.ts";
import { Refusal, refuse } from "./refusal.ts";

/** What a broker's certificate says, after everything about it was verified. */
export interface BrokerCertificate extends VerifiedCertificate {
  /** The broker's name, without `broker:`. */
  readonly name: string;
  /** The host names and addresses that it serves under. */
  readonly hosts: readonly string[];
}

const subjectStart = `CN=${brokerSubject("")}`;
/** id-kp-serverAuth (RFC 5280, 4.2.1.12). */
const SERVER_AUTH = "1.3.6.1.5.5.7.3.1";

/** Whether it calls itself a broker's; everything else is for {@link readBrokerCertificate}. */
export function claimsBroker(certificate: X509Certificate): boolean {
  return certificate.subject.startsWith(subjectStart);
}

/** Verifies a certificate and says which broker's it is; throws `certificate.*` or `key.*`. */
export function readBrokerCertificate(
  certificate: X509Certificate,
  authorities: readonly X509Certificate[],
  nowSeconds: number,
): BrokerCertificate {
  return verifyCertificate(certificate, authorities, nowSeconds, () => {
    const usage = certificate.keyUsage as string[] | undefined;
    if (usage?.includes(SERVER_AUTH) !== true) refuse("certificate.usage", "not for server authentication");
    const name = readName(certificate);
    return { name, hosts: readHosts(certificate, name) };
  });
}

function readName({ subject }: X509Certificate): string {
  const name = subject.startsWith(subjectStart) ? subject.slice(subjectStart.length) : "";
  try {
    assertName(name);
  } catch (error) {
    if (error instanceof Refusal) refuse("certificate.identity", "the subject is not CN=broker:<name>");
    throw error;
  }
  return name;
}

/** Node separates names by a comma and a space, and puts what holds one of these in quotes, which no host holds. */
function readHosts({ subjectAltName }: X509Certificate, name: string): string[] {
  const [uri, ...others] = (subjectAltName ?? "").split(", ");
  if (uri !== `URI:${brokerUrn(name)}`) refuse("certificate.identity", "the alternative name is not the broker's");
  return others.map((other) => {
    const host = /^(?:DNS|IP Address):(.+)$/.exec(other)?.[1] ?? "";
    return isHost(host) ? host : refuse("certificate.identity", "an alternative name that is neither host nor address");
  });
}
