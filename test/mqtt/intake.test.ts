/** The way in: bytes cut at any place, packets that are too large or come too early, turns, pauses and the end of a connection. */
import { EventEmitter } from "node:events";
import type { Duplex } from "node:stream";
import mqttPacket from "mqtt-packet";
import { beforeEach, describe, expect, it } from "vitest";
import type { EngineClient } from "../../broker/mqtt/aedes-client.ts";
import { Intake } from "../../broker/mqtt/intake.ts";
import { defaultLimits } from "../../broker/mqtt/limits.ts";
import type { WireLimits } from "../../broker/mqtt/limits.ts";
import { Refusal } from "../../shared/refusal.ts";
import { duplexPair } from "./duplex-pair.ts";

const connect = (): Buffer =>
  mqttPacket.generate({
    cmd: "connect",
    clientId: "a",
    protocolId: "MQTT",
    protocolVersion: 4,
    clean: true,
    keepalive: 0,
  });
const publish = (payload: string | Buffer, topic = "t"): Buffer =>
  mqttPacket.generate({ cmd: "publish", topic, payload, qos: 0, retain: false, dup: false });

const shared = { waiting: 0 };

interface Setting {
  readonly peer: Duplex;
  readonly intake: Intake;
  /** Payloads of what was taken, or the type of other packets. */
  readonly taken: string[];
  readonly ended: unknown[];
  closed: boolean;
  /** Whether packets are finished at once. */
  isFinished: boolean;
}

function open(limits: Partial<WireLimits> = {}): Setting {
  const [conn, peer] = duplexPair();
  const client = Object.assign(new EventEmitter(), {
    conn,
    closed: false,
    _keepaliveInterval: -1,
    _keepaliveTimer: null,
  });
  const setting: { -readonly [K in keyof Setting]: Setting[K] } = {
    peer,
    taken: [],
    ended: [],
    closed: false,
    isFinished: true,
    intake: undefined as unknown as Intake,
  };
  conn.on("end", () => (setting.closed = true));
  const desk = {
    limits: { ...defaultLimits, ...limits },
    turns: shared,
    end(_client: object, error: unknown) {
      setting.ended.push(error instanceof Refusal ? error.reason : error);
      client.closed = true;
      conn.destroy();
    },
  };
  setting.intake = new Intake(client as unknown as EngineClient, desk, {
    take(frame, head) {
      setting.taken.push(head.kind === 3 ? frame.subarray(head.headBytes + 3).toString() : String(head.kind));
      return head.kind === 1 || setting.isFinished;
    },
  });
  return setting;
}

/** Lets everything that is due happen. */
async function turns(count = 5): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
}

async function enter(limits: Partial<WireLimits> = {}): Promise<Setting> {
  const setting = open(limits);
  setting.peer.write(connect());
  await turns();
  setting.intake.open();
  await turns();
  setting.taken.length = 0;
  return setting;
}

describe("before CONNACK", () => {
  it("takes CONNECT, and what came with it when CONNACK has left", async () => {
    const { peer, intake, taken } = open();
    peer.write(Buffer.concat([connect(), publish("1"), publish("2")]));
    await turns();
    expect(taken).toEqual(["1"]);
    intake.open();
    await turns();
    expect(taken).toEqual(["1", "1", "2"]);
  });

  const refused: readonly (readonly [string, Buffer, string])[] = [
    ["a packet that is no CONNECT", publish("x"), "packet.unexpected"],
    [
      "a CONNECT that will be larger than it may, when its length is there",
      Buffer.from([0x10, 0x81, 0x80, 0x01]),
      "packet.too-large",
    ],
    ["a packet of a reserved type", Buffer.from([0xf0, 0]), "packet.malformed"],
  ];
  it.each(refused)("refuses %s", async (_name, bytes, reason) => {
    const { peer, ended, taken } = open();
    peer.write(bytes);
    await turns();
    expect([ended, taken]).toEqual([[reason], []]);
  });
});

