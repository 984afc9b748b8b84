/**
 * CBOR as Postern speaks it: deterministic encoding (RFC 8949, section 4.2.1) out, and nothing but that in.
 *
 * A scanner walks the bytes before any decoder sees them: shortest heads, definite lengths, UTF-8, unique map keys in
 * bytewise order, an allow-list of tags, caps on size and depth. It refuses floats, undefined, other simple values and
 * bignums, which no message of ours holds. `decode(encode(x))` is x, and what is accepted re-encodes to the same bytes
 * (with `anyOrder`, to the same map in order).
 */
import { Decoder, Tag } from "cbor-x";
import { byteAt, readArgument, skip, type Input } from "./cbor-head.ts";
import { refuse } from "./refusal.ts";

/** What the codec carries. Byte strings are `Uint8Array`, maps `Map`; integers of 2³² and more come back as `bigint`. */
export type Cbor = number | bigint | string | boolean | null | Uint8Array | Cbor[] | CborMap | Tag;
/** A map in any order; it is written in that of its encoded keys. */
export type CborMap = Map<Cbor, Cbor>;
export { Tag };

/** What {@link decode} lets pass. */
export interface DecodeOptions {
  /** Accept maps in any key order: for requests of peers that do not sort. Default false. */
  readonly anyOrder?: boolean;
  /** Longest input in bytes. Default 16,384. */
  readonly maxBytes?: number;
  /** Deepest nesting of arrays, maps and tags. Default 8. */
  readonly maxDepth?: number;
  /** Items at most, those within others counted. Default 4,096. */
  readonly maxItems?: number;
}

/** Tags that may appear: COSE_Sign1 (RFC 9052) and CWT (RFC 8392). */
const allowedTags: ReadonlySet<number> = new Set([18, 61]);

const decoder = new Decoder({ mapsAsObjects: false, useRecords: false, tagUint8Array: false, variableMapSize: true });
const utf8 = new TextDecoder("utf-8", { fatal: true });

/** Encodes deterministically. A float or another value outside {@link Cbor} is the caller's mistake (TypeError). */
export function encode(value: Cbor): Uint8Array {
  written = 0;
  write(value);
  return Uint8Array.prototype.slice.call(scratch, 0, written);
}

/** Scans, then decodes one data item. Throws a `cbor.*` refusal that names the first rule broken. */
export function decode(bytes: Uint8Array, options: DecodeOptions = {}): Cbor {
  scan(bytes, options);
  return decoder.decode(bytes) as Cbor;
}

/** Checks that the bytes are exactly one data item of the accepted subset. */
export function scan(bytes: Uint8Array, options: DecodeOptions = {}): void {
  if (bytes.length > (options.maxBytes ?? 16_384)) refuse("cbor.too-large", `${bytes.length} bytes`);
  const { maxDepth = 8, maxItems = 4096, anyOrder = false } = options;
  const state: Scan = { bytes, at: 0, items: 0, maxDepth, maxItems, anyOrder };
  scanItem(state, 0);
  if (state.at !== bytes.length) refuse("cbor.trailing", `${bytes.length - state.at} bytes after the item`);
}

/** The map, or a refusal: most messages are one. */
export function asMap(value: Cbor | undefined): CborMap {
  return value instanceof Map ? value : refuse("cbor.type", "not a map");
}

interface Scan extends Input {
  readonly maxDepth: number;
  readonly maxItems: number;
  readonly anyOrder: boolean;
  items: number;
}

function scanItem(state: Scan, depth: number): void {
  if (depth > state.maxDepth) refuse("cbor.too-deep");
  if (++state.items > state.maxItems) refuse("cbor.too-large", "too many items");
  const initial = byteAt(state, state.at++);
  const major = initial >> 5;
  if (major === 7) return scanSimple(initial & 31);
  const argument = readArgument(state, initial & 31);
  if (major === 1 && argument >= 0x8000000000000000n) refuse("cbor.type", "an integer below -2⁶³");
  if (major <= 1) return;
  if (major === 6) {
    if (!allowedTags.has(Number(argument))) refuse("cbor.tag", `tag ${argument}`);
    return scanItem(state, depth + 1);
  }
  // each element takes a byte at least, so this also ends loops that the input could not fill
  if (argument > state.bytes.length) refuse("cbor.truncated");
  const length = Number(argument);
  if (major === 2) skip(state, length);
  else if (major === 3) scanText(state, length);
  else if (major === 4) for (let i = 0; i < length; i++) scanItem(state, depth + 1);
  else scanMap(state, length, depth);
}

function scanSimple(value: number): void {
  if (value === 31) refuse("cbor.indefinite");
  // false, true, null; no undefined, no other simple value, no float
  if (value < 20 || value > 22) refuse("cbor.type", `simple or float ${value}`);
}

