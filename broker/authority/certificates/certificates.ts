/**
 * The certificate authority of an installation: one P-256 key in the data directory that signs the certificates of
 * devices, of this server and of brokers elsewhere (RFC 5280).
 *
 * A device certificate says who the device is and nothing else: subject `CN=<client id>`, the URI
 * `urn:postern:client:<client id>`, clientAuth. Private keys are written with mode 0600, every file in one rename.
 */
import { createHash, createPrivateKey, createPublicKey, sign, X509Certificate, type KeyObject } from "node:crypto";
import { chmodSync, existsSync, readFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import type { PublicKey } from "../../../shared/cose-key.ts";
import { assertName, brokerSubject, brokerUrn, clientIdUrn, isHost, readClientId } from "../../../shared/names.ts";
import { refuse } from "../../../shared/refusal.ts";
import { writeFileAtomically } from "../atomic-file.ts";
import { mintCertificate, spki, toPem, toSigningKey, type IssuedCertificate, type Issuer } from "./x509.ts";
import { generatePrivateKey } from "../../../shared/es256.ts";

/** A certificate and its private key, both PEM, as node:tls takes them. */
export interface ServerCredential {
  readonly cert: string;
  readonly key: string;
}

/** The CA of an installation. */
export interface CertificateAuthority {
  readonly caPem: string;
  /** The same certificate in DER. */
  readonly caDer: Uint8Array;
  readonly caCertificate: X509Certificate;
  /** SHA-256 of the authority's SubjectPublicKeyInfo, hex: what a ticket carries. */
  readonly pin: string;
  /** A certificate for a device's key. The caller records it. Rejects with `client-id.malformed`. */
  issueDevice(key: PublicKey, clientId: string, days: number): Promise<IssuedCertificate>;
  /** A certificate for a broker's key, for these hosts and the local names. The caller records it. Rejects with `registry.invalid`. */
  issueBroker(key: PublicKey, name: string, hosts: readonly string[], days: number): Promise<IssuedCertificate>;
  /** The server's certificate for these hosts and the local names; what is on disk is kept while it will do. */
  issueServer(hosts: readonly string[]): Promise<ServerCredential>;
  /** The signature of the authority under a list of revoked certificates, ecdsa-with-SHA256 in DER. Works beside the event loop. */
  signCrl(tbsCertList: Uint8Array): Promise<Uint8Array>;
}

const commonName = "Postern CA";
const daySeconds = 86_400;
const authorityDays = 3650;
const serverDays = 397;
/** A server certificate with less than this left is replaced at start. */
const renewDays = 30;
/** Devices whose clock is a little slow must not find their certificate in the future. */
const backdateSeconds = 300;
const unspecified: ReadonlySet<string> = new Set(["", "0.0.0.0", "::", "*"]);

/** Opens the authority in a data directory, and makes it on the first run. */
export async function openCertificateAuthority(
  directory: string,
  nowSeconds: () => number = () => Math.floor(Date.now() / 1000),
): Promise<CertificateAuthority> {
  const privateKey = openPrivateKey(join(directory, "ca.key"));
  const publicKey = createPublicKey(privateKey);
  const issuer: Issuer = { name: commonName, signingKey: await toSigningKey(privateKey), publicKey };
  const caPem = await openAuthorityCertificate(join(directory, "ca.pem"), privateKey, issuer, nowSeconds());
  const caCertificate = new X509Certificate(caPem);

  return {
    caPem,
    caDer: caCertificate.raw,
    caCertificate,
    pin: createHash("sha256").update(spki(publicKey)).digest("hex"),
    issueDevice: async (key, clientId, days) => {
      readClientId(clientId);
      const now = nowSeconds();
      return mintCertificate({
        subject: clientId,
        subjectKey: key.keyObject,
        issuer,
        notBefore: now - backdateSeconds,
        notAfter: now + days * daySeconds,
        purpose: { kind: "device", uri: clientIdUrn(clientId) },
      });
    },
    issueBroker: async (key, name, hosts, days) => {
      assertName(name);
      const now = nowSeconds();
      return mintCertificate({
        subject: brokerSubject(name),
        subjectKey: key.keyObject,
        issuer,
        notBefore: now - backdateSeconds,
        notAfter: now + days * daySeconds,
        purpose: { kind: "broker", uri: brokerUrn(name), hosts: localAnd(hosts) },
      });
    },
    issueServer: async (hosts) => {
      const names = serverNames(hosts);
      const key = openPrivateKey(join(directory, "server.key"));
      const file = join(directory, "server.pem");
      const now = nowSeconds();
      const kept = existsSync(file) ? readFileSync(file, "utf8") : undefined;
      if (kept !== undefined && isGoodServerCertificate(kept, caCertificate, key, names, now)) {
        return { cert: kept, key: exportKey(key) };
      }
      const made = await mintCertificate({
        subject: "Postern",
        subjectKey: createPublicKey(key),
        issuer,
        notBefore: now - backdateSeconds,
        notAfter: now + serverDays * daySeconds,
        purpose: { kind: "server", hosts: names },
      });
      const cert = toPem("CERTIFICATE", made.der);
      writeFileAtomically(file, cert, 0o644);
      return { cert, key: exportKey(key) };
    },
    signCrl: (tbsCertList) =>
      new Promise((resolve, reject) => {
        sign("sha256", tbsCertList, privateKey, (error, signature) => (error ? reject(error) : resolve(signature)));
      }),
  };
}

/** The names a server certificate is made for: the local ones and what the operator adds. */
export function serverNames(hosts: readonly string[]): string[] {
  return localAnd([hostname(), ...hosts]);
}

function localAnd(hosts: readonly string[]): string[] {
  const all = ["localhost", ...hosts, "127.0.0.1", "::1"].filter((host) => !unspecified.has(host));
  return [...new Set(all)].filter(isHost);
}

function openPrivateKey(file: string): KeyObject {
  if (existsSync(file)) {
    // a key that was copied with a wider mode is brought back
    chmodSync(file, 0o600);
    return readOrRefuse(file, "private key", (pem) => createPrivateKey(pem));
  }
  const privateKey = generatePrivateKey();
  writeFileAtomically(file, exportKey(privateKey), 0o600);
  return privateKey;
}

/** What a file of the data directory holds; damaged, it is for the operator to mend and named. */
function readOrRefuse<T>(file: string, what: string, read: (content: Buffer) => T): T {
  const content = readFileSync(file);
  try {
    return read(content);
  } catch {
    return refuse("registry.invalid", `${file} holds no ${what}`);
  }
}

async function openAuthorityCertificate(
  file: string,
  privateKey: KeyObject,
  issuer: Issuer,
  now: number,
): Promise<string> {
  if (existsSync(file)) {
    const certificate = readOrRefuse(file, "certificate", (pem) => new X509Certificate(pem));
    if (!certificate.checkPrivateKey(privateKey)) {
      refuse("registry.invalid", `${file} and ca.key do not belong together`);
    }
    return readFileSync(file, "utf8");
  }
  const made = await mintCertificate({
    subject: issuer.name,
    subjectKey: issuer.publicKey,
    issuer,
    notBefore: now - backdateSeconds,
    notAfter: now + authorityDays * daySeconds,
    purpose: { kind: "authority" },
  });
  const pem = toPem("CERTIFICATE", made.der);
  writeFileAtomically(file, pem, 0o644);
  return pem;
}

function isGoodServerCertificate(
  pem: string,
  authority: X509Certificate,
  key: KeyObject,
  names: readonly string[],
  now: number,
): boolean {
  try {
    const certificate = new X509Certificate(pem);
    const left = Date.parse(certificate.validTo) / 1000 - now;
    return (
      left >= renewDays * daySeconds &&
      Date.parse(certificate.validFrom) / 1000 <= now &&
      certificate.checkPrivateKey(key) &&
      certificate.verify(authority.publicKey) &&
      names.every((name) => certificate.checkHost(name) !== undefined || certificate.checkIP(name) !== undefined)
    );
  } catch {
    return false;
  }
}

function exportKey(key: KeyObject): string {
  return key.export({ type: "pkcs8", format: "pem" }).toString();
}
