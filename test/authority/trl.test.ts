/** The list of revoked tokens over HTTPS (RFC 9770): whose view is answered, to which query, and how errors look. */
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { trlConstants } from "../../broker/registry/trl-updates.ts";
import { beginRun } from "../../broker/registry/trust-changes.ts";
import { createClient, setClientEnabled } from "../../broker/registry/clients.ts";
import { deleteBroker } from "../../broker/registry/brokers.ts";
import { keptSeconds } from "../../broker/registry/revoked-tokens.ts";
import { PROBLEM_CBOR, TRL_CBOR } from "../../shared/trl.ts";
import { basic, makeDevice, type Call, type Device } from "./fixture.ts";
import {
  ADMIN,
  hashes,
  makeBroker,
  named,
  openTrlFixture,
  problem,
  read,
  revoke,
  type TrlFixture,
} from "./trl-fixture.ts";
import { hashOf } from "./trl-scenarios.ts";

const path = "/revoke/trl";
let at: TrlFixture;
let edge: Device;

afterEach(() => vi.restoreAllMocks());

describe("before anything was revoked", () => {
  beforeAll(async () => {
    at = await openTrlFixture();
  });
  afterAll(() => at.close());

  test.each<[query: string, body: string]>([
    ["", "a2008002f6"],
    ["?diff=0", "a3018002f603f4"],
    ["?diff=3&cursor=7", "a3018002f603f4"],
    ["?colour=red&diff=0&colour=blue", "a3018002f603f4"],
  ])("answers %s as the standard has it", async (query, body) => {
    const answer = await at.call(path + query, { as: at.pi });
    expect([answer.status, answer.headers["content-type"], answer.body.toString("hex")]).toEqual([200, TRL_CBOR, body]);
  });

  test.each<[query: string, body: string, reason: string]>([
    ["?diff=-1", "a101a10000", "list.parameter"],
    ["?diff=1&diff=1", "a101a10000", "list.parameter"],
    ["?diff", "a101a10000", "list.parameter"],
    ["?diff=0&cursor=-53", "a101a2000001f6", "list.parameter"],
    ["?diff=0&cursor=4294967296", "a101a2000001f6", "list.parameter"],
    ["?diff=0&cursor=1&cursor=1", "a101a2000001f6", "list.parameter"],
    ["?cursor=0", "a101a10001", "list.parameters"],
  ])("refuses %s as the standard has it", async (query, body, reason) => {
    const answer = await at.call(path + query, { as: at.pi });
    expect([answer.status, answer.headers["content-type"], answer.body.toString("hex")]).toEqual([
      400,
      PROBLEM_CBOR,
      body,
    ]);
    expect(at.reason()).toBe(reason);
  });
});

