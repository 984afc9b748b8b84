/**
 * A broker elsewhere whose clock is an hour off, either way: it goes by the time of its authority, so that fresh tokens are
 * admitted, end when they end for everybody, and are taken back as anywhere.
 */
import { afterAll, beforeAll, expect, it } from "vitest";
import { watchStalls } from "../../undisturbed.ts";
import { inspectToken } from "../../../shared/token.ts";
import { openInstallation, within, type Installation } from "../fixture.ts";
import { connectBearer } from "../mqtt-peer.ts";
import { Desk, expectRefused, openEdge, type Service } from "./room.ts";

const hour = 3600;
/** Of a Date header, and of reading two clocks in two processes. */
const tolerance = 1.5;

let installation: Installation;
let desk: Desk;
let brief: Service;
let long: Service;

beforeAll(async () => {
  installation = await openInstallation();
  desk = new Desk(installation.ready);
  await desk.makeProject("acme");
  await desk.makeApi("acme", "tele", { ttl_seconds: 5 });
  await desk.makeApi("acme", "long");
  brief = await desk.makeService("acme.brief");
  long = await desk.makeService("acme.long", ["long"]);
});
afterAll(() => installation.up.stop());

it.concurrent.each([
  ["ahead", hour],
  ["behind", -hour],
])("admits by the clock of its authority: %s", async (name, shift) => {
  const clock = new URL("shifted-clock.mjs", import.meta.url);
  const env = { NODE_OPTIONS: `--import ${clock.href}`, SHIFTED_BY: `${shift}` };
  const edge = await openEdge({ desk, name, env });
  expect(await edge.figure("postern_trust_clock_offset_seconds")).toBeCloseTo(-shift, -1);
  await edge.process.stderr.next(/the clocks of the authority and of this machine differ/);

  const token = await desk.token(brief);
  const { exp } = inspectToken(token).claims;
  const peer = await connectBearer(edge, "mqtts", `${brief.id}:${name}`, token);
  const stalls = watchStalls();
  const end = await within("the end of the token", peer.closed);
  expect(end).toBeGreaterThan(exp - tolerance);
  expect(end).toBeLessThan(exp + 1 + tolerance + stalls.longestMs() / 1000);
  stalls.close();
  await expectRefused(connectBearer(edge, "mqtts", `${brief.id}:${name}`, token));

  const longToken = await desk.token(long);
  const live = await connectBearer(edge, "mqtts", `${long.id}:${name}`, longToken);
  await desk.revoke({ tokens: [longToken] });
  await within("the end of the session", live.closed);

  // over a restart it knows how wrong it is
  await edge.kill();
  const again = await openEdge({ dir: edge.dir, env });
  const fresh = await connectBearer(again, "mqtts", `${long.id}:${name}`, await desk.token(long));
  fresh.end();
  expect((await again.process.stop()).exitCode).toBe(0);
});
