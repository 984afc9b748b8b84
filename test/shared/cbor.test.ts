import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decode, encode, Tag, type Cbor } from "../../shared/cbor.ts";
import { Refusal } from "../../shared/refusal.ts";
import { hasVectors, readVectors } from "../peers.ts";
import { hex, reasonOf, unhex } from "./reading.ts";

describe("deterministic encoding (RFC 8949, section 4.2.1)", () => {
  test("sorts map keys bytewise on their encoding", () => {
    const map = new Map<Cbor, Cbor>([
      ["a", 1],
      [-1, 2],
      [100, 3],
      [10, 4],
      [Buffer.from("b"), 5],
      [-2, 6],
    ]);
    expect(hex(encode(map))).toBe("a6" + "0a04" + "186403" + "2002" + "2106" + "416205" + "616101");
  });

  test.each([
    [23, "17"],
    [24, "1818"],
    [256, "190100"],
    [65_536, "1a00010000"],
    [4_294_967_295, "1affffffff"],
    [4_294_967_296, "1b0000000100000000"],
    [-1, "20"],
    [-4_294_967_296, "3affffffff"],
    [-4_294_967_297, "3b0000000100000000"],
    [18_446_744_073_709_551_615n, "1bffffffffffffffff"],
  ] as const)("encodes %s with the shortest head", (value, expected) => {
    expect(hex(encode(value))).toBe(expected);
  });

  test.each([
    [1.5],
    [-0],
    [Number.NaN],
    [2 ** 60],
    [2n ** 64n],
    [-(2n ** 63n) - 1n],
    [undefined as unknown as Cbor],
    [{} as unknown as Cbor],
  ])("does not encode %s", (value) => {
    expect(() => encode(value)).toThrow(TypeError);
  });
});

describe("what the scanner refuses", () => {
  const deep = (levels: number): string => "81".repeat(levels) + "00";
  test.each([
    ["an empty input", "", "cbor.truncated"],
    ["a truncated head", "19", "cbor.truncated"],
    ["a truncated integer", "1901", "cbor.truncated"],
    ["a truncated byte string", "43aabb", "cbor.truncated"],
    ["a truncated text", "636161", "cbor.truncated"],
    ["a truncated array", "8201", "cbor.truncated"],
    ["a truncated map", "a101", "cbor.truncated"],
    ["a length beyond the input", "5affffffff00", "cbor.truncated"],
    ["a 64-bit length beyond the input", "5bffffffffffffffff", "cbor.truncated"],
    ["bytes after the item", "0000", "cbor.trailing"],
    ["one byte that fits the head", "1817", "cbor.not-deterministic"],
    ["two bytes where one is enough", "190018", "cbor.not-deterministic"],
    ["four bytes where two are enough", "1a0000ffff", "cbor.not-deterministic"],
    ["eight bytes where four are enough", "1b00000000ffffffff", "cbor.not-deterministic"],
    ["a long head on a byte string", "580100", "cbor.not-deterministic"],
    ["a long head on a tag", "d81281", "cbor.not-deterministic"],
    ["map keys out of order", "a202000100", "cbor.not-deterministic"],
    ["duplicate keys", "a201000100", "cbor.duplicate-key"],
    ["an indefinite byte string", "5f4100ff", "cbor.indefinite"],
    ["an indefinite array", "9f00ff", "cbor.indefinite"],
    ["an indefinite map", "bf0000ff", "cbor.indefinite"],
    ["a break alone", "ff", "cbor.indefinite"],
    ["reserved additional information", "1c", "cbor.type"],
    ["a half float", "f90000", "cbor.type"],
    ["a double", "fb3ff199999999999a", "cbor.type"],
    ["undefined", "f7", "cbor.type"],
    ["another simple value", "f0", "cbor.type"],
    ["a simple value in two bytes", "f820", "cbor.type"],
    ["a date tag", "c11a514b67b0", "cbor.tag"],
    ["a bignum tag", "c249010000000000000000", "cbor.tag"],
    ["a self-described tag", "d9d9f700", "cbor.tag"],
    ["a tag beyond 32 bits", "dbffffffffffffffff00", "cbor.tag"],
    ["broken UTF-8", "61ff", "cbor.utf8"],
    ["an overlong UTF-8 form", "62c080", "cbor.utf8"],
    ["nesting of nine", deep(9), "cbor.too-deep"],
    ["nesting of thousands", deep(9000), "cbor.too-deep"],
  ])("%s", (_name, input, reason) => {
    expect(reasonOf(() => decode(unhex(input)))).toBe(reason);
  });

  test("an input above the limit, whatever it holds", () => {
    expect(reasonOf(() => decode(new Uint8Array(16_385)))).toBe("cbor.too-large");
  });

  test("more items than any message has", () => {
    expect(reasonOf(() => decode(unhex("991389" + "00".repeat(5001))))).toBe("cbor.too-large");
  });

  test("duplicate keys also where any order is accepted", () => {
    expect(decode(unhex("a202000100"), { anyOrder: true })).toEqual(
      new Map([
        [2, 0],
        [1, 0],
      ]),
    );
    expect(reasonOf(() => decode(unhex("a3020001000200"), { anyOrder: true }))).toBe("cbor.duplicate-key");
  });

  test("a nesting of eight passes", () => {
    expect(() => decode(unhex(deep(8)))).not.toThrow();
  });
});