describe("with tokens revoked", () => {
  beforeAll(async () => {
    at = await openTrlFixture();
    edge = await makeBroker(at, "edge");
    revoke(at, ["pi-1"], ["pi-web", "plant.pi", "plant.web"]);
    revoke(at, ["board-1", "plant.board", "plant.open"]);
  });
  afterAll(() => at.close());

  const callers: readonly (readonly [who: string, call: () => Call, names: readonly string[]])[] = [
    ["an administrator the whole list", () => ({ headers: ADMIN }), ["pi-1", "pi-web", "board-1"]],
    ["a broker the tokens for apis of kind mqtt", () => ({ as: edge }), ["pi-1", "board-1"]],
    ["a device its own", () => ({ as: at.pi }), ["pi-1", "pi-web"]],
    ["a service its own", () => ({ headers: basic("plant.board", at.secret) }), ["board-1"]],
  ];

  test.each(callers)("shows %s", async (_who, call, names) => {
    const full = await at.call(path, call());
    expect([full.status, hashes(read(full).fullSet)]).toEqual([200, named(...names)]);
    const diff = read(await at.call(`${path}?diff=0`, call()));
    expect(hashes(Buffer.concat(diff.diffSet!.map(({ added }) => added)))).toEqual(named(...names));
    expect([diff.cursor, diff.more]).toEqual([read(full).cursor, false]);
  });

  test("shows another client nothing of it", async () => {
    createClient(at.registry, { project: "plant", name: "other", kind: "device" });
    const other = await makeDevice(at, "plant.other");
    expect((await at.call(path, { as: other })).body.toString("hex")).toBe("a2008002f6");
    expect((await at.call(`${path}?diff=0`, { as: other })).body.toString("hex")).toBe("a3018002f603f4");
  });

  test("tells a client from where to go on, and what came since", async () => {
    expect(read(await at.call(`${path}?diff=0&cursor=0`, { as: at.pi }))).toEqual({
      diffSet: [],
      cursor: 0,
      more: false,
    });
    const ahead = await at.call(`${path}?diff=0&cursor=1`, { as: at.pi });
    expect([ahead.status, ahead.body.toString("hex"), at.reason()]).toEqual([400, "a101a10002", "list.cursor"]);
    revoke(at, ["pi-2"]);
    const { diffSet, cursor } = read(await at.call(`${path}?diff=0&cursor=0`, { as: at.pi }));
    expect([diffSet!.map(({ added }) => hashes(added)), cursor]).toEqual([[named("pi-2")], 1]);
  });

  test("takes a token off the list when it expires, also where nothing but the question brings that about", async () => {
    revoke(at, ["brief", "plant.pi", "plant.tele", 10]);
    const before = read(await at.call(path, { as: at.pi }));
    at.clock.now += 10 + keptSeconds;
    const after = read(await at.call(`${path}?diff=0&cursor=${before.cursor}`, { as: at.pi }));
    expect(after.diffSet).toEqual([{ removed: new Uint8Array(hashOf("brief")), added: new Uint8Array() }]);
    expect(hashes(read(await at.call(path, { as: at.pi })).fullSet)).not.toContain(named("brief")[0]);
  });

  test("answers with what was revoked where expired tokens cannot be taken off the list", async () => {
    revoke(at, ["stays", "plant.pi", "plant.tele", 10]);
    at.clock.now += 10 + keptSeconds;
    vi.spyOn(at.registry, "change").mockImplementation(() => {
      throw new Error("disk full");
    });
    expect(hashes(read(await at.call(path, { as: at.pi })).fullSet)).toContain(named("stays")[0]);
    expect(at.lines.findLast(({ level }) => level === 50)?.["msg"]).toBe("expired tokens stay on the list");
  });

  test("gives no more updates at once than the metadata says", async () => {
    const metadata = JSON.parse((await at.call("/.well-known/oauth-authorization-server")).body.toString()) as Record<
      string,
      unknown
    >;
    const { maxN: max_n, maxDiffBatch: max_diff_batch } = trlConstants;
    expect(metadata).toMatchObject({ trl_endpoint: expect.stringMatching(/^https:.*\/revoke\/trl$/) as string });
    expect(metadata).toMatchObject({ trl_hash: "sha-256", max_n, max_diff_batch });
    const { cursor: start } = read(await at.call(path, { headers: ADMIN }));
    for (let i = 0; i <= max_diff_batch; i++) revoke(at, [`many-${i}`, "plant.board"]);
    const first = read(await at.call(`${path}?diff=0&cursor=${start}`, { headers: ADMIN }));
    expect([first.diffSet!.length, first.more]).toEqual([max_diff_batch, true]);
    const second = read(await at.call(`${path}?diff=0&cursor=${first.cursor}`, { headers: ADMIN }));
    expect([second.diffSet!.length, second.more]).toEqual([1, false]);
  });

  test("says that updates were lost to who stayed away too long", async () => {
    for (let i = 0; i < trlConstants.maxN + 2; i++) revoke(at, [`lost-${i}`, "plant.board"]);
    const lost = await at.call(`${path}?diff=0&cursor=0`, { headers: basic("plant.board", at.secret) });
    expect(lost.body.toString("hex")).toBe("a3018002f603f5");
  });

  test("sends a list that is longer than one piece whole", async () => {
    const insert = at.registry.db.prepare(
      `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 45000)
       INSERT INTO revoked_token (token_hash, client, audience, exp)
       SELECT CAST(x'01' || randomblob(32) AS BLOB), 'plant.board', 'plant.open', ${at.clock.now + 600} FROM n`,
    );
    at.registry.change(() => insert.run());
    revoke(at, ["after", "plant.board"]);
    const answer = await at.call(path, { as: edge });
    expect(answer.headers["content-length"]).toBe(String(answer.body.length));
    const stored = at.registry.db.prepare(`SELECT token_hash FROM revoked_token WHERE audience <> 'plant.web'`);
    const all = Buffer.concat(stored.pluck().all() as Uint8Array[]);
    expect(hashes(read(answer).fullSet).join()).toBe(hashes(all).join());
    const head = await at.call(path, { as: edge, method: "HEAD" });
    expect([head.status, head.headers["content-type"], head.body.length]).toEqual([200, TRL_CBOR, 0]);
  });
});

