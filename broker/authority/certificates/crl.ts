/**
 * The list of revoked certificates of our own CA (RFC 5280, section 5): version 2, complete, direct, ecdsa-with-SHA256.
 *
 * Written by hand, because it may hold a million entries: each is put into its place in one buffer, and the time for that
 * grows with their number and no faster. Refuses nothing; what is on the list is the caller's to know.
 */
import { crlReasons, type CrlEntry } from "../../registry/crl-entries.ts";
import { readAuthorityName } from "./authority-name.ts";
import type { CertificateAuthority } from "./certificates.ts";
import { contextTag, der, derHeader, derInteger, derTime, tags } from "./der.ts";

/** What a list says. Times in seconds. */
export interface CrlContent {
  readonly number: number;
  readonly thisUpdate: number;
  readonly nextUpdate: number;
  /** What {@link encodeCrlEntries} gave, one behind the other. */
  readonly entries: Uint8Array;
}

const version2 = derInteger("01");
const bitsUsed = Uint8Array.of(0);
/** ecdsa-with-SHA256, without parameters (RFC 5758, section 3.2). */
const algorithm = der(tags.sequence, Buffer.from("06082a8648ce3d040302", "hex"));
const authorityKeyIdentifier = Buffer.from("0603551d23", "hex");
const cRLNumber = Buffer.from("0603551d14", "hex");
/** Extensions with one, reasonCode, up to its value. */
const reasonCode = Buffer.from("300c300a0603551d1504030a01", "hex");
/** A serial of 32 bytes, a GeneralizedTime, a reason, and what stands before each. */
const maxEntryBytes = 96;

/** Signs a list. */
export async function issueCrl(
  ca: Pick<CertificateAuthority, "caDer" | "signCrl">,
  { number, thisUpdate, nextUpdate, entries }: CrlContent,
): Promise<Uint8Array> {
  const { subject, keyIdentifier } = readAuthorityName(ca.caDer);
  const extensions = [
    ...(keyIdentifier === undefined
      ? []
      : [extension(authorityKeyIdentifier, der(tags.sequence, der(0x80, keyIdentifier)))]),
    extension(cRLNumber, derInteger(number.toString(16))),
  ];
  const signed = der(
    tags.sequence,
    version2,
    algorithm,
    subject,
    derTime(thisUpdate),
    derTime(nextUpdate),
    // section 5.1.2.6: absent where there are none
    ...(entries.length === 0 ? [] : [derHeader(tags.sequence, entries.length), entries]),
    der(contextTag(0), der(tags.sequence, ...extensions)),
  );
  const signature = await ca.signCrl(signed);
  return der(tags.sequence, signed, algorithm, der(tags.bitString, bitsUsed, signature));
}

/** Entries, one behind the other. */
export function encodeCrlEntries(entries: readonly CrlEntry[]): Uint8Array {
  const bytes = Buffer.allocUnsafe(entries.length * maxEntryBytes);
  let at = 0;
  let time = derTime(0);
  let timeOf = 0;
  for (const { serial, revokedAt, reason } of entries) {
    if (revokedAt !== timeOf) time = derTime((timeOf = revokedAt));
    const number = derInteger(serial);
    const length = number.length + time.length + (reason === undefined ? 0 : reasonCode.length + 1);
    bytes[at++] = tags.sequence;
    bytes[at++] = length;
    for (const part of reason === undefined ? [number, time] : [number, time, reasonCode]) {
      bytes.set(part, at);
      at += part.length;
    }
    if (reason !== undefined) bytes[at++] = crlReasons[reason];
  }
  return bytes.subarray(0, at);
}

function extension(name: Uint8Array, value: Uint8Array): Uint8Array {
  return der(tags.sequence, name, der(tags.octetString, value));
}
