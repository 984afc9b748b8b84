/**
 * Heads of CBOR items (RFC 8949, section 3), read and written by hand: only the shortest form, only definite lengths.
 */
import { refuse } from "./refusal.ts";

/** Bytes, and where in them a reader stands. */
export interface Input {
  readonly bytes: Uint8Array;
  at: number;
}

/** The major types that are asked for by name. */
export const major = { uint: 0, negative: 1, bytes: 2, array: 4, map: 5 } as const;

/** The argument of a head of the given major type; a number beyond 2⁵³ is refused. Throws `cbor.*`. */
export function readHead(input: Input, expected: number): number {
  const initial = byteAt(input, input.at++);
  if (initial >> 5 !== expected) refuse("cbor.type", `major type ${initial >> 5} in place of ${expected}`);
  const argument = Number(readArgument(input, initial & 31));
  return Number.isSafeInteger(argument) ? argument : refuse("cbor.type", "a number beyond 2⁵³");
}

/** The argument behind an initial byte with this additional information; of 2³² and more a bigint. Throws `cbor.*`. */
export function readArgument(input: Input, info: number): number | bigint {
  if (info < 24) return info;
  if (info === 31) return refuse("cbor.indefinite");
  if (info > 27) return refuse("cbor.type", "reserved additional information");
  const size = 1 << (info - 24);
  const start = input.at;
  skip(input, size);
  if (size === 8) {
    const view = new DataView(input.bytes.buffer, input.bytes.byteOffset + start, 8);
    const value = view.getBigUint64(0);
    if (value <= 0xffffffffn) refuse("cbor.not-deterministic", "head is not the shortest");
    return value;
  }
  let value = 0;
  for (let i = 0; i < size; i++) value = value * 256 + byteAt(input, start + i);
  if (value < shortest[size as 1 | 2 | 4]) refuse("cbor.not-deterministic", "head is not the shortest");
  return value;
}

const shortest = { 1: 24, 2: 0x100, 4: 0x1_0000 } as const;

/** Goes on by so many bytes. Throws `cbor.truncated`. */
export function skip(input: Input, length: number): void {
  if (length > input.bytes.length - input.at) refuse("cbor.truncated");
  input.at += length;
}

/** Throws `cbor.truncated`. */
export function byteAt(input: Input, at: number): number {
  return input.bytes[at] ?? refuse("cbor.truncated");
}

/** How many bytes the head with this argument takes. */
export function headBytes(argument: number): number {
  if (argument < 24) return 1;
  if (argument < 0x100) return 2;
  if (argument < 0x1_0000) return 3;
  return argument <= 0xffffffff ? 5 : 9;
}

/** Writes a head in its shortest form; returns where it ends. */
export function writeHead(target: Uint8Array, at: number, type: number, argument: number): number {
  const size = headBytes(argument);
  const end = at + size;
  if (size === 1) {
    target[at] = (type << 5) | argument;
    return end;
  }
  target[at] = (type << 5) | (24 + Math.log2(size - 1));
  let rest = argument;
  for (let i = end - 1; i > at; i--) {
    target[i] = rest % 256;
    rest = Math.floor(rest / 256);
  }
  return end;
}