describe("an entity tag", () => {
  beforeAll(async () => {
    at = await openTrlFixture();
    revoke(at, ["pi-1"]);
  });
  afterAll(() => at.close());

  const ask = async (query: string, tag?: string, call: Call = { as: at.pi }) => {
    return at.call(path + query, {
      ...call,
      headers: { ...call.headers, ...(tag !== undefined && { "if-none-match": tag }) },
    });
  };

  test("saves an answer that the caller has, until there is another", async () => {
    const first = await ask("");
    expect(first.headers).toMatchObject({ "cache-control": "private, no-cache", vary: "authorization" });
    const again = await ask("", first.headers.etag);
    expect([again.status, again.body.length, again.headers.etag]).toEqual([304, 0, first.headers.etag]);
    revoke(at, ["pi-2"]);
    const changed = await ask("", first.headers.etag);
    expect([changed.status, hashes(read(changed).fullSet)]).toEqual([200, named("pi-1", "pi-2")]);
  });

  test("is another for each query and for each view, and the same while others' tokens change", async () => {
    const tagOf = async (query: string, call?: Call) => (await ask(query, undefined, call)).headers.etag;
    const tags = [
      await tagOf(""),
      await tagOf("?diff=0"),
      await tagOf("?diff=1"),
      await tagOf("?diff=0&cursor=0"),
      await tagOf("", { headers: ADMIN }),
      await tagOf("", { headers: basic("plant.board", at.secret) }),
    ];
    expect(new Set(tags).size).toBe(tags.length);
    revoke(at, ["board-1", "plant.board"]);
    expect(await tagOf("")).toBe(tags[0]);
    expect(await tagOf("", { headers: ADMIN })).not.toBe(tags[4]);
  });

  test("is another after a start, since the file may be an older one with the same numbers", async () => {
    const { etag } = (await ask("")).headers;
    beginRun(at.registry);
    expect((await ask("", etag)).status).toBe(200);
  });
});

describe("a caller", () => {
  beforeAll(async () => {
    at = await openTrlFixture();
    edge = await makeBroker(at, "edge");
  });
  afterAll(() => at.close());

  test.each<[who: string, call: () => Call, reason: string, challenge: string | undefined]>([
    ["nobody", () => ({}), "credential.missing", "Basic"],
    ["with another key", () => ({ headers: { authorization: "Bearer other" } }), "admin.key", "Bearer"],
    ["with an empty key", () => ({ headers: { authorization: "Bearer" } }), "admin.key", "Bearer"],
    ["with another secret", () => ({ headers: basic("plant.board", "other") }), "client.secret", "Basic"],
    ["with another scheme", () => ({ headers: { authorization: "Digest x" } }), "credential.malformed", "Basic"],
    ["who is not there", () => ({ headers: basic("plant.none", "x") }), "client.unknown", "Basic"],
  ])("%s is 401 and told nothing", async (_who, call, reason, challenge) => {
    const answer = await at.call(path, call());
    expect([answer.status, answer.headers["content-type"], at.reason()]).toEqual([401, PROBLEM_CBOR, reason]);
    expect(answer.headers["www-authenticate"]).toBe(`${challenge} realm="postern"`);
    expect(problem(answer)).toEqual({
      title: expect.any(String) as string,
      detail: expect.stringMatching(/^id [\w-]{12}$/) as string,
    });
  });

  test("with a certificate and a secret is refused, device or broker", async () => {
    for (const as of [at.pi, edge]) {
      const answer = await at.call(path, { as, headers: basic("plant.board", at.secret) });
      expect([answer.status, at.reason()]).toEqual([400, "request.malformed"]);
    }
  });

  test("whose client is disabled, or whose broker is deleted, is turned away", async () => {
    setClientEnabled(at.registry, "plant.pi", false);
    const device = await at.call(path, { as: at.pi });
    expect([device.status, at.reason()]).toEqual([401, "client.disabled"]);
    const gone = await makeBroker(at, "gone");
    expect((await at.call(path, { as: gone })).status).toBe(200);
    deleteBroker(at.registry, "gone");
    const broker = await at.call(path, { as: gone });
    expect([broker.status, broker.headers["content-type"]]).toEqual([403, PROBLEM_CBOR]);
  });

  test.each(["POST", "PUT", "PATCH", "DELETE"])("with %s is told that there is only GET", async (method) => {
    const answer = await at.call(path, { method, headers: ADMIN });
    expect([answer.status, answer.headers.allow, answer.headers["content-type"]]).toEqual([
      405,
      "GET, HEAD",
      PROBLEM_CBOR,
    ]);
    expect(at.reason()).toBe("request.method");
  });
});
