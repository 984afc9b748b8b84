/**
 * A broker elsewhere that has not heard from its authority for longer than it may: it admits nobody new and says so, keeps who
 * is connected, and admits again by itself.
 */
import { expect, it } from "vitest";
import { connectBearer } from "../mqtt-peer.ts";
import { expectRefused, getPage, openEdge } from "./room.ts";
import { openWired } from "./wire.ts";

/** Long enough for a client to be let in after the last word of the authority. */
const maxStalenessSeconds = 6;

it("admits nobody new when its view is too old, and admits again when it is not", async () => {
  const { installation, wire, desk } = await openWired();
  await desk.makeProject("acme");
  await desk.makeApi("acme", "tele");
  const [one, other] = [await desk.makeService("acme.one"), await desk.makeService("acme.other")];
  const [token, otherToken] = [await desk.token(one), await desk.token(other)];
  const edge = await openEdge({ desk, words: `--max-staleness ${maxStalenessSeconds}s` });
  const steady = await connectBearer(edge, "mqtts", one.id, token);
  await steady.subscribe("tele/#");

  wire.turn("cut");
  // as long as the view is fresh enough
  (await connectBearer(edge, "mqtts", other.id, otherToken)).end();
  await edge.process.stderr.next(/the authority was not heard for too long: nobody new is admitted/);
  await expectRefused(connectBearer(edge, "mqtts", other.id, otherToken), 5);
  await edge.process.stderr.next(/"trust\.stale"/);
  expect(await edge.figure("postern_trust_stale")).toBe(1);
  expect(await edge.figure("postern_trust_age_seconds")).toBeGreaterThan(maxStalenessSeconds);
  expect(await edge.figure('postern_refusals_total{at="connect",reason="trust.stale"}')).toBe(1);
  expect(JSON.parse(await getPage(edge.ready, "/healthz"))).toEqual({ status: "stale" });
  await steady.publish("tele/steady", "still here");
  expect((await steady.message()).payload).toBe("still here");

  await desk.revoke({ tokens: [token] });
  wire.turn("through");
  await edge.process.stderr.next(/the view is fresh: clients are admitted/);
  expect(await edge.figure("postern_trust_stale")).toBe(0);
  (await connectBearer(edge, "mqtts", other.id, otherToken)).end();
  await steady.closed;
  await expectRefused(connectBearer(edge, "mqtts", one.id, token));

  expect((await edge.process.stop()).exitCode).toBe(0);
  await installation.up.stop();
  await wire.close();
});
