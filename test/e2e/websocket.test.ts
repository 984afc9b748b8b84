/** MQTT over WebSocket over TLS, with MQTT.js as the client (docs/protocol.md, section 7). */
import { get } from "node:https";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { beforeAll, describe, expect, it } from "vitest";
import { WebSocket } from "ws";
import { openInstallation, postern, posternJson } from "./fixture.ts";
import type { Installation } from "./fixture.ts";
import { connectBearer, connectProof, signExporter, type MqttPeer } from "./mqtt-peer.ts";

let installation: Installation;
let pi: string;
let bound: string;
let bearer: string;

beforeAll(async () => {
  installation = await openInstallation();
  await installation.json("project create acme");
  await installation.json("api create telemetry --project acme --kind mqtt --topics acme/# --bearer");
  await installation.json("role create sensor --project acme --api telemetry --allow pub:acme/${name}/#");
  await installation.json("role create reader --project acme --api telemetry --allow sub:acme/+/machine");
  await installation.json("client create pi --project acme --kind device --role sensor");
  pi = await installation.enrol("acme.pi");
  bound = (await posternJson(`agent token --dir ${pi}`)).token;
  const { client_secret: secret } = await installation.json(
    "client create page --project acme --kind app --role reader",
  );
  bearer = (await installation.json(`token get --client acme.page --secret ${secret} --api telemetry`)).access_token;
});

describe("over wss", () => {
  it("a page with a bearer token hears what a device with a proof of its key says", async () => {
    const page = await connectBearer(installation, "wss", "acme.page", bearer);
    expect(await page.subscribe("acme/+/machine")).toBe(1);
    expect(await page.subscribe("acme/#")).toBe(128);
    const device = await connectProof(installation, "wss", pi, "acme.pi", bound);
    await device.publish("acme/pi/private", "not for pages");
    await device.publish("acme/pi/machine", "over wss");
    expect(await page.message()).toEqual({ topic: "acme/pi/machine", payload: "over wss" });
    await postern(`agent publish acme/pi/machine --dir ${pi}`, { stdin: "over mqtts" });
    expect(await page.message()).toEqual({ topic: "acme/pi/machine", payload: "over mqtts" });
    await expect(device.publish("acme/page/machine", "forbidden")).rejects.toThrow("connection");
    expect(page.isClosed).toBe(false);
    page.end();
  });

  it("a connection that breaks leaves its will, one that is left properly does not", async () => {
    const page = await connectBearer(installation, "wss", "acme.page:wills", bearer);
    await page.subscribe("acme/+/machine");
    const will = { topic: "acme/pi/machine", payload: Buffer.from("gone"), qos: 1, retain: false } as const;
    const polite = await connectProof(installation, "wss", pi, "acme.pi:polite", bound, signExporter, { will });
    await polite.client.endAsync();
    const broken = await connectProof(installation, "wss", pi, "acme.pi:broken", bound, signExporter, {
      will: { ...will, payload: Buffer.from("broken") },
    });
    broken.end();
    expect(await page.message()).toEqual({ topic: "acme/pi/machine", payload: "broken" });
    page.end();
  });

  it.each<[name: string, code: 4 | 5, connect: () => Promise<MqttPeer>]>([
    ["another's client id", 5, () => connectBearer(installation, "wss", "acme.pi", bearer)],
    ["a token that is none", 4, () => connectBearer(installation, "wss", "acme.page", `${bearer}x`)],
    ["a bound token as if it were a bearer's", 4, () => connectBearer(installation, "wss", "acme.pi", bound)],
    [
      "a signature over something else",
      4,
      () => connectProof(installation, "wss", pi, "acme.pi", bound, () => Buffer.alloc(64, 7)),
    ],
  ])("refuses %s", async (_name, code, connect) => {
    await expect(connect()).rejects.toMatchObject({ code });
  });

  it("takes a proof on its own connection only, be it of WebSocket or of TLS", async () => {
    let used: Buffer | undefined;
    const device = await connectProof(installation, "wss", pi, "acme.pi:first", bound, (socket, keyPem) => {
      used = signExporter(socket, keyPem);
      return used;
    });
    for (const transport of ["wss", "mqtts"] as const) {
      const replay = connectProof(installation, transport, pi, "acme.pi:second", bound, () => used!);
      await expect(replay).rejects.toMatchObject({ code: 4 });
    }
    expect(device.isClosed).toBe(false);
    device.end();
  });
});

describe("what is no MQTT over WebSocket", () => {
  it("is told that this is a place for WebSockets", async () => {
    const request = get(installation.ready.wss.replace("wss:", "https:"), { ca: readFileSync(installation.ready.ca) });
    const [response] = (await once(request, "response")) as [IncomingMessage];
    response.resume();
    expect([response.statusCode, response.headers.upgrade]).toEqual([426, "websocket"]);
  });

  it.each([[[]], [["chat"]]])("is refused with the protocols %j", async (protocols) => {
    const socket = new WebSocket(installation.ready.wss, protocols, { ca: readFileSync(installation.ready.ca) });
    const [error] = (await once(socket, "error")) as [Error];
    expect(error.message).toMatch(/Unexpected server response: 4\d\d/);
  });
});
