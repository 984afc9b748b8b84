/**
 * Reads the list of revoked certificates of an authority elsewhere (RFC 5280, sections 5 and 6.3): signed by that authority,
 * complete, direct, and for all reasons.
 *
 * The signature is verified before anything that it covers is believed. Refuses what is not DER to the letter, what is only
 * a part (delta lists, lists for some reasons or for one distribution point), what speaks for other authorities (indirect
 * lists), critical extensions that are not known here, and lists without a time for the next. That a list is older than
 * another, or too old, is not seen here.
 */
import { verify, type X509Certificate } from "node:crypto";
import { refuse } from "../../../shared/refusal.ts";
import type { RevocationList } from "../../registry/revocation-lists.ts";
import { readAuthorityName } from "./authority-name.ts";
import { findAlgorithm } from "./crl-algorithms.ts";
import { readCrlExtensions } from "./crl-extensions.ts";
import { contextTag, readDer, readDerTime, tags, type DerReader } from "./der.ts";

/** Size of a list in DER. */
export const maxCrlBytes = 64 * 1024 * 1024;
const maxEntries = 1_000_000;
/** The clock of an authority may be ahead of ours by so much. */
const maxAheadSeconds = 300;
/** What a serial number may take (section 4.1.2.2), with one more octet, which some add. */
const maxSerialBytes = 21;
const pemStart = "-----BEGIN X509 CRL-----";
const pemEnd = "-----END X509 CRL-----";

/** Reads PEM, or base64 of DER, as text; else as {@link readCrl}. */
export function readCrlText(text: string, authority: X509Certificate, nowSeconds: number): RevocationList {
  const whole = text.trim();
  const isPem = whole.startsWith(pemStart) && whole.endsWith(pemEnd);
  const digits = (isPem ? whole.slice(pemStart.length, -pemEnd.length) : whole).replaceAll(/\s+/g, "");
  const bytes = Buffer.from(digits, "base64");
  // node passes over what is not base64
  if (bytes.toString("base64") !== digits) refuse("registry.invalid", "crl: neither PEM nor base64");
  return readCrl(bytes, authority, nowSeconds);
}

/** Reads DER. Throws `registry.invalid`, which names the fault. */
export function readCrl(bytes: Uint8Array, authority: X509Certificate, nowSeconds: number): RevocationList {
  if (bytes.length > maxCrlBytes) refuse("registry.invalid", `crl: longer than ${maxCrlBytes} bytes`);
  const reader = readDer(bytes, "crl");
  const outermost = reader.enter(tags.sequence);
  const signed = reader.takeWhole(tags.sequence);
  const algorithm = reader.takeWhole(tags.sequence);
  const signature = reader.take(tags.bitString);
  reader.leave(outermost);
  if (reader.next !== undefined) reader.fail("something follows the list");
  verifySignature(authority, { signed, algorithm, signature }, reader);
  return readSigned(signed, algorithm, authority, nowSeconds);
}

interface Signature {
  readonly signed: Uint8Array;
  readonly algorithm: Uint8Array;
  /** With the octet that says how many bits are not used. */
  readonly signature: Uint8Array;
}

function verifySignature(authority: X509Certificate, { signed, algorithm, signature }: Signature, at: DerReader): void {
  const { keyType, hash } =
    findAlgorithm(algorithm) ?? at.fail("its signature algorithm is not one that is verified here");
  const key = authority.publicKey;
  if (key.asymmetricKeyType !== keyType) at.fail("its signature algorithm is not one of the authority's key");
  if (signature[0] !== 0) at.fail("its signature is not made of octets");
  if (!verify(hash, signed, key, signature.subarray(1))) at.fail("its signature is not the authority's");
}

function readSigned(
  signed: Uint8Array,
  algorithm: Uint8Array,
  authority: X509Certificate,
  nowSeconds: number,
): RevocationList {
  const { subject, maySignLists } = readAuthorityName(authority.raw);
  const reader = readDer(signed, "crl");
  const outermost = reader.enter(tags.sequence);
  const isVersion2 = reader.next === tags.integer;
  if (isVersion2 && !isSame(reader.take(tags.integer), [1])) reader.fail("its version is neither 1 nor 2");
  if (!isSame(reader.takeWhole(tags.sequence), algorithm)) reader.fail("it names two signature algorithms");
  if (!isSame(reader.takeWhole(tags.sequence), subject)) reader.fail("its issuer is not the authority");
  if (!maySignLists) reader.fail("the authority's certificate does not let its key sign lists");

  const thisUpdate = readDerTime(reader);
  if (thisUpdate > nowSeconds + maxAheadSeconds) reader.fail("it is of the future");
  const hasNext = reader.next === tags.utcTime || reader.next === tags.generalizedTime;
  if (!hasNext) reader.fail("it does not say when the next one comes");
  const nextUpdate = readDerTime(reader);
  if (nextUpdate <= thisUpdate) reader.fail("the next one comes before it");

  const serials = new Set<string>();
  if (reader.next === tags.sequence) readEntries(reader, serials, isVersion2);
  let number: bigint | undefined;
  if (reader.next === contextTag(0)) {
    if (!isVersion2) reader.fail("extensions in version 1");
    const outer = reader.enter(contextTag(0));
    number = readCrlExtensions(reader, "list");
    reader.leave(outer);
  }
  reader.leave(outermost);
  return { number, thisUpdate, nextUpdate, serials };
}

function readEntries(reader: DerReader, serials: Set<string>, isVersion2: boolean): void {
  const outer = reader.enter(tags.sequence);
  if (reader.next === undefined) reader.fail("a list of no entries is left out");
  let entries = 0;
  while (reader.next !== undefined) {
    if (++entries > maxEntries) reader.fail(`more than ${maxEntries} entries`);
    const end = reader.enter(tags.sequence);
    serials.add(readSerial(reader));
    readDerTime(reader);
    if (reader.next !== undefined) {
      if (!isVersion2) reader.fail("extensions in version 1");
      readCrlExtensions(reader, "entry");
    }
    reader.leave(end);
  }
  reader.leave(outer);
}

/** Lower-case hex without leading zeros. */
function readSerial(reader: DerReader): string {
  const number = reader.take(tags.integer);
  const first = number[0];
  if (first === undefined || number.length > maxSerialBytes) reader.fail("a serial number of no or of too many octets");
  if (first >= 0x80) reader.fail("a negative serial number");
  if (first === 0 && number.length > 1 && number[1]! < 0x80) reader.fail("an integer that is not the shortest");
  // a view of the same memory, for its hexSlice
  const hex = Buffer.from(number.buffer, number.byteOffset, number.length).toString("hex");
  let zeros = 0;
  while (zeros < hex.length - 1 && hex.charCodeAt(zeros) === 0x30) zeros++;
  return zeros === 0 ? hex : hex.slice(zeros);
}

function isSame(bytes: Uint8Array, expected: ArrayLike<number>): boolean {
  if (bytes.length !== expected.length) return false;
  for (let at = 0; at < bytes.length; at++) if (bytes[at] !== expected[at]) return false;
  return true;
}
