/**
 * The four kinds of X.509 certificate that Postern makes (RFC 5280): its own authority, devices, its server, and brokers
 * elsewhere, which are clients of the authority and servers of others.
 *
 * P-256 and ecdsa-with-SHA256 throughout. Refuses to put anything into a certificate but what the callers here name:
 * there is no way for a request to add a field.
 */
// what the X.509 library registers its parts with
// oxlint-disable-next-line import/no-unassigned-import
import "reflect-metadata";
import { randomBytes, webcrypto, type KeyObject } from "node:crypto";
import { isIP } from "node:net";
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  Name,
  PemConverter,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509CertificateGenerator,
  type Extension,
  type JsonGeneralName,
} from "@peculiar/x509";

/** A certificate as it was made. Times in seconds. */
export interface IssuedCertificate {
  readonly der: Uint8Array;
  /** 32 lower-case hex digits. */
  readonly serial: string;
  readonly notBefore: number;
  readonly notAfter: number;
}

/** Who signs. */
export interface Issuer {
  readonly name: string;
  readonly signingKey: webcrypto.CryptoKey;
  /** What the authority key identifier is taken from. */
  readonly publicKey: KeyObject;
}

/** What is to be certified, and by whom. */
export interface CertificateContent {
  readonly subject: string;
  readonly subjectKey: KeyObject;
  readonly issuer: Issuer;
  readonly notBefore: number;
  readonly notAfter: number;
  readonly purpose: Purpose;
}

/** What the certificate is for; decides every extension. */
export type Purpose =
  | { readonly kind: "authority" }
  | { readonly kind: "device"; readonly uri: string }
  | { readonly kind: "server"; readonly hosts: readonly string[] }
  | { readonly kind: "broker"; readonly uri: string; readonly hosts: readonly string[] };

const critical = true;
const signingAlgorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;

/** Makes and signs one certificate with a random serial of 126 bits. */
export async function mintCertificate(content: CertificateContent): Promise<IssuedCertificate> {
  const { subject, subjectKey, issuer, notBefore, notAfter } = content;
  const bytes = randomBytes(16);
  // positive, and always 16 bytes long, so that its hex has one spelling everywhere
  bytes[0] = (bytes[0]! & 0x3f) | 0x40;
  const serial = bytes.toString("hex");
  const certificate = await X509CertificateGenerator.create({
    serialNumber: serial,
    subject: commonName(subject),
    issuer: commonName(issuer.name),
    notBefore: new Date(notBefore * 1000),
    notAfter: new Date(notAfter * 1000),
    publicKey: spki(subjectKey),
    signingKey: issuer.signingKey,
    signingAlgorithm,
    extensions: await extensions(content),
  });
  return { der: new Uint8Array(certificate.rawData), serial, notBefore, notAfter };
}

/** A private key as the X.509 library takes it. Throws unless it is on P-256. */
export function toSigningKey(privateKey: KeyObject): Promise<webcrypto.CryptoKey> {
  const pkcs8 = privateKey.export({ type: "pkcs8", format: "der" });
  return webcrypto.subtle.importKey("pkcs8", pkcs8, signingAlgorithm, false, ["sign"]);
}

/** PEM in lines of 64 characters, with a line break at the end (RFC 7468). */
export function toPem(label: string, bytes: Uint8Array): string {
  return `${PemConverter.encode(bytes, label)}\n`;
}

/** The DER SubjectPublicKeyInfo of a key. */
export function spki(key: KeyObject): Uint8Array {
  return key.export({ type: "spki", format: "der" });
}

/** A distinguished name that is one common name; always the same string type, and nothing in the text is syntax. */
function commonName(text: string): Name {
  return new Name([{ CN: [{ utf8String: text }] }]);
}

async function extensions({ purpose, subjectKey, issuer }: CertificateContent): Promise<Extension[]> {
  const subjectKeyIdentifier = await SubjectKeyIdentifierExtension.create(spki(subjectKey));
  if (purpose.kind === "authority") {
    return [
      new BasicConstraintsExtension(true, 0, critical),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, critical),
      subjectKeyIdentifier,
    ];
  }
  const uris = purpose.kind === "server" ? [] : [{ type: "url", value: purpose.uri } as const];
  const hosts = purpose.kind === "device" ? [] : purpose.hosts.map(hostName);
  const usages = [
    ...(purpose.kind === "server" ? [] : [ExtendedKeyUsage.clientAuth]),
    ...(purpose.kind === "device" ? [] : [ExtendedKeyUsage.serverAuth]),
  ];
  return [
    new BasicConstraintsExtension(false, undefined, critical),
    new KeyUsagesExtension(KeyUsageFlags.digitalSignature, critical),
    new ExtendedKeyUsageExtension(usages),
    new SubjectAlternativeNameExtension([...uris, ...hosts]),
    subjectKeyIdentifier,
    await AuthorityKeyIdentifierExtension.create(spki(issuer.publicKey)),
  ];
}

function hostName(host: string): JsonGeneralName {
  if (isIP(host) === 0) return { type: "dns", value: host };
  // the library does not read an IPv6 address that ends in an IPv4 one; the URL standard writes it in hex
  return { type: "ip", value: isIP(host) === 6 ? new URL(`http://[${host}]/`).hostname.slice(1, -1) : host };
}