function scanText(state: Scan, length: number): void {
  const start = state.at;
  skip(state, length);
  try {
    utf8.decode(state.bytes.subarray(start, state.at));
  } catch {
    refuse("cbor.utf8");
  }
}

function scanMap(state: Scan, length: number, depth: number): void {
  let previous: Uint8Array | undefined;
  const seen = state.anyOrder ? new Set<string>() : undefined;
  for (let i = 0; i < length; i++) {
    const start = state.at;
    scanItem(state, depth + 1);
    const key = state.bytes.subarray(start, state.at);
    if (seen !== undefined) {
      const text = Buffer.from(key).toString("latin1");
      if (seen.has(text)) refuse("cbor.duplicate-key");
      seen.add(text);
    } else if (previous !== undefined) {
      const order = Buffer.compare(previous, key);
      if (order === 0) refuse("cbor.duplicate-key");
      if (order > 0) refuse("cbor.not-deterministic", "map keys out of order");
    }
    previous = key;
    scanItem(state, depth + 1);
  }
}

/** Where {@link encode} writes; what it returns is a copy. */
let scratch = Buffer.allocUnsafe(4096);
let written = 0;

function write(value: Cbor): void {
  if (typeof value === "number" || typeof value === "bigint") writeInteger(value);
  else if (typeof value === "string") writeText(value);
  else if (value instanceof Uint8Array) writeBytes(value);
  else if (Array.isArray(value)) {
    writeHead(4, value.length);
    for (const item of value) write(item);
  } else if (value instanceof Map) writeMap(value);
  else if (value instanceof Tag) {
    writeHead(6, value.tag);
    write(value.value as Cbor);
  } else if (value === null || typeof value === "boolean") writeHead(7, value === null ? 22 : value ? 21 : 20);
  else throw new TypeError("the value has no CBOR form here");
}

function writeInteger(value: number | bigint): void {
  if (typeof value === "number" && (!Number.isSafeInteger(value) || Object.is(value, -0))) {
    throw new TypeError("only integers are encoded");
  }
  if (value >= 0) return writeHead(0, value);
  writeHead(1, typeof value === "number" ? -1 - value : -1n - value);
}

function writeText(text: string): void {
  const length = Buffer.byteLength(text);
  writeHead(3, length);
  reserve(length);
  written += scratch.write(text, written);
}

function writeBytes(bytes: Uint8Array): void {
  writeHead(2, bytes.length);
  reserve(bytes.length);
  scratch.set(bytes, written);
  written += bytes.length;
}

function writeMap(map: CborMap): void {
  writeHead(5, map.size);
  const entries = [...map];
  if (entries.every(([key]) => typeof key === "number")) {
    // shortest heads make integers sort by value, the negative ones (major type 1) after all others
    entries.sort(([a], [b]) => rank(a as number) - rank(b as number));
  } else {
    const keyed = entries.map((entry) => ({ entry, bytes: encodeAside(entry[0]) }));
    keyed.sort((a, b) => Buffer.compare(a.bytes, b.bytes));
    keyed.forEach(({ entry }, index) => (entries[index] = entry));
  }
  for (const [key, item] of entries) {
    write(key);
    write(item);
  }
}

function rank(key: number): number {
  return key >= 0 ? key : 2 ** 53 - key;
}

/** The bytes of a key, without leaving them in what is being written. */
function encodeAside(key: Cbor): Buffer {
  const start = written;
  write(key);
  const bytes = Buffer.from(scratch.subarray(start, written));
  written = start;
  return bytes;
}

/** A head in its shortest form (RFC 8949, section 3). */
function writeHead(major: number, argument: number | bigint): void {
  reserve(9);
  const type = major << 5;
  if (argument > 0xffffffff) {
    const wide = BigInt(argument);
    if (wide >= (major === 1 ? 2n ** 63n : 2n ** 64n)) throw new TypeError("integer out of range");
    scratch[written] = type | 27;
    scratch.writeBigUInt64BE(wide, written + 1);
    written += 9;
    return;
  }
  const value = Number(argument);
  if (value < 24) scratch[written++] = type | value;
  else if (value < 0x100) {
    scratch[written++] = type | 24;
    scratch[written++] = value;
  } else if (value < 0x1_0000) {
    scratch[written++] = type | 25;
    written = scratch.writeUInt16BE(value, written);
  } else {
    scratch[written++] = type | 26;
    written = scratch.writeUInt32BE(value, written);
  }
}

function reserve(bytes: number): void {
  if (written + bytes <= scratch.length) return;
  const larger = Buffer.allocUnsafe(2 * (written + bytes));
  scratch.copy(larger, 0, 0, written);
  scratch = larger;
}
