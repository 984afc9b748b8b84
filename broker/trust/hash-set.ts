/**
 * A set of token hashes (RFC 9770, section 4: 33 bytes, the first of which says that they are SHA-256), for a million of them
 * in one process.
 *
 * Open addressing over raw bytes outside the heap, all 32 bytes of each digest, so that an answer is exact. It consists of a
 * segment for each value of the first byte, and each grows and shrinks alone: nobody waits for a million entries to move.
 * Digests are spread evenly by themselves; nobody can choose them, as a token holds what its issuer put there and signed.
 */
import { HASH_BYTES } from "../../shared/trl.ts";

/** The first byte of a hash: SHA-256 (RFC 6920, section 9.4). */
const SHA_256 = 1;
const SEGMENTS = 256;
/** 32-bit words of an entry: the digest with {@link SHA_256} in place of its first byte, so that no entry is all zero. */
const WORDS = 8;
const smallest = 8;
/** At most so full, and after growing or shrinking half full. */
const fullest = 0.75;
const emptiest = 0.125;

/** The digits of hex by their character code; 255 for what is none. */
const digits = new Uint8Array(128).fill(255);
for (let value = 0; value < 16; value++) {
  const digit = value.toString(16);
  digits[digit.charCodeAt(0)] = value;
  digits[digit.toUpperCase().charCodeAt(0)] = value;
}
/** The hash that is being looked up, and the same as an entry. */
const bytes = new Uint8Array(HASH_BYTES);
const sought = new Uint32Array(WORDS);

/** The set. */
export class HashSet {
  readonly #segments: Segment[];
  #size = 0;

  /** `expected`: how many there will be, so that none moves while they are added. */
  constructor(expected = 0) {
    const each = expected === 0 ? 0 : Math.ceil(expected / SEGMENTS / 0.7);
    this.#segments = Array.from({ length: SEGMENTS }, () => new Segment(each));
  }

  get size(): number {
    return this.#size;
  }
  /** Bytes that it takes outside the heap. */
  get bytes(): number {
    return this.#segments.reduce((sum, segment) => sum + segment.slots.byteLength, 0);
  }
  has(hash: Uint8Array): boolean {
    return this.hasAt(hash, 0, hash.length);
  }
  /** The same of a hash within a row of them. */
  hasAt(packed: Uint8Array, at: number, length = HASH_BYTES): boolean {
    const segment = this.#seek(packed, at, length);
    return segment !== undefined && segment.find() >= 0;
  }
  /** The same of a hash in hex. */
  hasHex(hash: string): boolean {
    return isHashRead(hash) && this.has(bytes);
  }
  /** True if it was not in it. Throws TypeError for what is no SHA-256 hash. */
  add(hash: Uint8Array): boolean {
    return this.addAt(hash, 0, hash.length);
  }
  /** The same of a hash within a row of them. */
  addAt(packed: Uint8Array, at: number, length = HASH_BYTES): boolean {
    const segment = this.#seek(packed, at, length);
    if (segment === undefined) throw new TypeError("not a SHA-256 token hash");
    const isAdded = segment.add();
    if (isAdded) this.#size++;
    return isAdded;
  }
  /** True if it was in it. */
  delete(hash: Uint8Array): boolean {
    const isDeleted = this.#seek(hash, 0, hash.length)?.delete() ?? false;
    if (isDeleted) this.#size--;
    return isDeleted;
  }

  /** Makes it what is sought; the segment that it belongs to, or undefined for what is no hash and so never is in it. */
  #seek(packed: Uint8Array, at: number, length: number): Segment | undefined {
    if (length !== HASH_BYTES || at + length > packed.length || packed[at] !== SHA_256) return undefined;
    let from = at + 1;
    for (let word = 0; word < WORDS; word++, from += 4) {
      sought[word] = packed[from]! | (packed[from + 1]! << 8) | (packed[from + 2]! << 16) | (packed[from + 3]! << 24);
    }
    sought[0] = (sought[0]! & ~0xff) | SHA_256;
    return this.#segments[packed[at + 1]!];
  }
}

/** Those that begin with one byte: linear probing, and what follows a gap is moved up when something goes. */
class Segment {
  slots: Uint32Array;
  #capacity: number;
  #count = 0;

  constructor(capacity: number) {
    this.#capacity = capacity;
    this.slots = new Uint32Array(capacity * WORDS);
  }

  /** Where the sought entry is, or -1 less the gap where it would be. */
  find(): number {
    if (this.#capacity === 0) return -1;
    const { slots } = this;
    const first = sought[0]!;
    for (let slot = this.#home(sought, 0); ; slot = this.#next(slot)) {
      const at = slot * WORDS;
      const found = slots[at]!;
      if (found === 0) return -1 - slot;
      if (found === first && this.#isSought(at)) return slot;
    }
  }

  add(): boolean {
    if (this.find() >= 0) return false;
    if (this.#count + 1 > this.#capacity * fullest) this.#resize();
    this.slots.set(sought, (-1 - this.find()) * WORDS);
    this.#count++;
    return true;
  }

  delete(): boolean {
    let gap = this.find();
    if (gap < 0) return false;
    const { slots } = this;
    for (let slot = this.#next(gap); slots[slot * WORDS] !== 0; slot = this.#next(slot)) {
      const home = this.#home(slots, slot * WORDS);
      // one whose way from home leads over the gap would not be found beyond it
      if (this.#distance(home, slot) < this.#distance(gap, slot)) continue;
      slots.copyWithin(gap * WORDS, slot * WORDS, (slot + 1) * WORDS);
      gap = slot;
    }
    slots.fill(0, gap * WORDS, (gap + 1) * WORDS);
    this.#count--;
    if (this.#count < this.#capacity * emptiest && this.#capacity > smallest) this.#resize();
    return true;
  }

  /** To half full. */
  #resize(): void {
    const old = this.slots;
    this.#capacity = Math.max(smallest, this.#count * 2);
    this.slots = new Uint32Array(this.#capacity * WORDS);
    for (let from = 0; from < old.length; from += WORDS) {
      if (old[from] === 0) continue;
      let slot = this.#home(old, from);
      while (this.slots[slot * WORDS] !== 0) slot = this.#next(slot);
      for (let word = 0; word < WORDS; word++) this.slots[slot * WORDS + word] = old[from + word]!;
    }
  }

  /** Where an entry is if nothing is in its way. */
  #home(words: Uint32Array, at: number): number {
    return Math.floor((words[at + 1]! * this.#capacity) / 2 ** 32);
  }
  #next(slot: number): number {
    return slot + 1 === this.#capacity ? 0 : slot + 1;
  }
  #distance(from: number, to: number): number {
    return from <= to ? to - from : to - from + this.#capacity;
  }
  #isSought(at: number): boolean {
    for (let word = 1; word < WORDS; word++) if (this.slots[at + word] !== sought[word]) return false;
    return true;
  }
}

/** Reads hex into {@link bytes}; false for what is not 33 bytes of it. */
function isHashRead(text: string): boolean {
  if (text.length !== 2 * HASH_BYTES) return false;
  let wrong = 0;
  for (let at = 0; at < HASH_BYTES; at++) {
    // a character beyond ASCII has no place in the table
    const high = digits[text.charCodeAt(2 * at)] ?? 255;
    const low = digits[text.charCodeAt(2 * at + 1)] ?? 255;
    wrong |= (high | low) & 0xf0;
    bytes[at] = (high << 4) | low;
  }
  return wrong === 0;
}
