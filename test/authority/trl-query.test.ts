/** Queries of the list of revoked tokens, decided without a database and without HTTP. */
import { describe, expect, test } from "vitest";
import { queryTrl, TrlRefusal, type TrlParameters } from "../../broker/authority/trl/trl-query.ts";
import type { TrlConstants, UpdateCollection } from "../../broker/registry/trl-updates.ts";
import { HASH_BYTES, type TrlPatch } from "../../shared/trl.ts";
import { hasVectors } from "../peers.ts";
import { constantsOf, hashOf, play, scenarios } from "./trl-scenarios.ts";

/** What is held of updates, as an array. */
function collect(updates: readonly TrlPatch[], maxN: number): UpdateCollection | undefined {
  if (updates.length === 0) return undefined;
  const last = updates.length - 1;
  return { first: Math.max(0, last - maxN + 1), last, read: (from, to) => updates.slice(from, to + 1) };
}

describe.runIf(hasVectors)("the scenarios", () => {
  test("are six, with all that they compare", () => {
    expect(scenarios).toHaveLength(6);
  });

  test.each(scenarios.map((scenario) => [scenario.name, scenario] as const))("%s", async (_name, scenario) => {
    const updates: TrlPatch[] = [];
    const constants = constantsOf(scenario);
    const compared = await play(scenario, {
      update: (removed, added) => updates.push({ removed: Buffer.concat(removed), added: Buffer.concat(added) }),
      query: (parameters) => queryTrl(parameters, collect(updates, constants.maxN), constants),
      fullSet: () => Promise.resolve(replay(updates)),
    });
    expect(compared).toBe(scenario.steps.filter((step) => step.query !== undefined).length);
  });
});

describe("parameters", () => {
  const constants = { maxN: 10, maxDiffBatch: 5, maxIndex: 1000 };
  const held = collect([{ removed: new Uint8Array(), added: hashOf("t1") }], constants.maxN);

  test.each<[what: string, TrlParameters, error: string, cursor: number | null | undefined]>([
    ["diff below 0", { diff: "-1" }, "list.parameter", undefined],
    ["diff with a sign", { diff: "+1" }, "list.parameter", undefined],
    ["diff with a fraction", { diff: "1.0" }, "list.parameter", undefined],
    ["diff with an exponent", { diff: "1e1" }, "list.parameter", undefined],
    ["diff in hex", { diff: "0x1" }, "list.parameter", undefined],
    ["diff with a leading zero", { diff: "01" }, "list.parameter", undefined],
    ["diff in other digits", { diff: "١" }, "list.parameter", undefined],
    ["diff with white space", { diff: " 1" }, "list.parameter", undefined],
    ["diff without a value", { diff: "" }, "list.parameter", undefined],
    ["diff twice", { diff: ["0", "0"] }, "list.parameter", undefined],
    ["diff and cursor, both wrong", { diff: "x", cursor: "y" }, "list.parameter", undefined],
    ["cursor without diff", { cursor: "0" }, "list.parameters", undefined],
    ["a wrong cursor without diff", { cursor: "y" }, "list.parameters", undefined],
    ["cursor below 0", { diff: "0", cursor: "-53" }, "list.parameter", 0],
    ["cursor that is no number", { diff: "0", cursor: "y" }, "list.parameter", 0],
    ["cursor without a value", { diff: "0", cursor: "" }, "list.parameter", 0],
    ["cursor twice", { diff: "0", cursor: ["0", "0"] }, "list.parameter", 0],
    ["cursor beyond the highest index", { diff: "0", cursor: "1001" }, "list.parameter", 0],
    ["cursor of a hundred digits", { diff: "0", cursor: "9".repeat(100) }, "list.parameter", 0],
    ["cursor ahead of the list", { diff: "0", cursor: "1" }, "list.cursor", undefined],
    ["the highest index, ahead of the list", { diff: "0", cursor: "1000" }, "list.cursor", undefined],
  ])("are refused: %s", (_what, parameters, error, cursor) => {
    const thrown = catchRefusal(() => queryTrl(parameters, held, constants));
    expect([thrown.reason, thrown.error, thrown.cursor]).toEqual([error, error, cursor]);
  });

  test("say null for the newest index of a list that never changed", () => {
    expect(catchRefusal(() => queryTrl({ diff: "0", cursor: "y" }, undefined, constants)).cursor).toBeNull();
  });

  test("may ask for more updates than are ever kept", () => {
    expect(queryTrl({ diff: "9".repeat(100) }, held, constants)).toMatchObject({ diffSet: [{}], more: false });
  });
});

test("a follower that asks with diff=0 and its cursor misses nothing, wherever the index wraps", () => {
  const constants: TrlConstants = { maxN: 4, maxDiffBatch: 2, maxIndex: 4 };
  const updates: TrlPatch[] = [];
  let cursor: string | undefined;
  const seen: TrlPatch[] = [];
  for (let round = 0; round < 40; round++) {
    for (let i = 0; i <= round % 4; i++)
      updates.push({ removed: new Uint8Array(), added: hashOf(`${updates.length}`) });
    for (let more = true; more;) {
      const found = queryTrl({ diff: "0", cursor }, collect(updates, constants.maxN), constants);
      if (found.kind !== "diff" || found.cursor === null) throw new Error("updates were lost");
      seen.push(...found.diffSet.toReversed());
      ({ more } = found);
      cursor = String(found.cursor);
    }
    expect(seen).toEqual(updates);
  }
});

function catchRefusal(run: () => unknown): TrlRefusal {
  try {
    run();
  } catch (error) {
    if (error instanceof TrlRefusal) return error;
    throw error;
  }
  throw new Error("nothing was refused");
}

/** The list that the updates lead to. */
function replay(updates: readonly TrlPatch[]): Uint8Array {
  const listed = new Map<string, Uint8Array>();
  const each = (packed: Uint8Array, take: (hash: Uint8Array) => void): void => {
    for (let at = 0; at < packed.length; at += HASH_BYTES) take(packed.subarray(at, at + HASH_BYTES));
  };
  for (const { removed, added } of updates) {
    each(added, (hash) => listed.set(Buffer.from(hash).toString("hex"), hash));
    each(removed, (hash) => listed.delete(Buffer.from(hash).toString("hex")));
  }
  return Buffer.concat([...listed.values()]);
}