describe("after CONNACK", () => {
  let setting: Setting;
  beforeEach(async () => {
    setting = await enter();
  });

  it("puts packets together however they were cut", async () => {
    const bytes = Buffer.concat([publish("one"), publish("x".repeat(9000)), publish("three")]);
    for (let at = 0; at < bytes.length; at += 7) {
      setting.peer.write(bytes.subarray(at, at + 7));
      if (at % 700 === 0) await turns(1);
    }
    await turns();
    expect(setting.taken).toEqual(["one", "x".repeat(9000), "three"]);
  });

  it("keeps what comes behind a packet that was cut", async () => {
    const second = publish("second");
    setting.peer.write(Buffer.concat([publish("first"), second.subarray(0, 3)]));
    await turns();
    setting.peer.write(Buffer.concat([second.subarray(3), publish("third"), second.subarray(0, 1)]));
    await turns();
    setting.peer.write(second.subarray(1));
    await turns();
    expect(setting.taken).toEqual(["first", "second", "third", "second"]);
  });

  it("refuses a second CONNECT", async () => {
    setting.peer.write(connect());
    await turns();
    expect(setting.ended).toEqual(["packet.unexpected"]);
  });

  it("refuses a packet that will be larger than it may, and keeps nothing of it", async () => {
    setting.peer.write(Buffer.concat([publish("last"), Buffer.from([0x30, 0x81, 0x80, 0x10])]));
    await turns();
    expect([setting.taken, setting.ended]).toEqual([["last"], ["packet.too-large"]]);
  });

  it("hands on a bounded number in a turn, and all of them in the end", async () => {
    setting.peer.write(Buffer.concat(Array.from({ length: 1000 }, (_, n) => publish(String(n)))));
    await turns(1);
    const first = setting.taken.length;
    await turns(20);
    expect([first > 0 && first < 300, setting.taken]).toEqual([
      true,
      Array.from({ length: 1000 }, (_, n) => String(n)),
    ]);
  });

  it("takes everything that was sent before the end of the connection, and then sees the end", async () => {
    setting.peer.end(Buffer.concat(Array.from({ length: 600 }, (_, n) => publish(String(n)))));
    await turns(2);
    expect([setting.taken.length < 600, setting.closed]).toEqual([true, false]);
    await turns(20);
    expect([setting.taken.length, setting.closed]).toEqual([600, true]);
  });

  it("reads no further while too much is unfinished", async () => {
    setting.isFinished = false;
    setting.peer.write(Buffer.concat(Array.from({ length: 1500 }, (_, n) => publish(String(n)))));
    await turns(30);
    expect(setting.taken).toHaveLength(1000);
    for (let n = 0; n < 1000; n++) setting.intake.finished();
    await turns(30);
    expect(setting.taken).toHaveLength(1500);
  });

  it("takes nothing while it is held, and goes on when it is released", async () => {
    setting.intake.hold();
    setting.intake.hold();
    setting.peer.write(publish("held"));
    await turns();
    setting.intake.release();
    await turns();
    expect(setting.taken).toEqual([]);
    setting.intake.release();
    await turns();
    expect(setting.taken).toEqual(["held"]);
  });
});

it("reads no faster than so many packets a second", async () => {
  const setting = await enter({ packetsPerSecond: 50 });
  setting.peer.write(Buffer.concat(Array.from({ length: 200 }, (_, n) => publish(String(n)))));
  await turns(20);
  expect([setting.taken.length >= 49, setting.taken.length <= 100, setting.ended]).toEqual([true, true, []]);
});

describe("many who send at once", () => {
  it("share a turn, so that each has less of it", async () => {
    const settings = await Promise.all(Array.from({ length: 20 }, () => enter()));
    const flood = Buffer.concat(Array.from({ length: 300 }, (_, n) => publish(String(n))));
    for (const { peer } of settings) peer.write(flood);
    await turns(4);
    const counts = settings.map(({ taken }) => taken.length);
    expect([Math.min(...counts) > 0, Math.max(...counts) < 300]).toEqual([true, true]);
    await turns(60);
    expect(settings.map(({ taken }) => taken.length)).toEqual(settings.map(() => 300));
    expect(shared.waiting).toBe(0);
  });
});
