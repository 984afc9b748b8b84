/**
 * The extensions of a list of revoked certificates and of its entries (RFC 5280, sections 5.2 and 5.3).
 *
 * Refuses those that make a list into something else than all revoked certificates of its own authority, those that stand
 * there twice, and critical ones that are not known.
 */
import { tags, type DerReader } from "./der.ts";

type Place = "list" | "entry";
/** Reads the value of an extension; gives a number where it is the list's. */
type ReadValue = (reader: DerReader) => bigint | undefined | void;

const maxNumberBytes = 20;
const reasons: ReadonlySet<number> = new Set([0, 1, 2, 3, 4, 5, 6, 9, 10]);
const removeFromCRL = 8;

/** By the hex of the object identifier. What is known by name alone says nothing that matters here. */
const known: Readonly<Record<Place, Readonly<Record<string, ReadValue | undefined>>>> = {
  list: {
    // authorityKeyIdentifier: the signature says which key it was
    "551d23": skip,
    // cRLNumber
    "551d14": readNumber,
    // deltaCRLIndicator
    "551d1b": (reader) => reader.fail("it is a part of a list (delta)"),
    // issuingDistributionPoint
    "551d1c": readDistributionPoint,
  },
  entry: {
    // reasonCode
    "551d15": readReason,
    // invalidityDate
    "551d18": skip,
    // certificateIssuer
    "551d1d": (reader) => reader.fail("it speaks for other authorities (indirect)"),
  },
};

/** Reads `Extensions`. Gives the cRLNumber of a list that has one. */
export function readCrlExtensions(reader: DerReader, place: Place): bigint | undefined {
  const seen: string[] = [];
  let number: bigint | undefined;
  const outer = reader.enter(tags.sequence);
  if (reader.next === undefined) reader.fail("extensions that are none");
  while (reader.next !== undefined) {
    const end = reader.enter(tags.sequence);
    const name = toHex(reader.take(tags.objectIdentifier));
    if (seen.includes(name)) reader.fail("an extension stands there twice");
    seen.push(name);
    const isCritical = reader.next === tags.boolean && readTrue(reader);
    const read = known[place][name];
    if (read === undefined && isCritical) reader.fail(`a critical extension that is not known, ${name}`);
    if (read === undefined) reader.take(tags.octetString);
    else {
      const value = reader.enter(tags.octetString);
      number = read(reader) ?? number;
      reader.leave(value);
    }
    reader.leave(end);
  }
  reader.leave(outer);
  return number;
}

/** A BOOLEAN that is there is TRUE: FALSE is the default, which DER leaves out. */
function readTrue(reader: DerReader, tag: number = tags.boolean): true {
  const value = reader.take(tag);
  return value.length === 1 && value[0] === 0xff ? true : reader.fail("a boolean that is neither true nor left out");
}

function skip(reader: DerReader): void {
  reader.take(reader.next ?? tags.sequence);
}

function readNumber(reader: DerReader): bigint {
  const value = reader.take(tags.integer);
  const [first, second] = value;
  if (first === undefined || value.length > maxNumberBytes) reader.fail("its number has no or too many octets");
  if (first >= 0x80) reader.fail("its number is negative");
  if (first === 0 && second !== undefined && second < 0x80) reader.fail("an integer that is not the shortest");
  return BigInt(`0x${toHex(value)}`);
}

function readReason(reader: DerReader): void {
  const value = reader.take(tags.enumerated);
  const reason = value.length === 1 ? value[0]! : -1;
  if (reason === removeFromCRL) reader.fail("an entry that takes another one back");
  if (!reasons.has(reason)) reader.fail("a reason that there is not");
}

/** Section 5.2.5: of its fields only onlyContainsUserCerts, [1], leaves a list that is all we need. */
function readDistributionPoint(reader: DerReader): void {
  const outer = reader.enter(tags.sequence);
  if (reader.next === 0x81) readTrue(reader, 0x81);
  if (reader.next !== undefined) reader.fail("it is for a part of the certificates (issuing distribution point)");
  reader.leave(outer);
}

function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("hex");
}
