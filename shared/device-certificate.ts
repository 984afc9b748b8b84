/**
 * The device certificate: who a TLS peer is.
 *
 * Reads what both ends agree on: issued and signed by one of the given authorities, within its validity (RFC 5280
 * 4.1.2.5), for client authentication (4.2.1.12), not an authority itself, the subject exactly `CN=<client id>`, the
 * subject alternative name exactly one URI `urn:postern:client:<client id>`, the key on P-256.
 * It does not follow intermediate certificates, asks no revocation list and reads no clock. The validity of the
 * authorities is not looked at: a trust anchor is trusted because it is configured (RFC 5280, 6.1.1).
 */
import { createHash } from "node:crypto";
import type { X509Certificate } from "node:crypto";
import { readPublicKey } from "./cose-key.ts";
import type { PublicKey } from "./cose-key.ts";
import { clientIdUrn, readClientId } from "./names.ts";
import { Refusal, refuse } from "./refusal.ts";

/** What a device certificate says, after everything about it was verified. */
export interface DeviceCertificate extends VerifiedCertificate {
  readonly clientId: string;
}

/** What any certificate of a TLS client says beside its name. Times are seconds since 1970. */
export interface VerifiedCertificate {
  /** Which authority issued it, by {@link nameAuthority}. */
  readonly authority: string;
  /** Serial number, lower-case hex. */
  readonly serial: string;
  readonly key: PublicKey;
  /** SHA-256 of the DER certificate, what `x5t#S256` holds (RFC 8705, 3.1). */
  readonly sha256: Uint8Array;
  readonly notBefore: number;
  readonly notAfter: number;
}

/** id-kp-clientAuth (RFC 5280, 4.2.1.12). */
const CLIENT_AUTH = "1.3.6.1.5.5.7.3.2";
/** The DER of id-ce-subjectAltName, 2.5.29.17 (RFC 5280, 4.2.1.6). */
const ALTERNATIVE_NAME = Buffer.from("0603551d11", "hex");

/**
 * Verifies a certificate and says whose it is; throws `certificate.*` or `key.*`.
 * A caller may keep the answer by `sha256`, and then asks `assertCertificateTime` again at each use.
 */
export function readDeviceCertificate(
  certificate: X509Certificate,
  authorities: readonly X509Certificate[],
  nowSeconds: number,
): DeviceCertificate {
  return verifyCertificate(certificate, authorities, nowSeconds, () => ({ clientId: readIdentity(certificate) }));
}

/**
 * The checks that any certificate of a TLS client must pass, with those of its name among them: `readName` says whose it is
 * and throws `certificate.identity` where its names are not of the form.
 */
export function verifyCertificate<Name extends object>(
  certificate: X509Certificate,
  authorities: readonly X509Certificate[],
  nowSeconds: number,
  readName: () => Name,
): Name & VerifiedCertificate {
  const issuers = authorities.filter((authority) => authority.ca && certificate.checkIssued(authority));
  if (issuers.length === 0) refuse("certificate.untrusted", "no known authority is its issuer");

  const notBefore = readTime(certificate.validFrom);
  const notAfter = readTime(certificate.validTo);
  assertCertificateTime({ notBefore, notAfter }, nowSeconds);
  if (certificate.ca) refuse("certificate.usage", "it is an authority's");
  // node calls the extended key usage `keyUsage`; it is undefined where the extension is absent
  const usage = certificate.keyUsage as string[] | undefined;
  if (usage?.includes(CLIENT_AUTH) !== true) refuse("certificate.usage", "not for client authentication");
  const name = readName();
  // an extension stands once (RFC 5280, 4.2); of several node shows the first
  if (certificate.raw.indexOf(ALTERNATIVE_NAME) !== certificate.raw.lastIndexOf(ALTERNATIVE_NAME)) {
    refuse("certificate.identity", "several alternative name extensions");
  }
  const key = readPublicKey(certificate.publicKey);

  const issuer = issuers.find((authority) => certificate.verify(authority.publicKey));
  if (issuer === undefined) return refuse("certificate.untrusted", "the signature is not its issuer's");
  const sha256 = new Uint8Array(createHash("sha256").update(certificate.raw).digest());
  const serial = certificate.serialNumber.toLowerCase();
  return { ...name, authority: nameAuthority(issuer), serial, key, sha256, notBefore, notAfter };
}

/** What an authority for certificates is called: the first 16 hex digits of the SHA-256 of its SubjectPublicKeyInfo. */
export function nameAuthority(authority: X509Certificate): string {
  const spki = authority.publicKey.export({ type: "spki", format: "der" });
  return createHash("sha256").update(spki).digest("hex").slice(0, 16);
}

/** What a certificate is called on a list of revoked ones: `<authority>:<serial>`. Takes the serial in any spelling. */
export function nameCertificate({
  authority,
  serial,
}: {
  readonly authority: string;
  readonly serial: string;
}): string {
  return `${authority}:${normaliseSerial(serial)}`;
}

/** Hex in lower case, without colons and leading zeros. */
export function normaliseSerial(serial: string): string {
  return serial
    .replaceAll(":", "")
    .toLowerCase()
    .replace(/^0+(?=.)/, "");
}

/** Throws unless the time is within the certificate's validity, both ends included (RFC 5280, 4.1.2.5). */
export function assertCertificateTime(
  certificate: { readonly notBefore: number; readonly notAfter: number },
  nowSeconds: number,
): void {
  if (nowSeconds < certificate.notBefore) refuse("certificate.not-yet-valid");
  if (nowSeconds > certificate.notAfter) refuse("certificate.expired");
}

/**
 * The client id of subject and alternative name. Both are compared as whole texts with what a client id can produce:
 * node renders several attributes on several lines, several names with a comma between, and escapes the rest, so
 * that nothing but the one attribute and the one URI gives exactly these texts.
 */
function readIdentity(certificate: X509Certificate): string {
  const subject = certificate.subject;
  const clientId = subject.startsWith("CN=") ? subject.slice(3) : refuse("certificate.identity", "no common name");
  try {
    readClientId(clientId);
  } catch (error) {
    if (error instanceof Refusal) refuse("certificate.identity", "the subject is not CN=<client id>");
    throw error;
  }
  if (certificate.subjectAltName !== `URI:${clientIdUrn(clientId)}`) {
    refuse("certificate.identity", "the alternative name is not the client's");
  }
  return clientId;
}

/** Seconds of a time as node renders it, `Nov 22 00:00:00 2026 GMT`. */
function readTime(text: string): number {
  const milliseconds = Date.parse(text);
  if (Number.isNaN(milliseconds)) refuse("certificate.untrusted", "its validity cannot be read");
  return Math.floor(milliseconds / 1000);
}
