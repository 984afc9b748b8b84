import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { encode } from "../../shared/cbor.ts";
import { readCoseKey, toCoseKey } from "../../shared/cose-key.ts";
import type { Reason } from "../../shared/refusal.ts";
import { mergeGrants, parsePermission } from "../../shared/scope.ts";
import {
  decodeTrl,
  decodeTrlProblem,
  encodeHashItems,
  encodeTrl,
  encodeTrlProblem,
  frameFullSet,
  HASH_BYTES,
  type TrlAnswer,
  type TrlProblem,
  type TrustEntry,
} from "../../shared/trl.ts";
import { hasVectors, readVectors } from "../peers.ts";
import { clientSigner } from "./keys.ts";
import { hex, reasonOf, unhex } from "./reading.ts";

const h1 = "01d2f7dea26ade6b4ffb1140fe4da7fcfe9d94468bc642e1816f001ff0183d5792";
const h2 = "0118881286119c0cb3467ed9a841326ddd71c134cce61ca33ed4f91e9b4170894e";
const item = `5821${h1}`;

const packed = (...hashes: readonly string[]): Uint8Array => new Uint8Array(unhex(hashes.join("")));
const patch = (removed: readonly string[], added: readonly string[]) => ({
  removed: packed(...removed),
  added: packed(...added),
});

describe.runIf(hasVectors)("the published and derived payloads", () => {
  const vectors = hasVectors ? readVectors<Record<string, string>>("derived/trl-payloads.json") : {};
  const answers: Record<string, TrlAnswer> = {
    full_empty: { fullSet: packed() },
    full_two: { fullSet: packed(h1, h2) },
    full_empty_with_cursor_null: { fullSet: packed(), cursor: null },
    full_one_cursor_0: { fullSet: packed(h1), cursor: 0 },
    diff_empty: { diffSet: [] },
    diff_three_entries: { diffSet: [patch([h1], []), patch([], [h2]), patch([], [h1])] },
    cursor_empty_collection: { diffSet: [], cursor: null, more: false },
    cursor_caseA_lost: { diffSet: [], cursor: null, more: true },
    cursor_more: { diffSet: [patch([], [h1])], cursor: 7, more: true },
    cursor_up_to_date_3: { diffSet: [], cursor: 3, more: false },
  };
  const problems: Record<string, TrlProblem> = {
    err_diff_invalid: { error: "list.parameter" },
    err_cursor_invalid_null: { error: "list.parameter", cursor: null },
    err_cursor_invalid_42: {
      error: "list.parameter",
      cursor: 42,
      title: "Invalid parameter value",
      detail: "Invalid value for 'cursor': -53",
    },
    err_cursor_without_diff: { error: "list.parameters" },
    err_out_of_bound: { error: "list.cursor" },
  };

  test.each(Object.entries(answers))("%s is written and read byte for byte", (name, answer) => {
    expect(hex(encodeTrl(answer))).toBe(vectors[name]);
    expect(decodeTrl(unhex(vectors[name]!))).toEqual(answer);
  });

  test.each(Object.entries(problems))("%s is written and read byte for byte", (name, problem) => {
    expect(hex(encodeTrlProblem(problem))).toBe(vectors[name]);
    expect(decodeTrlProblem(unhex(vectors[name]!))).toEqual(problem);
  });

  test("are all there", () => {
    const known = [...Object.keys(answers), ...Object.keys(problems), "full_two_len", "h1", "h2"];
    expect(Object.keys(vectors).toSorted()).toEqual(known.toSorted());
  });
});

const grants = mergeGrants(["pub:a/b", "sub:c/#"].map(parsePermission));
const key = readCoseKey(toCoseKey(clientSigner.publicKey));
const gone: readonly TrustEntry[] = [
  { kind: "key", kid: "ak", key: undefined },
  { kind: "api", audience: "p.a", api: undefined },
  { kind: "client", id: "p.c", client: undefined },
  { kind: "certificate", name: "aa:1", isRevoked: false },
  { kind: "authority", id: "aa", authority: undefined },
];
const present: readonly TrustEntry[] = [
  { kind: "key", kid: "ak", key },
  { kind: "api", audience: "p.a", api: { kind: "mqtt", bearer: true, topics: ["a/#", "b"], purge: "always" } },
  { kind: "api", audience: "p.h", api: { kind: "http", bearer: false, topics: [], purge: "never" } },
  {
    kind: "client",
    id: "p.c",
    client: { enabled: true, tokensAfter: 2 ** 40, grants: [{ audience: "p.a", grants }] },
  },
  { kind: "certificate", name: "aa:1", isRevoked: true },
  { kind: "project", slug: "p", tokensSince: 1_800_000_000 },
  { kind: "authority", id: "aa", authority: { der: packed(h1), needsList: true, listEndsAt: 5_000_000_000 } },
  { kind: "authority", id: "bb", authority: { der: packed(h2), needsList: false } },
];
const trustOf = (entries: readonly TrustEntry[]) => ({ isReset: true, cursor: "run.7", more: false, entries });

