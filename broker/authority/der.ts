/**
 * DER, as little of it as certificates need (X.690; RFC 5280, section 4.1): writing, and reading one element at a time.
 *
 * Written here because a certificate has to be made inside the transaction that redeems a ticket, and a transaction
 * cannot wait for a promise. Reading refuses indefinite, non-minimal and over-long lengths.
 */
import { refuse } from "../../shared/refusal.ts";

export const tag = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  utf8: 0x0c,
  printable: 0x13,
  sequence: 0x30,
  set: 0x31,
} as const;

/** One element: its tag, its content, and all of its bytes. */
export interface DerElement {
  readonly tag: number;
  readonly content: Uint8Array;
  readonly bytes: Uint8Array;
}

/** Writes tag, length and content. */
export function der(tagByte: number, ...contents: readonly Uint8Array[]): Uint8Array {
  const length = contents.reduce((sum, content) => sum + content.length, 0);
  return Buffer.concat([Uint8Array.of(tagByte, ...lengthBytes(length)), ...contents]);
}

export function sequence(...contents: readonly Uint8Array[]): Uint8Array {
  return der(tag.sequence, ...contents);
}

export function set(...contents: readonly Uint8Array[]): Uint8Array {
  return der(tag.set, ...contents);
}

/** A context-specific element: `[number]` EXPLICIT, or IMPLICIT over something constructed. */
export function tagged(number: number, ...contents: readonly Uint8Array[]): Uint8Array {
  return der(0xa0 | number, ...contents);
}

/** A context-specific primitive element: `[number]` IMPLICIT. */
export function taggedPrimitive(number: number, content: Uint8Array): Uint8Array {
  return der(0x80 | number, content);
}

/** A non-negative integer from its big-endian bytes. */
export function integer(magnitude: Uint8Array): Uint8Array {
  let start = 0;
  while (start < magnitude.length - 1 && magnitude[start] === 0) start++;
  const digits = magnitude.subarray(start);
  return der(tag.integer, ...((digits[0] ?? 0) > 0x7f ? [Uint8Array.of(0)] : []), digits);
}

/** An object identifier from its dotted form. */
export function oid(dotted: string): Uint8Array {
  const [first = 0, second = 0, ...rest] = dotted.split(".").map(Number);
  return der(tag.oid, Uint8Array.from([first * 40 + second, ...rest].flatMap(base128)));
}

export function bitString(content: Uint8Array, unusedBits = 0): Uint8Array {
  return der(tag.bitString, Uint8Array.of(unusedBits), content);
}

export function octetString(content: Uint8Array): Uint8Array {
  return der(tag.octetString, content);
}

export function utf8String(text: string): Uint8Array {
  return der(tag.utf8, Buffer.from(text));
}

export const derTrue: Uint8Array = der(tag.boolean, Uint8Array.of(0xff));

/** UTCTime until 2049, GeneralizedTime from 2050 (RFC 5280, section 4.1.2.5). */
export function time(seconds: number): Uint8Array {
  const text = new Date(seconds * 1000).toISOString().replaceAll(/[-:T]|\.\d+/g, "");
  const year = Number(text.slice(0, 4));
  return year < 2050 ? der(0x17, Buffer.from(text.slice(2))) : der(0x18, Buffer.from(text));
}

/** Reads elements one after another and refuses what is not theirs. */
export class DerReader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** The next element, which must have this tag. Throws `csr.malformed`. */
  next(expected: number): DerElement {
    const start = this.#at;
    const tagByte = this.#byte();
    if (tagByte !== expected) refuse("csr.malformed", `tag ${String(tagByte)} where ${String(expected)} belongs`);
    const length = this.#length();
    const from = this.#at;
    if (from + length > this.#bytes.length) refuse("csr.malformed", "truncated");
    this.#at = from + length;
    return {
      tag: tagByte,
      content: this.#bytes.subarray(from, this.#at),
      bytes: this.#bytes.subarray(start, this.#at),
    };
  }

  /** Throws `csr.malformed` when something is left. */
  end(): void {
    if (this.#at !== this.#bytes.length) refuse("csr.malformed", "trailing bytes");
  }

  #byte(): number {
    return this.#bytes[this.#at++] ?? refuse("csr.malformed", "truncated");
  }

  #length(): number {
    const first = this.#byte();
    if (first < 0x80) return first;
    const count = first & 0x7f;
    if (count === 0 || count > 2) refuse("csr.malformed", "a length that DER does not allow here");
    let length = 0;
    for (let i = 0; i < count; i++) length = length * 256 + this.#byte();
    if (length < 0x80 || (count === 2 && length < 0x100)) refuse("csr.malformed", "a length that is not minimal");
    return length;
  }
}

function lengthBytes(length: number): number[] {
  if (length < 0x80) return [length];
  if (length < 0x100) return [0x81, length];
  if (length < 0x10000) return [0x82, length >> 8, length & 0xff];
  return [0x83, length >> 16, (length >> 8) & 0xff, length & 0xff];
}

function base128(value: number): number[] {
  const digits = [value % 128];
  for (let rest = Math.floor(value / 128); rest > 0; rest = Math.floor(rest / 128)) digits.unshift((rest % 128) | 0x80);
  return digits;
}
