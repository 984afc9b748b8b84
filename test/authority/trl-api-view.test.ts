/** The list of revoked tokens as an api sees it that asks with a credential of its own: what is for its audience. */
import { Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openWaitingRooms } from "../../broker/authority/trl/waiting-room.ts";
import { createProject } from "../../broker/registry/projects.ts";
import { createApi } from "../../broker/registry/apis.ts";
import { createSecret } from "../../broker/registry/secrets.ts";
import { keptSeconds } from "../../broker/registry/revoked-tokens.ts";
import { basic, type Answer, type Call } from "./fixture.ts";
import { ADMIN, hashes, named, openTrlFixture, read, revoke, type TrlFixture } from "./trl-fixture.ts";
import { hashOf } from "./trl-scenarios.ts";

const path = "/revoke/trl";
let at: TrlFixture;
let web: Record<string, string>;

beforeEach(async () => {
  at = await openTrlFixture();
  web = credential("plant", "web");
});
afterEach(() => at.close());

function credential(project: string, api: string): Record<string, string> {
  return basic(`${project}/${api}`, createSecret(at.registry, { project, api }).secret);
}

const ask = (query = "", headers = web, call: Call = {}): Promise<Answer> =>
  at.call(path + query, { ...call, headers: { ...headers, ...call.headers } });

function rowsOf(requester: string): unknown {
  return at.registry.db.prepare(`SELECT count(*) FROM trl_update WHERE requester = ?`).pluck().get(requester);
}

describe("an api", () => {
  test.each([
    ["", "a2008002f6"],
    ["?diff=0", "a3018002f603f4"],
    ["?diff=3&cursor=7", "a3018002f603f4"],
  ])("that asks %s before anything was revoked hears that", async (query, body) => {
    for (let time = 0; time < 2; time++) expect((await ask(query)).body.toString("hex")).toBe(body);
  });

  test("hears of tokens for its audience alone, whosever they are, and no other api of them", async () => {
    createProject(at.registry, "shop");
    createApi(at.registry, { project: "shop", name: "web", kind: "http", scopes: ["read"] });
    const others = [credential("plant", "tele"), credential("shop", "web")];
    for (const headers of [web, ...others]) await ask("", headers);
    revoke(at, ["a", "plant.pi", "plant.web"], ["b", "plant.board", "plant.web"], ["c", "plant.pi", "plant.tele"]);
    for (const [headers, names] of [
      [web, ["a", "b"]],
      [others[0]!, ["c"]],
      [others[1]!, []],
    ] as const) {
      const full = read(await ask("", headers));
      const diff = read(await ask("?diff=0", headers));
      expect(hashes(full.fullSet)).toEqual(named(...names));
      expect(hashes(Buffer.concat(diff.diffSet!.map(({ added }) => added)))).toEqual(named(...names));
      expect([full.cursor, diff.cursor]).toEqual(names.length > 0 ? [0, 0] : [null, null]);
    }
  });

  test("goes on from a cursor, and hears what left the list", async () => {
    await ask();
    revoke(at, ["a", "plant.pi", "plant.web", 10]);
    revoke(at, ["b", "plant.pi", "plant.web"]);
    at.clock.now += 10 + keptSeconds;
    const { diffSet, cursor } = read(await ask("?diff=0&cursor=0"));
    expect(diffSet!.map(({ removed, added }) => [hashes(removed), hashes(added)])).toEqual([
      [named("a"), []],
      [[], named("b")],
    ]);
    expect([cursor, hashes(read(await ask()).fullSet)]).toEqual([2, named("b")]);
  });

  test("is told to read the list where a first question for updates cannot give all of it", async () => {
    revoke(at, ["a", "plant.pi", "plant.web"]);
    expect((await ask("?diff=0")).body.toString("hex")).toBe("a3018002f603f5");
    expect(hashes(read(await ask()).fullSet)).toEqual(named("a"));
    expect((await ask("?diff=0")).body.toString("hex")).toBe("a3018002f603f4");
    revoke(at, ["b", "plant.pi", "plant.web"]);
    expect(hashes(read(await ask("?diff=0")).diffSet![0]!.added)).toEqual(named("b"));
  });

  test("is held until there is news for it, and not by news for others", async () => {
    await ask();
    let isAnswered = false;
    const waiting = ask("?diff=0", web, { headers: { prefer: "wait=30" } }).then((answer) => {
      isAnswered = true;
      return answer;
    });
    // asked after the one that waits, on a connection of its own, and answered before it
    await ask("", ADMIN);
    revoke(at, ["c", "plant.pi", "plant.tele"]);
    await ask("", ADMIN);
    expect(isAnswered).toBe(false);
    revoke(at, ["a", "plant.pi", "plant.web"]);
    const answer = await waiting;
    expect(hashes(read(answer).diffSet![0]!.added)).toEqual(named("a"));
    expect(answer.headers["preference-applied"]).toBe("wait=30");
  });

  test("asks again with the entity tag, which news for others does not change", async () => {
    const { headers } = await ask();
    revoke(at, ["c", "plant.pi", "plant.tele"]);
    const known = { headers: { "if-none-match": headers.etag! } };
    expect((await ask("", web, known)).status).toBe(304);
    revoke(at, ["a", "plant.pi", "plant.web"]);
    expect((await ask("", web, known)).status).toBe(200);
  });

  test("may wait in many processes, and takes no place of clients", async () => {
    const rooms = openWaitingRooms(at.registry);
    const wait = { requester: "plant/web", milliseconds: 60_000, socket: new Socket(), hasNews: () => false };
    const held = Array.from({ length: 65 }, () => rooms.apis.enter(wait));
    expect([held.slice(0, 64).includes(undefined), held[64]]).toEqual([false, undefined]);
    const client = rooms.clients.enter(wait);
    expect(client).toBeDefined();
    rooms.close();
    expect(new Set(await Promise.all([...held.slice(0, 64), client]))).toEqual(new Set(["closing"]));
  });

  test("is told nothing of keys, apis and clients", async () => {
    const answer = read(await ask("?diff=0&trust="));
    expect(answer.trust).toBeUndefined();
  });

  test.each<[string, () => Record<string, string>, string]>([
    ["with another secret", () => basic("plant/web", "no"), "client.secret"],
    ["that is not there", () => basic("plant/no", "no"), "resource-server.unknown"],
    ["by a name alone", () => basic("plant.web", "no"), "client.unknown"],
  ])("%s is refused", async (_, headers, reason) => {
    expect([(await ask("", headers())).status, at.reason()]).toEqual([401, reason]);
  });
});

describe("what nobody asks for", () => {
  test("costs no row of updates", async () => {
    revoke(at, ["a", "plant.pi", "plant.web"]);
    expect([rowsOf("api:plant.web"), rowsOf("all")]).toEqual([0, 1]);
    await ask();
    await ask("?diff=0");
    revoke(at, ["b", "plant.pi", "plant.web"], ["c", "plant.pi", "plant.tele"]);
    // where it begins, and the update
    expect([rowsOf("api:plant.web"), rowsOf("api:plant.tele")]).toEqual([2, 0]);
  });

  test("and the list of an api is found by an index", () => {
    const plan = at.registry.db
      .prepare(
        `EXPLAIN QUERY PLAN SELECT token_hash FROM revoked_token WHERE token_hash > ? AND audience = ? ORDER BY token_hash`,
      )
      .all(hashOf("a"), "plant.web") as { readonly detail: string }[];
    expect(plan.map(({ detail }) => detail)).toEqual([expect.stringContaining("revoked_token_by_audience")]);
  });
});
