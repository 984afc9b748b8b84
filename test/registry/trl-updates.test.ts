/** The updates of the list of revoked tokens in the tables: whose they are, how many are kept, and the list itself. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { queryTrl } from "../../broker/authority/trl/trl-query.ts";
import { createApi } from "../../broker/registry/apis.ts";
import { keptSeconds, listTokens, pruneRevoked, type RevokedToken } from "../../broker/registry/revoked-tokens.ts";
import { readListedHashes } from "../../broker/registry/trl-hashes.ts";
import {
  newestUpdate,
  noteUpdate,
  trlConstants,
  updatesOf,
  type ListedToken,
  type TrlView,
} from "../../broker/registry/trl-updates.ts";
import { HASH_BYTES } from "../../shared/trl.ts";
import { constantsOf, hashOf, play, scenarios } from "../authority/trl-scenarios.ts";
import { hasVectors } from "../peers.ts";
import { NOW, openFarm, type Fixture } from "./fixture.ts";

let at: Fixture;
beforeEach(() => {
  at = openFarm();
  createApi(at.r, { project: "farm", name: "web", kind: "http", scopes: ["read"] });
});
afterEach(() => at.r.close());

const token = (name: string, client = "farm.one", audience = "farm.telemetry"): ListedToken => {
  return { hash: hashOf(name), client, audience };
};
const revoked = (name: string, client?: string, audience?: string, exp = NOW + 60): RevokedToken => {
  return { ...token(name, client, audience), otherHash: null, exp };
};
const list = async (view: TrlView): Promise<string[]> => hexes(...(await readListedHashes(at.r, view)).slices);
/** What the view was told, oldest first: removed, added. */
function told(view: TrlView): string[][][] {
  const held = updatesOf(at.r, view);
  return (held?.read(held.first, held.last) ?? []).map(({ removed, added }) => [hexes(removed), hexes(added)]);
}

describe.runIf(hasVectors)("the scenarios, in the tables", () => {
  test.each(scenarios.map((scenario) => [scenario.name, scenario] as const))("%s", async (_name, scenario) => {
    const constants = constantsOf(scenario);
    const insert = at.r.db.prepare(`INSERT INTO revoked_token (token_hash, client, audience, exp) VALUES (?, ?, ?, ?)`);
    const remove = at.r.db.prepare(`DELETE FROM revoked_token WHERE token_hash = ?`);
    const toToken = (hash: Uint8Array): ListedToken => ({ ...token(""), hash });
    const compared = await play(scenario, {
      update: (removed, added) =>
        at.r.change(() => {
          for (const hash of added) insert.run(hash, "farm.one", "farm.telemetry", NOW + 60);
          for (const hash of removed) remove.run(hash);
          noteUpdate(at.r, { removed: removed.map(toToken), added: added.map(toToken) }, constants);
        }),
      query: (parameters) => queryTrl(parameters, updatesOf(at.r, "client:farm.one"), constants),
      fullSet: async () => Buffer.concat((await readListedHashes(at.r, "client:farm.one")).slices),
    });
    expect(compared).toBe(scenario.steps.filter((step) => step.query !== undefined).length);
  });
});

