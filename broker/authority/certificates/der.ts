/**
 * DER (X.690) as far as certificate revocation lists need it: elements written, and read strictly.
 *
 * The reader goes over the bytes once, by numbers, and makes no object for an element that is only stepped into: a list may
 * hold a million. Refuses lengths that are indefinite or not the shortest, and everything that stands beyond its container.
 */
import { refuse } from "../../../shared/refusal.ts";

/** The tags that are read and written here. */
export const tags = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  objectIdentifier: 0x06,
  enumerated: 0x0a,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
} as const;

/** The tag of `[number]` around other elements. */
export function contextTag(number: number): number {
  return 0xa0 | number;
}

/** A place in DER. Every method throws `registry.invalid`, whose detail starts with the name that the reader was given. */
export interface DerReader {
  /** Where it stands. */
  readonly at: number;
  /** The tag of the element ahead; undefined at the end of what was entered. */
  readonly next: number | undefined;
  /** Steps into an element; what it returns goes to {@link DerReader.leave}. */
  enter(tag: number): number;
  /** Steps out, at the end of the element and nowhere else. */
  leave(outer: number): void;
  /** The content of an element, and steps over it. */
  take(tag: number): Uint8Array;
  /** The whole of an element, and steps over it. */
  takeWhole(tag: number): Uint8Array;
  /** Throws with what is wrong. */
  fail(fault: string): never;
}

/** Starts to read; the bytes must not change while it reads. */
export function readDer(bytes: Uint8Array, name: string): DerReader {
  let at = 0;
  let end = bytes.length;

  const fail = (fault: string): never => refuse("registry.invalid", `${name}: ${fault}`);
  /** Steps over tag and length; gives where the element ends. */
  const open = (tag: number): number => {
    if (at >= end) fail("an element is missing");
    if (bytes[at] !== tag) fail(`tag ${bytes[at]!.toString(16)} where ${tag.toString(16)} must be`);
    let length = at + 1 < end ? bytes[at + 1]! : fail("truncated");
    at += 2;
    if (length >= 0x80) {
      const count = length & 0x7f;
      if (count === 0 || count > 4) fail("a length is indefinite or too long");
      if (at + count > end) fail("truncated");
      length = 0;
      for (let i = 0; i < count; i++) length = length * 256 + bytes[at++]!;
      if (length < 0x80 || length < 256 ** (count - 1)) fail("a length is not the shortest");
    }
    return at + length > end ? fail("truncated") : at + length;
  };
  const take = (tag: number, from?: number): Uint8Array => {
    const to = open(tag);
    const content = bytes.subarray(from ?? at, to);
    at = to;
    return content;
  };

  return {
    get at() {
      return at;
    },
    get next() {
      return at < end ? bytes[at] : undefined;
    },
    enter(tag) {
      const outer = end;
      end = open(tag);
      return outer;
    },
    leave(outer) {
      if (at !== end) fail("something stands where nothing may");
      end = outer;
    },
    take: (tag) => take(tag),
    takeWhole: (tag) => take(tag, at),
    fail,
  };
}

/** Tag, length and content. */
export function der(tag: number, ...contents: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const content of contents) length += content.length;
  return Buffer.concat([derHeader(tag, length), ...contents]);
}

/** What stands before the content of an element that is this long. */
export function derHeader(tag: number, length: number): Uint8Array {
  if (length < 0x80) return Uint8Array.of(tag, length);
  const digits: number[] = [];
  for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) digits.unshift(rest % 256);
  return Uint8Array.of(tag, 0x80 | digits.length, ...digits);
}

/** An INTEGER that is not negative, of hex in any length. */
export function derInteger(hex: string): Uint8Array {
  const digits = hex.replace(/^(?:00)+(?=..)/, "");
  const even = digits.length % 2 === 0 ? digits : `0${digits}`;
  const positive = parseInt(even.slice(0, 2), 16) >= 0x80 ? `00${even}` : even;
  return der(tags.integer, Buffer.from(positive, "hex"));
}

/** A time as RFC 5280, section 5.1.2.4, has it: UTCTime until 2049, GeneralizedTime from then on. */
export function derTime(seconds: number): Uint8Array {
  const digits = `${new Date(seconds * 1000).toISOString().replaceAll(/\D/g, "").slice(0, 14)}Z`;
  const year = Number(digits.slice(0, 4));
  const isShort = year >= 1950 && year < 2050;
  return der(isShort ? tags.utcTime : tags.generalizedTime, Buffer.from(isShort ? digits.slice(2) : digits, "latin1"));
}

/** Seconds of a time, in the one spelling that section 5.1.2.4 allows for it. */
export function readDerTime(reader: DerReader): number {
  const isShort = reader.next === tags.utcTime;
  const text = reader.take(isShort ? tags.utcTime : tags.generalizedTime);
  const size = isShort ? 13 : 15;
  if (text.length !== size || text[size - 1] !== 0x5a) reader.fail("a time is not to the second in UTC");
  const pair = (index: number): number => {
    const high = text[index]! - 0x30;
    const low = text[index + 1]! - 0x30;
    return high < 0 || high > 9 || low < 0 || low > 9 ? reader.fail("a time is not made of digits") : high * 10 + low;
  };
  const from = isShort ? 2 : 4;
  const short = pair(from - 2);
  const year = isShort ? (short >= 50 ? 1900 : 2000) + short : pair(0) * 100 + short;
  const [month, day, hour, minute, second] = [
    pair(from),
    pair(from + 2),
    pair(from + 4),
    pair(from + 6),
    pair(from + 8),
  ];
  if (!isShort && year < 2050) reader.fail("a time before 2050 is not a UTCTime");
  const days = Date.UTC(year, month - 1, day) / 86_400_000;
  const isDate = month >= 1 && month <= 12 && day >= 1 && new Date(days * 86_400_000).getUTCDate() === day;
  if (!isDate || hour > 23 || minute > 59 || second > 59) reader.fail("a time that there is not");
  return days * 86_400 + hour * 3600 + minute * 60 + second;
}