describe("an answer", () => {
  const hash = fc.uint8Array({ minLength: HASH_BYTES, maxLength: HASH_BYTES });
  const hashes = fc.array(hash, { maxLength: 30 }).map((all) => new Uint8Array(Buffer.concat(all)));
  const cursor = fc.option(fc.nat({ max: Number.MAX_SAFE_INTEGER }));
  const trust = fc.subarray([...present, ...gone]).map(trustOf);
  const full = fc.record({ fullSet: hashes, cursor, trust }, { requiredKeys: ["fullSet"] });
  const diffSet = fc.array(fc.record({ removed: hashes, added: hashes }), { maxLength: 30 });
  const diff = fc.oneof(
    fc.record({ diffSet, trust }, { requiredKeys: ["diffSet"] }),
    fc.record({ diffSet, cursor, more: fc.boolean(), trust }, { requiredKeys: ["diffSet", "cursor", "more"] }),
  );

  test("is read as it was written", () => {
    fc.assert(
      fc.property(fc.oneof(full, diff), (answer) => {
        expect(decodeTrl(encodeTrl(answer))).toEqual(answer);
      }),
    );
  });

  test("is not accepted where it would be written with other bytes", () => {
    const change = fc.tuple(fc.nat(), fc.integer({ min: 1, max: 255 }));
    fc.assert(
      fc.property(fc.oneof(full, diff), change, (answer, [at, by]) => {
        const bytes = encodeTrl(answer);
        bytes[at % bytes.length]! ^= by;
        let read: TrlAnswer | undefined;
        const reason = reasonOf(() => (read = decodeTrl(bytes)));
        // what is left out is not written again
        if (read?.trust?.unknown !== undefined) return;
        if (read !== undefined) expect(hex(encodeTrl(read))).toBe(hex(bytes));
        else expect(reason).toMatch(/^cbor\./);
      }),
      { numRuns: 1000 },
    );
  });

  test("is refused wherever it is cut off", () => {
    const bytes = encodeTrl({ diffSet: [patch([h1], [h2])], cursor: 700, more: true, trust: trustOf(present) });
    for (let length = 0; length < bytes.length; length++) {
      expect(reasonOf(() => decodeTrl(bytes.subarray(0, length)))).toBe("cbor.truncated");
    }
  });

  test("of a million hashes is written in pieces, and read", () => {
    const fullSet = new Uint8Array(1_000_000 * HASH_BYTES).fill(7);
    const { head, tail } = frameFullSet(1_000_000, { cursor: 5 });
    const pieces = [fullSet.subarray(0, 33 * 400_000), fullSet.subarray(33 * 400_000)].map(encodeHashItems);
    const bytes = Buffer.concat([head, ...pieces, tail]);
    expect(bytes.length).toBe(1 + 1 + 5 + 35_000_000 + 2);
    expect(Buffer.compare(bytes, encodeTrl({ fullSet, cursor: 5 }))).toBe(0);
    const read = decodeTrl(bytes);
    expect(read.cursor).toBe(5);
    expect(Buffer.compare(read.fullSet!, fullSet)).toBe(0);
  });

  test("is not written of hashes that are not whole, or without a set", () => {
    expect(() => encodeTrl({ fullSet: new Uint8Array(34) })).toThrow(TypeError);
    expect(() => encodeTrl({ diffSet: [{ removed: new Uint8Array(1), added: packed() }] })).toThrow(TypeError);
    expect(() => encodeTrl({ cursor: 1 })).toThrow(TypeError);
  });

  const trustKey = "3a00010000";
  const refused: readonly (readonly [what: string, bytes: string, reason: Reason])[] = [
    ["nothing", "", "cbor.truncated"],
    ["another item than a map", "80", "cbor.type"],
    ["a map of unsaid length", "bf0080ff", "cbor.indefinite"],
    ["a map without a set", "a0", "cbor.type"],
    ["a cursor without a set", "a10205", "cbor.type"],
    ["both sets", "a200800180", "cbor.type"],
    ["a full set with more", "a300800205" + "03f4", "cbor.type"],
    ["a diff set with a cursor alone", "a201800205", "cbor.type"],
    ["a diff set with more alone", "a2018003f4", "cbor.type"],
    ["a set that stands there twice", "a200800080", "cbor.duplicate-key"],
    ["keys out of order", "a202050080", "cbor.not-deterministic"],
    ["an unknown key", "a200800480", "cbor.type"],
    ["an unknown negative key", "a200802080", "cbor.type"],
    ["a text key", "a1613080", "cbor.type"],
    ["a key in a longer form", "a1180080", "cbor.not-deterministic"],
    ["bytes behind", "a1008000", "cbor.trailing"],
    ["a full set that is no array", "a10000", "cbor.type"],
    ["a full set of unsaid length", "a1009fff", "cbor.indefinite"],
    ["a full set whose length has a longer form", "a1009800", "cbor.not-deterministic"],
    ["more hashes than there are", `a10082${item}`, "cbor.truncated"],
    ["a hash that is cut off", `a10081${item.slice(0, -2)}`, "cbor.truncated"],
    ["a claim of 2³² hashes", "a1009b0000000100000000", "cbor.truncated"],
    ["a claim of 2⁶³ hashes", "a1009b8000000000000000", "cbor.type"],
    ["a hash that is text", `a10081${item.replace("58", "78")}`, "cbor.type"],
    ["a hash that is a number", "a1008101", "cbor.type"],
    ["a hash of 32 bytes", `a100815820${h1.slice(2)}`, "cbor.type"],
    ["a hash in pieces", `a100815f${item}ff`, "cbor.indefinite"],
    ["a hash with a longer head", `a10081590021${h1}`, "cbor.not-deterministic"],
    ["an update that is no pair", "a1018180", "cbor.type"],
    ["an update of three", "a1018183808080", "cbor.type"],
    ["an update that is a hash", `a10181${item}`, "cbor.type"],
    ["too many updates", "a1019a00010001", "cbor.too-large"],
    ["a cursor below 0", "a2008002" + "20", "cbor.type"],
    ["a cursor that is text", "a200800261" + "30", "cbor.type"],
    ["a cursor in a longer form", "a20080021805", "cbor.not-deterministic"],
    ["a cursor that is missing", "a2008002", "cbor.truncated"],
    ["more that is null", "a30180020503f6", "cbor.type"],
    ["more that is a number", "a3018002050301", "cbor.type"],
    ["trust that is no array", `a20080${trustKey}a0`, "cbor.type"],
    ["trust of three", `a20080${trustKey}83f4616180`, "cbor.type"],
    ["trust without a cursor", `a20080${trustKey}84f460f480`, "cbor.type"],
    ["trust in disorder", `a20080${trustKey}846161f4f480`, "cbor.type"],
    ["bytes behind trust", `a20080${trustKey}84f46161f48000`, "cbor.trailing"],
  ];
  test.each(refused)("is refused: %s", (_what, bytes, reason) => {
    expect(reasonOf(() => decodeTrl(unhex(bytes)))).toBe(reason);
  });

  test("is refused beyond the size that the reader takes", () => {
    const bytes = encodeTrl({ fullSet: packed(h1, h2) });
    expect(reasonOf(() => decodeTrl(bytes, { maxBytes: bytes.length - 1 }))).toBe("cbor.too-large");
    expect(reasonOf(() => decodeTrl(bytes, { maxBytes: bytes.length }))).toBeUndefined();
  });
});