describe("an update", () => {
  test("goes to an administrator, to the token's client, and to brokers where the api is of kind mqtt", () => {
    at.r.change(() => {
      const added = [token("a"), token("b", "farm.two"), token("c", "farm.two", "farm.web")];
      noteUpdate(at.r, { removed: [token("d", "farm.two", "farm.web")], added });
    });
    const [a, b, c, d] = ["a", "b", "c", "d"].map((name) => hexes(hashOf(name))[0]!);
    expect(told("all")).toEqual([[[d], [a, b, c]]]);
    expect(told("mqtt")).toEqual([[[], [a, b]]]);
    expect(told("client:farm.one")).toEqual([[[], [a]]]);
    expect(told("client:farm.two")).toEqual([[[d], [b, c]]]);
    expect(told("client:farm.three")).toEqual([]);
  });

  test("of tokens for an api that is not known is not for brokers", () => {
    at.r.change(() => noteUpdate(at.r, { removed: [], added: [token("a", "farm.one", "farm.gone")] }));
    expect([told("all").length, told("client:farm.one").length, told("mqtt").length]).toEqual([1, 1, 0]);
  });

  test("is numbered for each requester by itself, and the oldest go", () => {
    const constants = { ...trlConstants, maxN: 3 };
    for (let i = 0; i < 5; i++) at.r.change(() => noteUpdate(at.r, { removed: [], added: [token(`${i}`)] }, constants));
    at.r.change(() => noteUpdate(at.r, { removed: [], added: [token("x", "farm.two")] }, constants));
    const bounds = (["all", "mqtt", "client:farm.one", "client:farm.two"] as const).map((view) => {
      const { first, last } = updatesOf(at.r, view)!;
      return [first, last];
    });
    expect(bounds).toEqual([
      [3, 5],
      [3, 5],
      [2, 4],
      [0, 0],
    ]);
  });

  test("of many tokens is several, none of which names more than a thousand", () => {
    const removed = Array.from({ length: 1500 }, (_, index) => token(`r${index}`));
    const added = Array.from({ length: 1001 }, (_, index) => token(`a${index}`));
    at.r.change(() => noteUpdate(at.r, { removed, added }));
    expect(told("mqtt").map((sides) => sides.map((side) => side.length))).toEqual([
      [1000, 0],
      [500, 500],
      [0, 501],
    ]);
    const hexesOf = (tokens: readonly ListedToken[]): string[] => hexes(...tokens.map(({ hash }) => hash));
    expect(told("mqtt").flatMap(([gone]) => gone!)).toEqual(hexesOf(removed));
    expect(told("mqtt").flatMap(([, come]) => come!)).toEqual(hexesOf(added));
  });

  test("of nothing is none", () => {
    at.r.change(() => noteUpdate(at.r, { removed: [], added: [] }));
    expect(newestUpdate(at.r, "all")).toBeUndefined();
  });

  test("is undone with its transaction, and refused with a hash that is none", () => {
    const wrong = { ...token("a"), hash: new Uint8Array(32) };
    expect(() => at.r.change(() => noteUpdate(at.r, { removed: [], added: [token("b"), wrong] }))).toThrow(TypeError);
    expect(told("all")).toEqual([]);
  });
});

describe("the list", () => {
  test("is each requester's part of it", async () => {
    at.r.change(() => listTokens(at.r, [revoked("a"), revoked("b", "farm.two"), revoked("c", "farm.two", "farm.web")]));
    const named = (...names: readonly string[]): string[] => hexes(...names.map(hashOf)).toSorted();
    expect(await list("all")).toEqual(named("a", "b", "c"));
    expect(await list("mqtt")).toEqual(named("a", "b"));
    expect(await list("client:farm.one")).toEqual(named("a"));
    expect(await list("client:farm.two")).toEqual(named("b", "c"));
    expect(await list("client:farm.three")).toEqual([]);
  });

  test("gets shorter when tokens expire, which is an update", async () => {
    at.r.change(() => listTokens(at.r, [revoked("a"), revoked("b", "farm.one", "farm.telemetry", NOW + 90)]));
    at.clock.now = NOW + 60 + keptSeconds;
    pruneRevoked(at.r);
    expect(await list("client:farm.one")).toEqual(hexes(hashOf("b")));
    expect(told("client:farm.one").at(-1)).toEqual([hexes(hashOf("a")), []]);
  });

  test("of more than fits one slice is whole, also while it changes", async () => {
    const insert = at.r.db.prepare(
      `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000)
       INSERT INTO revoked_token (token_hash, client, audience, exp)
       SELECT CAST(x'01' || randomblob(32) AS BLOB), 'farm.one', 'farm.telemetry', ${NOW + 60} FROM n`,
    );
    at.r.change(() => insert.run());
    at.r.change(() => listTokens(at.r, [revoked("first")]));
    const reading = readListedHashes(at.r, "mqtt");
    at.r.change(() => listTokens(at.r, [revoked("second")]));
    const { newest, count, slices } = await reading;
    const sorted = (hashes: readonly string[]): string => [...new Set(hashes)].toSorted().join();
    const stored = at.r.db.prepare(`SELECT token_hash FROM revoked_token`).pluck().all() as Uint8Array[];
    expect([newest, count, slices.length]).toEqual([1, 50_002, 3]);
    expect(sorted(hexes(...slices))).toBe(sorted(hexes(...stored)));
  });

  test("is held once for all who are sent it", async () => {
    at.r.change(() => listTokens(at.r, [revoked("a")]));
    const first = await readListedHashes(at.r, "mqtt");
    expect(await readListedHashes(at.r, "mqtt")).toBe(first);
    at.r.change(() => listTokens(at.r, [revoked("b")]));
    expect((await readListedHashes(at.r, "mqtt")).count).toBe(2);
  });
});

function hexes(...packed: readonly Uint8Array[]): string[] {
  return packed.flatMap(
    (bytes) =>
      Buffer.from(bytes)
        .toString("hex")
        .match(new RegExp(`.{${2 * HASH_BYTES}}`, "g")) ?? [],
  );
}
