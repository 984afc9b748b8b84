/**
 * The end of a token is the end of its session, within a second, unless a new token came in time (docs/protocol.md, section 8);
 * and the news of both on `$postern/session`. Tokens live five seconds here, the least an api allows.
 */
import { once } from "node:events";
import { readFileSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { request } from "node:https";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { beforeAll, describe, expect, it } from "vitest";
import { watchStalls } from "../undisturbed.ts";
import { ACE_CBOR, encodeTokenRequest, readTokenResponse } from "../../shared/ace.ts";
import { parsePermission } from "../../shared/scope.ts";
import { inspectToken } from "../../shared/token.ts";
import { openInstallation, startPostern } from "./fixture.ts";
import type { Installation, Running } from "./fixture.ts";
import { connectBearer, connectProof, type MqttPeer } from "./mqtt-peer.ts";
import { Desk } from "./revocation/room.ts";

interface HeldToken {
  readonly text: string;
  readonly exp: number;
}

/** What the reading of two clocks in two processes may differ. */
const clockTolerance = 0.25;

let installation: Installation;
let pi: string;
let getBearer: () => Promise<HeldToken>;
let getBound: () => Promise<HeldToken>;

beforeAll(async () => {
  installation = await openInstallation();
  await installation.json("project create acme");
  await installation.json("api create brief --project acme --kind mqtt --topics acme/# --ttl 5s --bearer");
  await installation.json("role create sensor --project acme --api brief --allow pubsub:acme/${name}/#");
  await installation.json("role create reader --project acme --api brief --allow sub:acme/#");
  await installation.json("client create pi --project acme --kind device --role sensor");
  pi = await installation.enrol("acme.pi");
  const desk = new Desk(installation.ready);
  const wall = await desk.makeService("acme.wall", ["reader"]);
  // without a command in between, which would take its part of the five seconds
  getBearer = async () => describeToken(await desk.token(wall));
  getBound = async () => describeToken(await askBound());
});

function describeToken(text: string): HeldToken {
  const { iat, exp } = inspectToken(text).claims;
  expect(exp - iat).toBe(5);
  return { text, exp };
}

/** Asks for a token with the certificate of the device, which it is bound to. */
async function askBound(): Promise<string> {
  const { issuer, ca } = installation.ready;
  const own = { cert: readFileSync(join(pi, "certificate.pem")), key: readFileSync(join(pi, "key.pem")) };
  const headers = { "content-type": ACE_CBOR };
  const asked = request(`${issuer}/token`, { method: "POST", agent: false, ca: readFileSync(ca), ...own, headers });
  const scope = [parsePermission("pubsub:acme/pi/#")];
  asked.end(encodeTokenRequest({ audience: "acme.brief", scope }));
  const [response] = (await once(asked, "response")) as [IncomingMessage];
  const body = await buffer(response);
  expect(response.statusCode).toBe(200);
  return Buffer.from(readTokenResponse(body).accessToken).toString("base64url");
}

it("takes no shorter life for tokens", async () => {
  const { exitCode, stderr } = await installation.run(
    "api create briefer --project acme --kind mqtt --topics acme/# --ttl 4s",
  );
  expect([exitCode, stderr]).toEqual([1, expect.stringMatching(/^postern: api create: [^\n]+\n$/)]);
});

describe.concurrent("a session", () => {
  it("is over within a second of its token's exp: idle, publishing, over TLS and WebSocket", async ({ expect }) => {
    const [bearer, bound] = await Promise.all([getBearer(), getBound()]);
    const subscriber = await connectBearer(installation, "mqtts", "acme.wall:mqtts", bearer.text);
    const page = await connectBearer(installation, "wss", "acme.wall:wss", bearer.text);
    const publisher = await connectProof(installation, "mqtts", pi, "acme.pi:publisher", bound.text);
    await subscriber.subscribe("acme/#");
    await page.subscribe("acme/#");

    const busy = (async () => {
      let acknowledged = 0;
      while (!publisher.isClosed) {
        await publisher.publish("acme/pi/machine", String(acknowledged)).then(
          () => acknowledged++,
          () => undefined,
        );
        // as fast as it is heard
        if (!subscriber.isClosed) await Promise.race([subscriber.message(), subscriber.closed]);
      }
      return acknowledged;
    })();

    const stalls = watchStalls();
    const [subscriberEnd, pageEnd, publisherEnd] = await Promise.all([
      subscriber.closed,
      page.closed,
      publisher.closed,
    ]);
    for (const [end, { exp }] of [
      [subscriberEnd, bearer],
      [pageEnd, bearer],
      [publisherEnd, bound],
    ] as const) {
      expect(end).toBeGreaterThan(exp - clockTolerance);
      expect(end).toBeLessThan(exp + 1 + clockTolerance + stalls.longestMs() / 1000);
    }
    stalls.close();
    expect(await busy).toBeGreaterThan(0);
    await expect(connectBearer(installation, "mqtts", "acme.wall", bearer.text)).rejects.toMatchObject({ code: 4 });
    await expect(connectProof(installation, "mqtts", pi, "acme.pi:late", bound.text)).rejects.toMatchObject({
      code: 4,
    });
  });

  it("is told of its end, goes on with a new token, and ends with that one", async ({ expect }) => {
    const first = await getBound();
    const device = await connectProof(installation, "mqtts", pi, "acme.pi:renewing", first.text);
    expect(await device.subscribe("$postern/session", 0)).toBe(0);
    expect(await device.subscribe("acme/pi/renewing")).toBe(1);
    const warned = await news(device);
    expect(warned).toEqual({ event: "expiring", exp: first.exp });
    expect(first.exp).toBeGreaterThan(Date.now() / 1000);

    const second = await getBound();
    expect(second.exp).toBeGreaterThan(first.exp);
    await device.publish("authz-info", Buffer.from(second.text, "base64url"));
    expect(await news(device)).toEqual({ event: "renewed", exp: second.exp });

    // the next news comes after the first token is over: the session has outlived it, with its subscription
    expect(await news(device)).toEqual({ event: "expiring", exp: second.exp });
    const third = await getBound();
    await device.publish("authz-info", third.text);
    expect(await news(device)).toEqual({ event: "renewed", exp: third.exp });
    await device.publish("acme/pi/renewing", "still here");
    expect(await device.message(({ topic }) => topic === "acme/pi/renewing")).toMatchObject({ payload: "still here" });

    const stalls = watchStalls();
    const end = await device.closed;
    expect(end).toBeGreaterThan(third.exp - clockTolerance);
    expect(end).toBeLessThan(third.exp + 1 + clockTolerance + stalls.longestMs() / 1000);
    stalls.close();
    expect(third.exp).toBeGreaterThan(first.exp);
  });

  it("is refused a renewal that is not its own, told so, and over", async ({ expect }) => {
    const [bound, bearer] = await Promise.all([getBound(), getBearer()]);
    const device = await connectProof(installation, "mqtts", pi, "acme.pi:wrong", bound.text);
    await device.subscribe("$postern/session", 0);
    await device.publish("authz-info", bearer.text).catch(() => undefined);
    expect(await news(device)).toEqual({ event: "refused", says: expect.any(String), id: expect.any(String) });
    const end = await device.closed;
    expect(end).toBeLessThan(bound.exp);
  });

  it("of the agent outlives its tokens one after the other", async ({ expect }) => {
    const agent: Running = startPostern(`agent run --json --dir ${pi}`);
    const reader: Running = startPostern(`agent subscribe acme/pi/kept --json --count 1 --dir ${pi}`);
    await agent.stdout.json({ event: "connected" });
    await reader.stderr.next(/^subscribed/);
    let expiresAt = 0;
    for (const _ of [1, 2, 3]) {
      const renewed = await agent.stdout.json({ event: "renewed" });
      expect(renewed.expiresAt).toBeGreaterThan(expiresAt);
      expiresAt = renewed.expiresAt;
    }
    const { text } = await getBound();
    const device = await connectProof(installation, "mqtts", pi, "acme.pi:sender", text);
    await device.publish("acme/pi/kept", "after many tokens");
    device.end();
    expect((await reader.ended()).stdout).toContain("after many tokens");
    const { stdout, exitCode } = await agent.stop();
    expect(exitCode).toBe(0);
    expect(stdout).not.toMatch(/disconnected.*\n.*connected/);
    expect(stdout.match(/"event":"connected"/g)).toHaveLength(1);
  });
});

/** The next news of a session. */
async function news(peer: MqttPeer): Promise<unknown> {
  return JSON.parse((await peer.message(({ topic }) => topic === "$postern/session")).payload);
}
