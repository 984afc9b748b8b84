/** Peers that ask for much and read nothing, and clients that try to take the places of brokers. */
import { setTimeout as wait } from "node:timers/promises";
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from "vitest";
import { waitingLimits } from "../../../broker/authority/trl/waiting-room.ts";
import { createClient } from "../../../broker/registry/clients.ts";
import { basic, furnish, openFixture, type Fixture } from "../../authority/fixture.ts";
import { hashes, makeBroker, named, read, revoke } from "../../authority/trl-fixture.ts";
import { askHeld, openStalled, patienceMs } from "./ground.ts";

/** Longer than anybody is held up who does read. */
const silenceMs = 3000;
const revoked = 300_000;
const get = (path: string, ...headers: readonly string[]): string =>
  [`GET ${path} HTTP/1.1`, "Host: localhost", ...headers, "", ""].join("\r\n");

let at: Fixture;
beforeAll(async () => {
  at = await openFixture({ silenceMs });
  furnish(at.registry);
  const { db } = at.registry;
  db.exec(
    `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${revoked})
     INSERT INTO certificate (serial, client, key_spki, key_thumbprint, not_before, not_after, der, issued_at, revoked_at)
     SELECT '4' || lower(hex(randomblob(15))) || 'a', 'plant.pi', x'00', '', 0, ${at.clock.now + 9000}, x'00', 0, 1 FROM n`,
  );
  db.exec(
    `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000)
     INSERT INTO revoked_token (token_hash, client, audience, exp)
     SELECT CAST(x'01' || randomblob(32) AS BLOB), 'plant.board', 'plant.open', ${at.clock.now + 600} FROM n`,
  );
}, 180_000);
afterAll(() => at.close());

const sockets = (): number => process.getActiveResourcesInfo().filter((name) => name === "TCPSocketWrap").length;

test("a stranger who asks for a long list and never reads it is let go of, and holds no copy of it meanwhile", async () => {
  const list = await at.call("/crl");
  expect([list.status, list.headers["content-length"]]).toEqual([200, String(list.body.length)]);
  expect(list.body.length).toBeGreaterThan(10 * 1024 * 1024);
  const [before, rss] = [sockets(), process.memoryUsage().rss];
  const stalled = await Promise.all(Array.from({ length: 30 }, () => openStalled(at, get("/crl"))));
  expect(sockets()).toBe(before + 60);
  await wait(500);
  // 30 copies would be 330 MiB
  expect(process.memoryUsage().rss - rss).toBeLessThan(100 * 1024 * 1024);
  // the ends of the authority go
  await vi.waitFor(() => expect(sockets()).toBeLessThanOrEqual(before + 30), { timeout: patienceMs });
  for (const socket of stalled) socket.destroy();
}, 180_000);

test("who reads slowly is not", async () => {
  const socket = await openStalled(at, get("/crl", "Connection: close"));
  let bytes = 0;
  socket.on("data", (data: Buffer) => {
    bytes += data.length;
    if (bytes % 7 !== 0) return;
    socket.pause();
    setTimeout(() => socket.resume(), 20);
  });
  const ended = new Promise((resolve) => socket.once("close", resolve));
  for (let pauses = 0; pauses < 3; pauses++) {
    await wait(silenceMs * 0.5);
    socket.resume();
    await wait(20);
    socket.pause();
  }
  socket.resume();
  await ended;
  expect(bytes).toBeGreaterThan(10 * 1024 * 1024);
}, 180_000);

test.each(["/crl", "/revoke/trl", "/revoke/trl?trust="])(
  "HEAD %s says how long it would be, and sends none of it",
  async (path) => {
    const headers = { authorization: "Bearer admin-key" };
    const [get, head] = [await at.call(path, { headers }), await at.call(path, { headers, method: "HEAD" })];
    expect([head.status, head.body.length, head.headers["content-length"]]).toEqual([200, 0, String(get.body.length)]);
    // the connection goes on with the next answer
    expect((await at.call("/healthz")).body.toString()).toBe('{"status":"ok"}');
  },
);

test("a thousand clients that wait take no broker's place", async () => {
  const at = await openFixture();
  onTestFinished(() => at.close());
  furnish(at.registry);
  const query = "/revoke/trl?diff=0";
  const broker = await makeBroker(at, "edge");
  const hogs = await Promise.all(
    Array.from({ length: waitingLimits.total / waitingLimits.perRequester }, async (_, n) => {
      const { secret } = createClient(at.registry, { project: "plant", name: `hog-${n}`, kind: "service" });
      const { authorization } = basic(`plant.hog-${n}`, secret!);
      const one = get(query, `Authorization: ${authorization}`, "Prefer: wait=60");
      return openStalled(at, one.repeat(waitingLimits.perRequester));
    }),
  );
  const { secret } = createClient(at.registry, { project: "plant", name: "late", kind: "service" });
  const late = { headers: { ...basic("plant.late", secret!), prefer: "wait=1" } };
  // the room of clients is full
  await vi.waitFor(async () => {
    expect((await at.call(query, late)).headers["preference-applied"]).toBeUndefined();
  }, patienceMs);
  const held = await askHeld(at, query, { as: broker, headers: { prefer: "wait=60" } });
  revoke(at, ["news"]);
  const answer = await held.answer;
  expect([answer.headers["preference-applied"], hashes(read(answer).diffSet![0]!.added)]).toEqual([
    "wait=60",
    named("news"),
  ]);
  for (const socket of hogs) socket.destroy();
}, 180_000);

test("who hangs up leaves all its places, also those of requests that waited for their turn on the connection", async () => {
  const at = await openFixture();
  onTestFinished(() => at.close());
  furnish(at.registry);
  const query = "/revoke/trl?diff=0";
  const { secret } = createClient(at.registry, { project: "plant", name: "pipe", kind: "service" });
  const { authorization } = basic("plant.pipe", secret!);
  const call = { headers: { authorization: authorization!, prefer: "wait=1" } };
  const one = get(query, `Authorization: ${authorization}`, "Prefer: wait=60");
  const socket = await openStalled(at, one.repeat(waitingLimits.perRequester));
  const ask = async (): Promise<unknown> => (await at.call(query, call)).headers["preference-applied"];
  await vi.waitFor(async () => expect(await ask()).toBeUndefined(), patienceMs);
  socket.destroy();
  await vi.waitFor(async () => {
    expect(await Promise.all([ask(), ask(), ask()])).toEqual(["wait=1", "wait=1", "wait=1"]);
  }, patienceMs);
}, 180_000);