describe("properties", () => {
  const integer = fc.integer({ min: -4_294_967_296, max: 4_294_967_295 });
  const leaf = fc.oneof(integer, fc.string({ unit: "grapheme" }), fc.boolean(), fc.constant(null), fc.uint8Array());
  const value: fc.Arbitrary<Cbor> = fc.letrec<{ item: Cbor }>((tie) => ({
    item: fc.oneof(
      { depthSize: "small", maxDepth: 3 },
      leaf,
      fc.array(tie("item"), { maxLength: 5 }),
      fc
        .uniqueArray(fc.tuple(fc.oneof(integer, fc.string()), tie("item")), { selector: ([key]) => key, maxLength: 5 })
        .map((entries) => new Map<Cbor, Cbor>(entries)),
      tie("item").map((item) => new Tag(item, 18)),
    ),
  })).item;

  test("decode(encode(x)) encodes to the same bytes", () => {
    fc.assert(
      fc.property(value, (x) => {
        const bytes = encode(x);
        expect(hex(encode(decode(bytes)))).toBe(hex(bytes));
      }),
      { numRuns: 500 },
    );
  });

  test("what does not fit where it is written is written all the same", () => {
    for (const length of [4090, 4095, 4096, 70_000]) {
      const bytes = encode(["a".repeat(length), new Uint8Array(length), new Map([["b".repeat(length), length]])]);
      expect(decode(bytes, { maxBytes: 1_000_000 })).toEqual([
        "a".repeat(length),
        Buffer.alloc(length),
        new Map([["b".repeat(length), length]]),
      ]);
    }
  });

  test("nothing is accepted that would re-encode differently", () => {
    const mutated = fc.tuple(value, fc.nat(), fc.nat(255)).map(([x, at, byte]) => {
      const bytes = Uint8Array.from(encode(x));
      if (bytes.length > 0) bytes[at % bytes.length] = byte;
      return bytes;
    });
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 64 }), mutated), (bytes) => {
        let decoded: Cbor;
        try {
          decoded = decode(bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(Refusal);
          return;
        }
        expect(hex(encode(decoded))).toBe(hex(bytes));
      }),
      { numRuns: 5000 },
    );
  });
});

describe.skipIf(!hasVectors)("RFC 8949, appendix A", () => {
  const vectors = hasVectors
    ? readVectors<ReadonlyArray<{ hex: string; roundtrip: boolean; decoded?: unknown }>>(
        "published/rfc8949-appendix-a.json",
      )
    : [];
  // outside our subset: floats, undefined, other simple values, tags, indefinite lengths, integers below -2⁶³
  const outside = /^(f[0-37-9ab]|c|d[0-9a-f]|[579b]f|3bffff)|[0-9a-f]f[9ab][0-9a-f]{4}|^8.*[9b]f|^a.*[9b]f/;
  test.each(vectors.map((vector) => [vector.hex, vector] as const))("%s", (text, vector) => {
    if (!vector.roundtrip || outside.test(text)) {
      expect(reasonOf(() => decode(unhex(text)))).toMatch(/^cbor\./);
      return;
    }
    const value = decode(unhex(text));
    expect(hex(encode(value))).toBe(text);
    if (typeof vector.decoded === "string" || typeof vector.decoded === "boolean") expect(value).toBe(vector.decoded);
    if (typeof vector.decoded === "number") expect(Number(value)).toBe(vector.decoded);
  });
});
