/**
 * Token hashes in bulk (RFC 9770, section 4): packed one behind the other, as we hold them, and as a CBOR array of byte
 * strings, as they travel. A list may have a million of them, so each goes from one form to the other without becoming a
 * value of its own.
 */
import { headBytes, major, readHead, writeHead, type Input } from "./cbor-head.ts";
import { refuse } from "./refusal.ts";

/** Length of a token hash: one byte that names SHA-256 (RFC 6920), and the digest. */
export const HASH_BYTES = 33;

/** The head of a byte string of that length. */
const head = [0x58, HASH_BYTES] as const;
const itemBytes = head.length + HASH_BYTES;

/** How many hashes are packed here. Throws TypeError for bytes that are not whole hashes. */
export function countHashes(packed: Uint8Array): number {
  const count = packed.length / HASH_BYTES;
  if (!Number.isInteger(count)) throw new TypeError(`${packed.length} bytes are not whole hashes`);
  return count;
}

/** How many bytes so many hashes take as items of an array, without its head. */
export function itemsBytes(count: number): number {
  return count * itemBytes;
}

/** How many bytes the array takes. */
export function hashArrayBytes(packed: Uint8Array): number {
  const count = countHashes(packed);
  return headBytes(count) + itemsBytes(count);
}

/** Writes the array; returns where it ends. */
export function writeHashArray(target: Uint8Array, at: number, packed: Uint8Array): number {
  return writeHashItems(target, writeHead(target, at, major.array, countHashes(packed)), packed);
}

/** Writes the items of an array, without its head; returns where they end. */
export function writeHashItems(target: Uint8Array, at: number, packed: Uint8Array): number {
  let to = at;
  for (let from = 0; from < packed.length;) {
    target[to++] = head[0];
    target[to++] = head[1];
    for (const end = from + HASH_BYTES; from < end;) target[to++] = packed[from++]!;
  }
  return to;
}

/** Reads an array of hashes. Throws `cbor.*` for anything else. */
export function readHashArray(input: Input): Uint8Array {
  const count = readHead(input, major.array);
  const { bytes } = input;
  // of an array that claims more than is there the rest is found missing below
  const packed = new Uint8Array(Math.min(count, Math.ceil((bytes.length - input.at) / itemBytes)) * HASH_BYTES);
  let at = input.at;
  let to = 0;
  for (let i = 0; i < count; i++) {
    if (bytes[at] !== head[0] || bytes[at + 1] !== head[1]) refuseItem({ bytes, at });
    if (at + itemBytes > bytes.length) refuse("cbor.truncated");
    at += head.length;
    for (const end = at + HASH_BYTES; at < end;) packed[to++] = bytes[at++]!;
  }
  input.at = at;
  return packed;
}

/** Finds the first rule that an item breaks. */
function refuseItem(input: Input): never {
  const length = readHead(input, major.bytes);
  return refuse("cbor.type", `a hash of ${length} bytes`);
}
