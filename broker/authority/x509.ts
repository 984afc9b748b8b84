/**
 * The three kinds of X.509 certificate that Postern makes (RFC 5280): its own authority, devices, and its servers.
 *
 * Synchronous, so that a device certificate is signed inside the transaction that records it. P-256 and
 * ecdsa-with-SHA256 throughout. Refuses to put anything into a certificate but what the callers here name: there is no
 * way for a request to add a field.
 */
import { createHash, randomBytes, sign, type KeyObject } from "node:crypto";
import { isIP } from "node:net";
import {
  bitString,
  tagged,
  taggedPrimitive,
  der,
  derTrue,
  integer,
  octetString,
  oid,
  sequence,
  set,
  tag,
  time,
  utf8String,
} from "./der.ts";

/** A certificate as it was made. Times in seconds. */
export interface IssuedCertificate {
  readonly der: Uint8Array;
  /** 32 lower-case hex digits. */
  readonly serial: string;
  readonly notBefore: number;
  readonly notAfter: number;
}

/** What is to be certified, and by whom. */
export interface CertificateContent {
  readonly subject: string;
  readonly subjectKey: KeyObject;
  readonly issuer: string;
  readonly issuerKey: KeyObject;
  /** The authority's public key: what the authority key identifier is taken from. */
  readonly issuerPublicKey: KeyObject;
  readonly notBefore: number;
  readonly notAfter: number;
  readonly purpose: Purpose;
}

/** What the certificate is for; decides every extension. */
export type Purpose =
  | { readonly kind: "authority" }
  | { readonly kind: "device"; readonly uri: string }
  | { readonly kind: "server"; readonly hosts: readonly string[] };

export const ids = {
  commonName: "2.5.4.3",
  ecPublicKey: "1.2.840.10045.2.1",
  p256: "1.2.840.10045.3.1.7",
  ecdsaWithSha256: "1.2.840.10045.4.3.2",
  subjectKeyIdentifier: "2.5.29.14",
  keyUsage: "2.5.29.15",
  subjectAltName: "2.5.29.17",
  basicConstraints: "2.5.29.19",
  authorityKeyIdentifier: "2.5.29.35",
  extendedKeyUsage: "2.5.29.37",
  serverAuth: "1.3.6.1.5.5.7.3.1",
  clientAuth: "1.3.6.1.5.5.7.3.2",
  data: "1.2.840.113549.1.7.1",
  signedData: "1.2.840.113549.1.7.2",
} as const;

const version3 = tagged(0, integer(Uint8Array.of(2)));
const signatureAlgorithm = sequence(oid(ids.ecdsaWithSha256));

/** Makes and signs one certificate with a random serial of 126 bits. */
export function mintCertificate(content: CertificateContent): IssuedCertificate {
  const serial = randomBytes(16);
  // positive, and always 16 bytes long, so that its hex has one spelling everywhere
  serial[0] = (serial[0]! & 0x3f) | 0x40;
  const { notBefore, notAfter } = content;
  const toBeSigned = sequence(
    version3,
    integer(serial),
    signatureAlgorithm,
    commonName(content.issuer),
    sequence(time(notBefore), time(notAfter)),
    commonName(content.subject),
    spki(content.subjectKey),
    tagged(3, sequence(...extensions(content))),
  );
  const signature = sign("sha256", toBeSigned, content.issuerKey);
  const bytes = sequence(toBeSigned, signatureAlgorithm, bitString(signature));
  return { der: bytes, serial: serial.toString("hex"), notBefore, notAfter };
}

/** A distinguished name that is one common name. */
export function commonName(text: string): Uint8Array {
  return sequence(set(sequence(oid(ids.commonName), utf8String(text))));
}

/** Certificates as a PKCS#7 message without content and signers (RFC 5652, section 5; RFC 7030, section 4.2.3). */
export function certsOnly(...certificates: readonly Uint8Array[]): Uint8Array {
  const signedData = sequence(
    integer(Uint8Array.of(1)),
    set(),
    sequence(oid(ids.data)),
    tagged(0, ...certificates),
    set(),
  );
  return sequence(oid(ids.signedData), tagged(0, signedData));
}

