/**
 * A broker elsewhere: its own process on its own data, which enrols with a ticket, admits who the authority knows, closes
 * what the authority takes back, and goes on while the authority is away.
 */
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { watchStalls } from "../undisturbed.ts";
import { findPorts, makeFolder, openInstallation, posternJson, startPostern } from "./fixture.ts";
import type { Installation, Running } from "./fixture.ts";
import { connectCertificate, connectProof, type MqttPeer, type Served } from "./mqtt-peer.ts";

let installation: Installation;
let pi: string;
let hut: string;
const running: Running[] = [];

beforeEach(async () => {
  installation = await openInstallation({ ports: await findPorts() });
  await installation.json("project create acme");
  await installation.json("api create telemetry --project acme --kind mqtt --topics acme/#");
  await installation.json("role create sensor --project acme --api telemetry --allow pub:acme/${name}/#");
  await installation.json("role create reader --project acme --api telemetry --allow sub:acme/#");
  await installation.json("client create pi --project acme --kind device --role sensor");
  await installation.json("client create hut --project acme --kind device --role reader");
  [pi, hut] = await Promise.all([installation.enrol("acme.pi"), installation.enrol("acme.hut")]);
});
afterEach(async () => {
  for (const one of [...running.splice(0), installation.up]) {
    one.signal("SIGKILL");
    await one.ended();
  }
});

/** Starts the broker of a folder, with a ticket the first time, and waits until it is ready. */
async function openBroker(dir: string, ticket?: string): Promise<Served & { readonly process: Running }> {
  const env = { ...(ticket !== undefined && { POSTERN_TICKET: ticket }) };
  const process = startPostern(`broker --json --data ${dir} --mqtts-port 0 --wss-port 0`, { env });
  running.push(process);
  const ready = await process.stdout.json({ event: "ready" });
  expect(Object.keys(ready)).toEqual(["event", "mqtts", "wss", "mqtt", "ca"]);
  return { ready, process };
}

/** A new token each time: one for less than all is not kept. */
async function getToken(): Promise<string> {
  return (await posternJson(`token get --dir ${pi} --scope pub:acme/pi/up`)).access_token;
}

/** What one publishes reaches the other. */
async function passes(from: MqttPeer, to: MqttPeer, payload: string): Promise<void> {
  await from.publish("acme/pi/up", payload);
  expect(await to.message(({ payload: got }) => got === payload)).toEqual({ topic: "acme/pi/up", payload });
}

/** How long after `acknowledged` the session ended, in seconds, without what this machine stood still meanwhile. */
async function endedAfter(peer: MqttPeer, acknowledged: number): Promise<number> {
  const stalls = watchStalls();
  const end = await peer.closed;
  stalls.close();
  return end - acknowledged - stalls.longestMs() / 1000;
}

it("admits by tokens and by roles, and closes within a second what is taken back", async () => {
  const { ticket } = await installation.json("ticket create --broker edge");
  const dir = join(makeFolder(), "edge");
  const broker = await openBroker(dir, ticket);
  const reader = await connectCertificate(broker, hut, "acme.hut");
  expect(await reader.subscribe("acme/#")).toBe(1);
  expect(await reader.subscribe("other/#")).toBe(128);
  const token = await getToken();
  const [tls, page] = await Promise.all([
    connectProof(broker, "mqtts", pi, "acme.pi", token),
    connectProof(broker, "wss", pi, "acme.pi:page", token),
  ]);
  await passes(tls, reader, "over TLS");
  await passes(page, reader, "over WebSocket");

  await installation.json(`token revoke ${token}`);
  const revoked = Date.now() / 1000;
  for (const peer of [tls, page]) expect(await endedAfter(peer, revoked)).toBeLessThan(1);
  await expect(connectProof(broker, "mqtts", pi, "acme.pi", token)).rejects.toMatchObject({ code: 4 });
  expect(reader.isClosed).toBe(false);

  await installation.json("client disable acme.hut");
  const disabled = Date.now() / 1000;
  expect(await endedAfter(reader, disabled)).toBeLessThan(1);
  await expect(connectCertificate(broker, hut, "acme.hut")).rejects.toMatchObject({ code: 4 });

  // what a broker is admitted with by its authority opens no session, at itself or elsewhere
  for (const where of [broker, installation]) {
    await expect(connectCertificate(where, dir, "acme.pi")).rejects.toMatchObject({ code: 5 });
  }
  expect(await broker.process.stop()).toMatchObject({ exitCode: 0 });
});

it("goes on without its authority, starts without it, and follows again when it is back", async () => {
  const { folder, port } = installation;
  const dir = join(makeFolder(), "edge");
  const { ticket } = await installation.json("ticket create --broker edge");
  const first = await openBroker(dir, ticket);
  const before = await connectCertificate(first, hut, "acme.hut");
  const tokens = [await getToken(), await getToken()] as const;
  installation.up.signal("SIGKILL");
  await installation.up.ended();

  await before.subscribe("acme/#");
  await passes(await connectProof(first, "mqtts", pi, "acme.pi", tokens[0]), before, "without the authority");
  expect((await first.process.stop()).exitCode).toBe(0);

  const second = await openBroker(dir);
  const reader = await connectCertificate(second, hut, "acme.hut");
  const publisher = await connectProof(second, "mqtts", pi, "acme.pi", tokens[1]);
  await reader.subscribe("acme/#");
  await passes(publisher, reader, "started without the authority");

  installation = await openInstallation({ folder, ports: port });
  await installation.json(`token revoke ${tokens[1]}`);
  await publisher.closed;
  await expect(connectProof(second, "mqtts", pi, "acme.pi", tokens[1])).rejects.toMatchObject({ code: 4 });
  await passes(await connectProof(second, "mqtts", pi, "acme.pi", tokens[0]), reader, "the other is good");
});
