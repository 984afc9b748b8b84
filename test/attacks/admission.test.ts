/** What a CONNECT may try: ids, protocol levels, TLS sessions, certificates and log lines. */
import { connect as connectTls } from "node:tls";
import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import mqttPacket from "mqtt-packet";
import { readPublicKey } from "../../shared/cose-key.ts";
import { AUDIENCE, openFixture, userName } from "../gate/fixture.ts";
import type { Fixture } from "../gate/fixture.ts";

let f: Fixture;
beforeAll(async () => {
  f = await openFixture();
});
afterAll(() => f.close());

describe("a refused CONNECT", () => {
  it("writes one short log line, however long its client id is", async () => {
    const wire = await f.open();
    const before = f.log.length;
    const connack = await wire.connect({ clientId: "x".repeat(15_000), username: "ace", password: Buffer.alloc(64) });
    expect(connack.returnCode).not.toBe(0);
    await wire.closed;
    const lines = f.log.slice(before).filter((line) => line.msg === "refused");
    expect(lines).toHaveLength(1);
    expect(JSON.stringify(lines[0]).length).toBeLessThan(1000);
  });

  it("writes one short log line, however long the key id of its token is", async () => {
    const device = f.device();
    const wire = await f.open();
    const before = f.log.length;
    const kid = { ...f.signer, kid: "k".repeat(3000) };
    await wire.connect({
      clientId: device.id,
      username: userName(f.cwt(device.id, { signer: kid })),
      password: Buffer.alloc(64),
    });
    await wire.closed;
    const line = f.log.slice(before).find((candidate) => candidate.msg === "refused");
    expect(line?.reason).toBe("token.key-unknown");
    expect(JSON.stringify(line).length).toBeLessThan(1000);
  });

  it("publishes no will", async () => {
    const witness = await f.enter(f.device(), { allow: ["pubsub:#"] });
    await witness.subscribe(["#"]);
    const device = f.device();
    const wire = await f.open();
    const cnf = { kind: "key", key: readPublicKey(device.privateKey) } as const;
    const connack = await wire.connect({
      clientId: device.id,
      username: userName(f.cwt(device.id, { cnf, allow: ["pub:w/#"] })),
      password: Buffer.alloc(64, 1),
      will: { topic: "w/1", payload: Buffer.from("x"), qos: 1, retain: true },
    });
    expect(connack.returnCode).toBe(4);
    await wire.closed;
    await witness.publish("end");
    expect((await witness.message()).topic).toBe("end");
    await witness.leave();
  });
});

describe("a bridge's protocol level", () => {
  it.each([0x83, 0x84])("0x%s gives nothing that a client's does not", async (level) => {
    const device = f.device();
    const wire = await f.open();
    const cnf = { kind: "key", key: readPublicKey(device.privateKey) } as const;
    const bytes = mqttPacket.generate({
      cmd: "connect",
      protocolId: level === 0x83 ? "MQIsdp" : "MQTT",
      protocolVersion: level === 0x83 ? 3 : 4,
      clean: true,
      clientId: device.id,
      keepalive: 0,
      username: userName(f.cwt(device.id, { cnf, allow: ["sub:b/1"] })),
      password: wire.prove(device.privateKey),
    });
    const at = bytes.indexOf(level === 0x83 ? "MQIsdp" : "MQTT") + (level === 0x83 ? 6 : 4);
    bytes[at] = level;
    wire.sendBytes(bytes);
    const connack = await wire.next<{ cmd: "connack"; returnCode: number } & mqttPacket.IConnackPacket>("connack");
    const granted = connack.returnCode === 0 ? await wire.subscribe(["#", "b/1", "$SYS/#"]) : [128, 0, 128];
    expect(granted).toEqual([128, 0, 128]);
    wire.drop();
  });
});

describe("a resumed TLS session", () => {
  it("stands for the certificate of the first, and dies with its client", async () => {
    const device = f.device();
    f.trust.learnClient({
      id: device.id,
      enabled: true,
      grants: [{ audience: AUDIENCE, grants: [{ filter: "x", pub: true, sub: true }] }],
    });
    const { cert, key } = await f.certificate(device);
    const dial = async (session?: Buffer) => {
      const socket = connectTls({
        port: f.engine.mqttsPort!,
        host: "localhost",
        servername: "localhost",
        ca: f.authority.cert,
        ...(session === undefined ? { cert, key } : { session }),
      });
      let ticket: Buffer | undefined;
      socket.on("session", (given: Buffer) => (ticket = given));
      socket.on("error", () => {});
      await once(socket, "secureConnect");
      socket.write(
        mqttPacket.generate({
          cmd: "connect",
          protocolId: "MQTT",
          protocolVersion: 4,
          clean: true,
          clientId: device.id,
          keepalive: 0,
        }),
      );
      const [answer] = (await once(socket, "data")) as [Buffer];
      return { code: answer[3], ticket, reused: socket.isSessionReused(), socket };
    };
    const first = await dial();
    expect(first.code).toBe(0);
    first.socket.destroy();
    const again = await dial(first.ticket);
    expect([again.reused, again.code]).toEqual([true, 0]);
    again.socket.destroy();
    f.trust.learnClient({ id: device.id, enabled: false, grants: [] });
    const late = await dial(first.ticket);
    expect(late.code).not.toBe(0);
    late.socket.destroy();
  });
});

describe("a certificate that is no device's", () => {
  it("of the authority itself, or of the server, is refused", async () => {
    const server = await f.authority.server();
    for (const { cert, key } of [f.authority, server]) {
      const wire = await f.open({ cert, key });
      expect((await wire.connect({ clientId: "acme.x" })).returnCode).toBe(5);
    }
  });
});