/** PEM in lines of 64 characters (RFC 7468). */
export function toPem(label: string, bytes: Uint8Array): string {
  const lines =
    Buffer.from(bytes)
      .toString("base64")
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}

/** The DER SubjectPublicKeyInfo of a key. */
export function spki(key: KeyObject): Uint8Array {
  return key.export({ type: "spki", format: "der" });
}

function extensions(content: CertificateContent): Uint8Array[] {
  const { purpose } = content;
  const keyIds = [
    extension(ids.subjectKeyIdentifier, false, octetString(keyIdentifier(content.subjectKey))),
    ...(purpose.kind === "authority"
      ? []
      : [
          extension(
            ids.authorityKeyIdentifier,
            false,
            sequence(taggedPrimitive(0, keyIdentifier(content.issuerPublicKey))),
          ),
        ]),
  ];
  if (purpose.kind === "authority") {
    return [
      extension(ids.basicConstraints, true, sequence(derTrue, integer(Uint8Array.of(0)))),
      // keyCertSign (5) and cRLSign (6)
      extension(ids.keyUsage, true, bitString(Uint8Array.of(0b0000_0110), 1)),
      ...keyIds,
    ];
  }
  const names =
    purpose.kind === "device" ? [taggedPrimitive(6, Buffer.from(purpose.uri))] : purpose.hosts.map(hostName);
  return [
    extension(ids.basicConstraints, true, sequence()),
    // digitalSignature (0)
    extension(ids.keyUsage, true, bitString(Uint8Array.of(0b1000_0000), 7)),
    extension(ids.extendedKeyUsage, false, sequence(oid(purpose.kind === "device" ? ids.clientAuth : ids.serverAuth))),
    extension(ids.subjectAltName, false, sequence(...names)),
    ...keyIds,
  ];
}

function extension(id: string, critical: boolean, value: Uint8Array): Uint8Array {
  return sequence(oid(id), ...(critical ? [derTrue] : []), octetString(value));
}

/** SHA-1 over the bits of the key: the usual identifier (RFC 5280, section 4.2.1.2), a name and not a protection. */
function keyIdentifier(key: KeyObject): Uint8Array {
  // the last 65 bytes of a P-256 SubjectPublicKeyInfo are the uncompressed point
  return createHash("sha1").update(spki(key).subarray(-65)).digest();
}

/** A dNSName [2] or an iPAddress [7]. */
function hostName(host: string): Uint8Array {
  return isIP(host) === 0 ? taggedPrimitive(2, Buffer.from(host)) : taggedPrimitive(7, addressBytes(host));
}

/** The 4 or 16 bytes of an IP address. */
function addressBytes(address: string): Uint8Array {
  if (isIP(address) === 4) return Uint8Array.from(address.split("."), Number);
  const [left = "", right] = new URL(`http://[${address}]/`).hostname.slice(1, -1).split("::");
  const [head, tail] = [addressGroups(left), addressGroups(right ?? "")];
  const zeros = Array<number>(8 - head.length - tail.length).fill(0);
  return Uint8Array.from([...head, ...zeros, ...tail].flatMap((group) => [group >> 8, group & 0xff]));
}

/** The 16-bit groups of one side of the `::` in an IPv6 address. */
function addressGroups(text: string): number[] {
  return text === "" ? [] : text.split(":").map((group) => parseInt(group, 16));
}

/** For readers of a request: is this the distinguished name `CN=<text>`, in either string type? */
export function isCommonName(name: Uint8Array, text: string): boolean {
  const printable = sequence(set(sequence(oid(ids.commonName), der(tag.printable, Buffer.from(text)))));
  return Buffer.compare(name, commonName(text)) === 0 || Buffer.compare(name, printable) === 0;
}
