/** What a caller of the list learns of others, and hostile values of everything that it may send. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { deleteBroker } from "../../../broker/registry/brokers.ts";
import { createClient } from "../../../broker/registry/clients.ts";
import { basic, makeDevice, type Answer, type Call } from "../../authority/fixture.ts";
import { ADMIN, hashes, makeBroker, named, problem, read, revoke } from "../../authority/trl-fixture.ts";
import { askHeld, openGround, type Ground } from "./ground.ts";

const path = "/revoke/trl";
let at: Ground;
beforeAll(async () => {
  at = await openGround();
  createClient(at.registry, { project: "plant", name: "other", kind: "device" });
});
afterAll(() => at.close());

describe("of the tokens of others a client learns nothing", () => {
  test("by list, updates, cursor, entity tag, length or time", async () => {
    revoke(at, ["own"]);
    const ask = (query: string, headers: Call["headers"] = {}): Promise<Answer> =>
      at.call(path + query, { as: at.pi, headers });
    const all = async (): Promise<unknown> => {
      const answers = await Promise.all(
        ["", "?diff=0", "?diff=0&cursor=0", "?diff=5&trust="].map((query) => ask(query)),
      );
      return answers.map(({ status, headers, body }) => [
        status,
        headers.etag,
        headers["content-length"],
        body.toString("hex"),
      ]);
    };
    const before = await all();
    for (let i = 0; i < 50; i++)
      revoke(at, [`foreign-${i}`, "plant.other"], [`board-${i}`, "plant.board", "plant.open"]);
    expect(await all()).toEqual(before);

    let isAnswered = false;
    const query = `${path}?diff=0&cursor=0`;
    const { answer } = await askHeld(at, query, { as: at.pi, headers: { prefer: "wait=60" } });
    void answer.then(() => (isAnswered = true));
    for (let i = 0; i < 20; i++) {
      revoke(at, [`more-${i}`, "plant.other"]);
      // time for an answer
      await at.call("/healthz");
    }
    expect(isAnswered).toBe(false);
    revoke(at, ["own-2"]);
    expect(hashes(read(await answer).diffSet![0]!.added)).toEqual(named("own-2"));
  });

  test("nor of what brokers follow, whatever it asks for", async () => {
    for (const query of ["?trust=", "?diff=0&trust=", "?trust=&trust=", "?diff=0&cursor=0&trust=x"]) {
      expect(read(await at.call(path + query, { as: at.pi })).trust).toBeUndefined();
    }
  });

  test("nor by an entity tag of another's view", async () => {
    const { etag } = (await at.call(path, { headers: ADMIN })).headers;
    const answer = await at.call(path, { as: at.pi, headers: { "if-none-match": etag! } });
    expect([answer.status, hashes(read(answer).fullSet)]).toEqual([200, named("own", "own-2")]);
  });

  test("nor does a broker of tokens for apis that are not its own", async () => {
    revoke(at, ["web", "plant.other", "plant.web"]);
    expect(hashes(read(await at.call(path, { as: at.broker })).fullSet)).not.toContain(named("web")[0]);
    expect(hashes(read(await at.call(path, { headers: ADMIN })).fullSet)).toContain(named("web")[0]);
  });
});

describe("a value that is none", () => {
  const bad = ["", "-1", "-0", "00", "+0", "0x0", "1e3", "1.0", " 1", "1 ", "NaN", "null", "٣", "１", "0%00", "1,2"];
  test.each(bad.map((value) => [value]))(
    "%j is refused as diff, as cursor, and is no start of what is followed",
    async (value) => {
      const text = value.includes("%") ? value : encodeURIComponent(value);
      const [diff, cursor] = await Promise.all(
        [`?diff=${text}`, `?diff=0&cursor=${text}`].map((query) => at.call(path + query, { as: at.broker })),
      );
      expect([diff!.status, problem(diff!)]).toEqual([400, { error: "list.parameter" }]);
      expect([cursor!.status, problem(cursor!).error, typeof problem(cursor!).cursor]).toEqual([
        400,
        "list.parameter",
        "number",
      ]);
      const follow = await at.call(`${path}?diff=0&trust=${text}`, { as: at.broker });
      expect([follow.status, read(follow).trust!.isReset]).toEqual([200, true]);
    },
  );

  test.each<[query: string, status: number]>([
    ["?diff=99999999999999999999999999999999", 200],
    ["?diff=0&cursor=4294967295", 400],
    ["?diff=0&cursor=4294967296", 400],
    ["?diff=0&cursor=99999999999999999999999999999999", 400],
    ["?diff=0&diff=0", 400],
    ["?diff=0&cursor=0&cursor=0", 400],
    ["?cursor=0", 400],
    ["?diff=0&trust=&trust=", 400],
    // not known, and so not there
    ["?diff[]=0", 200],
    ["?diff[0]=0&cursor[a]=1", 200],
    ["?__proto__[diff]=0&constructor=1&toString=1", 200],
    ["?DIFF=x", 200],
    ["?%64iff=%30", 200],
    ["?diff=%", 400],
    [`?trust=${"A".repeat(5000)}`, 200],
    ["?trust=AAAAAAAAAAAA.999999999999999", 200],
  ])("%s is answered with %i", async (query, status) => {
    expect((await at.call(path + query, { as: at.broker })).status).toBe(status);
  });

  test("of a cursor that runs ahead starts again, and never jumps over what is new", async () => {
    const { cursor } = read(await at.call(`${path}?trust=`, { as: at.broker })).trust!;
    const [run, place] = cursor.split(".");
    for (const ahead of [
      `${run}.${Number(place) + 1}`,
      `${run}.999999999999999`,
      `${run}.${place} `,
      `${run}.${place}&`,
      run!,
    ]) {
      const answer = await at.call(`${path}?trust=${encodeURIComponent(ahead)}`, { as: at.broker });
      expect(read(answer).trust!.isReset).toBe(true);
    }
  });

  test.each<[header: string, value: string, status: number]>([
    ["if-none-match", "*", 304],
    ["if-none-match", '"', 200],
    ["if-none-match", "W/W/W/", 200],
    ["if-none-match", ",".repeat(4000), 200],
    ["if-none-match", `"${"A".repeat(5000)}"`, 200],
    ["prefer", `wait=${"9".repeat(4000)}`, 200],
    ["prefer", ",".repeat(4000), 200],
    ["prefer", `wait=${" ".repeat(6000)}x`, 200],
    ["prefer", "wait=1\tx, wait=60", 200],
  ])("of %s is read as it must be, and at once", async (header, value, status) => {
    const before = performance.now();
    expect((await at.call(path, { as: at.pi, headers: { [header]: value } })).status).toBe(status);
    // and not held, which would be for a minute
    expect(performance.now() - before).toBeLessThan(20_000);
  });

  test("comes back in no header", async () => {
    const value = "x\u00e9'\"<script>";
    const query = `?diff=${encodeURIComponent("0\r\nx-evil: 1")}&trust=${encodeURIComponent("\r\nx-evil: 1")}`;
    const answer = await at.call(path + query, { as: at.broker, headers: { "if-none-match": value, prefer: value } });
    expect([answer.status, answer.rawHeaders.join("\n").includes("evil")]).toEqual([400, false]);
  });
});

describe("who was taken back while it waits", () => {
  test("a deleted broker is woken and refused", async () => {
    const gone = await makeBroker(at, "gone");
    const { trust, cursor } = read(await at.call(`${path}?trust=`, { as: gone }));
    const query = `${path}?diff=0&cursor=${cursor}&trust=${trust!.cursor}`;
    const { answer } = await askHeld(at, query, { as: gone, headers: { prefer: "wait=60" } });
    deleteBroker(at.registry, "gone");
    expect([(await answer).status, at.reason()]).toEqual([403, "certificate.revoked"]);
  });

  test("a revoked device and a disabled client are told nothing more", async () => {
    const device = await at.newDevice("leaver");
    const { secret } = createClient(at.registry, { project: "plant", name: "quitter", kind: "service" });
    const calls: Call[] = [{ as: device }, { headers: basic("plant.quitter", secret!) }];
    const held: Promise<Answer>[] = [];
    for (const call of calls) {
      const headers = { ...call.headers, prefer: "wait=60" };
      held.push((await askHeld(at, `${path}?diff=0`, { ...call, headers })).answer);
    }
    await at.revoke({ certificates: [device.serial], clients: ["plant.quitter"] });
    revoke(at, ["late-1", "plant.leaver"], ["late-2", "plant.quitter"]);
    expect((await Promise.all(held)).map(({ status }) => status)).toEqual([403, 401]);
  });

  test("whose certificate has ended is refused on the connection that it opened before", async () => {
    createClient(at.registry, { project: "plant", name: "old", kind: "device" });
    const device = await makeDevice(at, "plant.old", 1);
    expect((await at.call(path, { as: device })).status).toBe(200);
    at.clock.now += 86_401;
    expect([(await at.call(path, { as: device })).status, at.reason()]).toEqual([403, "certificate.expired"]);
    at.clock.now -= 86_401;
  });
});