describe("what a broker is told", () => {
  test("is one array for each entry", () => {
    const { bytes } = trustBytes(present[1]!);
    expect(hex(bytes)).toBe("8301" + "63702e61" + "8400f58263612f23616201");
    expect(hex(trustBytes(gone[3]!).bytes)).toBe("8303" + "6461613a31" + "f6");
  });

  test("holds the grants of a client with more of them than a token has room for", () => {
    const many = Array.from({ length: 4096 }, (_, index) => parsePermission(`pub:${"x".repeat(100)}/${index}`));
    const client = { enabled: true, tokensAfter: 0, grants: [{ audience: "p.a", grants: many }] };
    const answer: TrlAnswer = { diffSet: [], trust: trustOf([{ kind: "client", id: "p.c", client }]) };
    expect(decodeTrl(encodeTrl(answer))).toEqual(answer);
  });

  const coseKey = toCoseKey(key);
  test("leaves out an entry of a later kind, and counts it", () => {
    const later = [6, "x", [2 ** 33, null]];
    const trust = encode([true, "run.7", false, [later, [3, "aa:1", true], later]]);
    const bytes = Buffer.concat([unhex("a20080" + "3a00010000"), trust]);
    expect(decodeTrl(bytes).trust).toEqual({ ...trustOf([present[4]!]), unknown: 2 });
  });

  test.each<[what: string, entry: Parameters<typeof encode>[0], reason: Reason]>([
    ["an entry that is no array", 1, "cbor.type"],
    ["an entry of two", [0, "ak"], "cbor.type"],
    ["a kind that is no number", ["6", "x", null], "cbor.type"],
    ["a name that is no text", [0, 1, null], "cbor.type"],
    ["a name that is too long", [0, "k".repeat(513), null], "cbor.type"],
    ["a key that is bytes", [0, "ak", packed(h1)], "cbor.type"],
    ["a key on no curve", [0, "ak", new Map(coseKey).set(-2, new Uint8Array(32).fill(255))], "cbor.type"],
    ["a key with another name in it", [0, "ak", toCoseKey(key, { kid: packed() })], "cbor.not-deterministic"],
    ["a key with both coordinates", [0, "ak", toCoseKey(key, { uncompressed: true })], "cbor.not-deterministic"],
    ["an unknown kind of api", [1, "a", [2, false, [], 0]], "cbor.type"],
    ["an unknown purge", [1, "a", [0, false, [], 3]], "cbor.type"],
    ["a topic that is no text", [1, "a", [0, false, [1], 0]], "cbor.type"],
    ["an api of three", [1, "a", [0, false, []]], "cbor.type"],
    ["a client that is neither enabled nor disabled", [2, "p.c", [1, 0, []]], "cbor.type"],
    ["a client with a negative number", [2, "p.c", [true, -1, []]], "cbor.type"],
    ["a client with a scope that is none", [2, "p.c", [true, 0, [["a", encode(["x"])]]]], "cbor.type"],
    [
      "a client with a scope in another form",
      [2, "p.c", [true, 0, [["a", encode([["x", ["sub", "pub"]]])]]]],
      "cbor.not-deterministic",
    ],
    ["a certificate that is not revoked", [3, "aa:1", false], "cbor.type"],
    ["a project without a time", [4, "p", null], "cbor.type"],
    ["an authority without a certificate", [5, "aa", [null, false, null]], "cbor.type"],
  ])("is refused: %s", (_what, entry, reason) => {
    const trust = encode([true, "run.7", false, [entry]]);
    const bytes = Buffer.concat([unhex("a20080" + "3a00010000"), trust]);
    expect(reasonOf(() => decodeTrl(bytes))).toBe(reason);
  });

  function trustBytes(entry: TrustEntry): { readonly bytes: Uint8Array } {
    const bytes = encodeTrl({ diffSet: [], trust: trustOf([entry]) });
    const start = encodeTrl({ diffSet: [], trust: trustOf([]) }).length;
    return { bytes: bytes.subarray(start) };
  }
});

describe("an error", () => {
  test("is read whatever else stands in it (RFC 9290, section 2)", () => {
    expect(decodeTrlProblem(unhex("a2" + "63666f6f" + "01" + "01" + "a10002"))).toEqual({ error: "list.cursor" });
    expect(decodeTrlProblem(unhex("a101a10009"))).toEqual({});
    expect(decodeTrlProblem(encodeTrlProblem({ title: "no", detail: "id x" }))).toEqual({
      title: "no",
      detail: "id x",
    });
  });

  test.each<[string, Reason]>([
    ["", "cbor.truncated"],
    ["80", "cbor.type"],
    ["a10101", "cbor.type"],
    ["a101a1000000", "cbor.trailing"],
    ["a201a1000001a10000", "cbor.duplicate-key"],
  ])("is refused: %s", (bytes, reason) => {
    expect(reasonOf(() => decodeTrlProblem(unhex(bytes)))).toBe(reason);
  });
});
