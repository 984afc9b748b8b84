/** The engine room: its doors, a stock client at each of them, and its end. */
import { once } from "node:events";
import { connect as connectTcp } from "node:net";
import { connect as connectTls } from "node:tls";
import { connectAsync } from "mqtt";
import { pino } from "pino";
import type { IClientOptions } from "mqtt";
import { afterAll, beforeAll, expect, it } from "vitest";
import { WebSocket } from "ws";
import { startEngine } from "../../broker/mqtt/engine.ts";
import { openGate } from "../../broker/gate/hooks.ts";
import { createMemoryTrust } from "../../broker/trust/memory-trust.ts";
import { BEARER_AUDIENCE, openFixture } from "../gate/fixture.ts";
import type { Fixture } from "../gate/fixture.ts";

let f: Fixture;
beforeAll(async () => {
  f = await openFixture();
});
afterAll(() => f.close());

it.each([
  ["mqtts", 4],
  ["wss", 4],
  ["wss", 3],
  ["mqtt", 4],
] as const)("serves a stock client over %s, protocol level %i", async (protocol, protocolVersion) => {
  const { id } = f.device();
  const { mqttsPort, wssPort, mqttPort } = f.engine;
  const port = { mqtts: mqttsPort, wss: wssPort, mqtt: mqttPort }[protocol]!;
  const host = protocol === "mqtt" ? "127.0.0.1" : "localhost";
  const options: IClientOptions = {
    clientId: id,
    username: "x",
    password: f.jwt(id, { aud: BEARER_AUDIENCE, allow: ["pubsub:e/#"] }),
    ca: f.authority.cert,
    reconnectPeriod: 0,
    protocolVersion,
    protocolId: protocolVersion === 3 ? "MQIsdp" : "MQTT",
  };
  const client = await connectAsync(`${protocol}://${host}:${port}`, options);
  const message = new Promise<string>((resolve) =>
    client.once("message", (_topic, payload) => resolve(String(payload))),
  );
  await client.subscribeAsync("e/+", { qos: 1 });
  await client.publishAsync("e/1", "hello", { qos: 2 });
  expect(await message).toBe("hello");
  await client.endAsync();
});

it("answers MQTT 5 with the code for an unknown version", async () => {
  const wire = await f.open();
  wire.sendBytes(Buffer.from("100d00044d51545405020000000000", "hex"));
  expect(await wire.next("connack")).toMatchObject({ returnCode: 1 });
  await wire.closed;
});

