/** The set of token hashes, against the set that everybody knows. */
import { randomBytes } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { HashSet } from "../../broker/trust/hash-set.ts";
import { HASH_BYTES } from "../../shared/trl.ts";

/** Hashes that mostly collide: few first bytes, few homes, and the rest differs in one byte at either end. */
const colliding = fc
  .tuple(
    fc.constantFrom(0, 7, 255),
    fc.constantFrom(0, 0xff),
    fc.integer({ min: 0, max: 3 }),
    fc.integer({ min: 0, max: 6 }),
  )
  .map(([first, home, second, last]) => {
    const hash = Buffer.alloc(HASH_BYTES);
    hash[0] = 1;
    hash[1] = first;
    hash[2] = second;
    hash.fill(home, 5, 9);
    hash[HASH_BYTES - 1] = last;
    return hash;
  });
const any = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((digest) => Buffer.from([1, ...digest]));
const work = fc.array(fc.tuple(fc.constantFrom("add", "delete", "has"), fc.oneof(colliding, any)), { maxLength: 400 });

describe("a set of hashes", () => {
  test("does what a Set of their texts does", () => {
    fc.assert(
      fc.property(work, fc.constantFrom(0, 1, 5000), (steps, expected) => {
        const ours = new HashSet(expected);
        const theirs = new Set<string>();
        for (const [step, hash] of steps) {
          const text = hash.toString("hex");
          const had = theirs.has(text);
          if (step === "add") {
            theirs.add(text);
            expect(ours.add(hash)).toBe(!had);
          } else if (step === "delete") expect(ours.delete(hash)).toBe(theirs.delete(text));
          expect([ours.has(hash), ours.hasHex(text), ours.size]).toEqual([
            theirs.has(text),
            theirs.has(text),
            theirs.size,
          ]);
        }
        for (const text of theirs) expect(ours.hasHex(text)).toBe(true);
      }),
      { numRuns: 300 },
    );
  });

  test("goes on through growing and shrinking, and gives the memory back", () => {
    const set = new HashSet();
    const hashes = Array.from({ length: 20_000 }, () => Buffer.concat([Buffer.of(1), randomBytes(32)]));
    for (const hash of hashes) set.add(hash);
    const most = set.bytes;
    expect([hashes.every((hash) => set.has(hash)), set.size]).toEqual([true, hashes.length]);
    for (const hash of hashes.slice(100)) set.delete(hash);
    expect(hashes.map((hash) => set.has(hash)).filter(Boolean)).toHaveLength(100);
    expect(set.bytes).toBeLessThan(most / 4);
  });

  test("takes no more than 70 MiB for a million, grown or made at once", () => {
    const packed = randomBytes(1_000_000 * HASH_BYTES);
    for (const expected of [0, 1_000_000]) {
      const set = new HashSet(expected);
      for (let at = 0; at < packed.length; at += HASH_BYTES) {
        packed[at] = 1;
        set.addAt(packed, at);
      }
      expect(set.size).toBe(1_000_000);
      expect(set.bytes).toBeLessThan(70 * 1024 * 1024);
    }
  });

  const hash = Buffer.concat([Buffer.of(1), randomBytes(32)]);
  it.each<[string, Uint8Array]>([
    ["a short one", hash.subarray(0, 32)],
    ["a long one", Buffer.concat([hash, Buffer.of(0)])],
    ["one that is not SHA-256", Buffer.concat([Buffer.of(2), hash.subarray(1)])],
    ["none", Buffer.alloc(0)],
  ])("does not take %s, nor find it", (_name, wrong) => {
    const set = new HashSet();
    set.add(hash);
    expect(() => set.add(wrong)).toThrow(TypeError);
    expect([set.has(wrong), set.delete(wrong), set.size]).toEqual([false, false, 1]);
  });

  it.each([
    ["upper case", hash.toString("hex").toUpperCase(), true],
    ["a digit that is none", `${hash.toString("hex").slice(0, -1)}g`, false],
    ["a character beyond ASCII", `${hash.toString("hex").slice(0, -1)}\u{0661}`, false],
    ["too little", hash.toString("hex").slice(2), false],
  ])("reads hex with %s", (_name, text, isFound) => {
    const set = new HashSet();
    set.add(hash);
    expect(set.hasHex(text)).toBe(isFound);
  });
});