it("does not serve a WebSocket of another protocol, or a web page", async () => {
  const options = { ca: f.authority.cert, servername: "localhost" };
  for (const protocol of [undefined, "chat"]) {
    const socket = new WebSocket(
      `wss://localhost:${f.engine.wssPort}`,
      protocol === undefined ? [] : [protocol],
      options,
    );
    await expect(once(socket, "open")).rejects.toThrow("Unexpected server response: 401");
  }
  const tls = connectTls({ port: f.engine.wssPort!, host: "localhost", ...options });
  tls.end("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
  const [answer] = (await once(tls, "data")) as [Buffer];
  expect(answer.toString()).toMatch(/^HTTP\/1.1 426/);
});

it("speaks no TLS older than 1.2", async () => {
  const options = {
    host: "localhost",
    ca: f.authority.cert,
    maxVersion: "TLSv1.1",
    minVersion: "TLSv1",
    ciphers: "ALL@SECLEVEL=0",
  } as const;
  await expect(once(connectTls({ port: f.engine.mqttsPort!, ...options }), "secureConnect")).rejects.toThrow(
    /protocol|alert|ssl/i,
  );
});

it("closes what fails its handshake, and stays up for others", async () => {
  for (const port of [f.engine.mqttsPort!, f.engine.wssPort!]) {
    const socket = connectTcp(port, "localhost");
    socket.on("error", () => {});
    socket.write("this is not a handshake at all");
    socket.resume();
    await once(socket, "close");
  }
  await expect((await f.enter(f.device())).settled()).resolves.toBeUndefined();
});

it("closes who says nothing, before the handshake, before the upgrade and before CONNECT", async () => {
  const gate = openGate({ trust: f.trust });
  const server = await f.authority.server();
  const ports = { mqttsPort: 0, wssPort: 0, mqttPort: 0 };
  const engine = await startEngine({
    gate,
    tls: server,
    host: "localhost",
    ...ports,
    limits: { connectMilliseconds: 50 },
  });
  const silent = [engine.mqttsPort!, engine.wssPort!].map((port) => connectTcp(port, "localhost"));
  silent.push(connectTcp(engine.mqttPort!, "127.0.0.1"));
  for (const port of [engine.mqttsPort!, engine.wssPort!]) {
    silent.push(connectTls({ port, host: "localhost", ca: f.authority.cert }));
  }
  for (const socket of silent) socket.on("error", () => {}).resume();
  // one that is cut within its handshake has an error before that
  await Promise.all(silent.map((socket) => new Promise((resolve) => socket.once("close", resolve))));
  expect(silent.every((socket) => socket.destroyed)).toBe(true);
  await engine.close();
  gate.close();
});

it("stays up for bytes that are not MQTT", async () => {
  for (const transport of ["tls", "wss", "tcp"] as const) {
    for (const hex of ["ffffffffff", "1000", "100600044d515454", "c000", "82ff", "f000"]) {
      const wire = await f.open({ transport });
      wire.sendBytes(Buffer.from(hex, "hex"));
      wire.drop();
      await wire.closed;
    }
  }
  await expect((await f.enter(f.device())).settled()).resolves.toBeUndefined();
});

it("uses a renewed certificate for new connections and keeps the old ones", async () => {
  const wire = await f.enter(f.device());
  const serverSerial = async (port: number): Promise<string> => {
    const socket = connectTls({ port, host: "localhost", ca: f.authority.cert });
    await once(socket, "secureConnect");
    const serial = socket.getPeerX509Certificate()?.serialNumber ?? "";
    socket.destroy();
    return serial;
  };
  const renewed = await f.authority.server();
  f.engine.renewTls({ cert: renewed.cert, key: renewed.key, ca: f.authority.cert });
  for (const port of [f.engine.mqttsPort!, f.engine.wssPort!]) {
    expect(await serverSerial(port)).toBe(renewed.x509.serialNumber);
  }
  await expect(wire.settled()).resolves.toBeUndefined();
});

it("takes no certificate alone where nobody told it of roles", async () => {
  const reasons: unknown[] = [];
  const log = pino({}, { write: (line) => void reasons.push((JSON.parse(line) as { reason?: unknown }).reason) });
  const { issuer, deviceAuthorities } = f.trust;
  const gate = openGate({ trust: createMemoryTrust({ issuer, deviceAuthorities, knowsClients: false }), log });
  const server = await f.authority.server();
  const engine = await startEngine({ gate, tls: server, host: "localhost", mqttsPort: 0 });
  const device = f.device();
  const certificate = await f.certificate(device);
  const wire = await f.open({ port: engine.mqttsPort!, ...certificate });
  const connack = await wire.connect({ clientId: device.id });
  expect([connack.returnCode, reasons]).toEqual([5, ["client.grants"]]);
  await engine.close();
  gate.close();
});

it("opens all of its doors or none", async () => {
  const gate = openGate({ trust: f.trust });
  const server = await f.authority.server();
  const options = { gate, tls: server, host: "localhost", mqttsPort: 0, wssPort: f.engine.mqttsPort! };
  await expect(startEngine(options)).rejects.toThrow("EADDRINUSE");
  gate.close();
});

it("binds plain MQTT to the loopback address, and only when asked", async () => {
  const gate = openGate({ trust: f.trust });
  const server = await f.authority.server();
  const engine = await startEngine({ gate, tls: server, mqttsPort: 0 });
  expect([engine.wssPort, engine.mqttPort]).toEqual([null, null]);
  await engine.close();
  gate.close();
});

it("ends every connection when it closes", async () => {
  const own = await openFixture();
  const wires = [await own.enter(own.device()), await own.open({ transport: "wss" }), await own.open()];
  await own.engine.close();
  await Promise.all(wires.map((wire) => wire.closed));
  expect(wires.every((wire) => wire.isClosed)).toBe(true);
  await own.close();
});
