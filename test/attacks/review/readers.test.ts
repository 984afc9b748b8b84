/** Clients that do not read, or not at once, what they asked for: what waits for them is bounded, and they keep what is theirs. */
import { EventEmitter } from "node:events";
import { Duplex } from "node:stream";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import mqttPacket from "mqtt-packet";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import type { EngineClient } from "../../../broker/mqtt/aedes-client.ts";
import { defaultLimits } from "../../../broker/mqtt/limits.ts";
import { noMeter } from "../../../broker/mqtt/meter.ts";
import { Outbound } from "../../../broker/mqtt/outbound.ts";
import { openGround, patienceMs, turns, type Ground } from "./ground.ts";

const publish = (topic: string, qos: 0 | 1 | 2, messageId?: number): Buffer =>
  mqttPacket.generate({
    cmd: "publish",
    topic,
    payload: "",
    qos,
    dup: false,
    retain: false,
    ...(messageId !== undefined && { messageId }),
  });

/** Has the memory that nobody uses any more given back. */
const collect = ((): (() => void) => {
  setFlagsFromString("--expose-gc");
  return runInNewContext("gc") as () => void;
})();

/** Has nothing of what is written to a client leave. */
function block(ground: Ground, id: string): EngineClient {
  const client = ground.broker.clients[id]!;
  Object.assign(client.conn, { _write: () => undefined, _writev: () => undefined });
  return client;
}

it("acknowledgements that nobody reads are not piled up without end", async () => {
  const ground = await openGround({ limits: { packetsPerSecond: 1_000_000 } });
  const wire = await ground.enter("acme.a");
  const { conn } = block(ground, "acme.a");
  const frames = Buffer.concat(Array.from({ length: 1000 }, (_, index) => publish("t", 1, index + 1)));
  let written = 0;
  while (written < 40_000 && !wire.isClosed) {
    wire.sendBytes(frames);
    written += 1000;
    await turns(60);
  }
  // PUBACK has four bytes, and what is written waits from this mark on
  expect((conn.writableLength - conn.writableHighWaterMark) / 4).toBeLessThan(2000);
});

it("a client that asks for retained messages again and again, and acknowledges none, has few of them in memory", async () => {
  const ground = await openGround();
  const publisher = await ground.enter("acme.publisher");
  const bytes = 100_000;
  for (let topic = 0; topic < 12; topic++) {
    await publisher.publish(`t/${topic}`, Buffer.alloc(bytes), { qos: 1, retain: true });
  }
  const reader = await ground.enter("acme.reader");
  collect();
  const before = process.memoryUsage().arrayBuffers;
  for (let asked = 0; asked < 100; asked++) await reader.subscribe(["t/#"], 1);
  await turns(100);
  // what is collected is given back on another thread, and may still be counted for a while
  await vi.waitFor(() => {
    const read = reader.all("publish").length * bytes;
    collect();
    const held = process.memoryUsage().arrayBuffers - before - read;
    expect(held / bytes).toBeLessThan(400);
  }, patienceMs);
});

it("a reader that is behind loses messages of QoS 0 and stays, until it has read nothing for long", async () => {
  const dropped: string[] = [];
  const ground = await openGround({
    limits: { sendBytes: 100_000, holdMilliseconds: 1 },
    dropped: (why) => dropped.push(why),
  });
  const reader = await ground.enter("acme.reader");
  await reader.subscribe(["t"]);
  const { closed } = block(ground, "acme.reader");
  expect(closed).toBe(false);
  const publisher = await ground.enter("acme.publisher");
  while (dropped.length < 5) {
    await publisher.publish("t", Buffer.alloc(50_000));
    await publisher.settled();
  }
  expect(ground.broker.clients["acme.reader"]?.closed).toBe(false);
});

describe("a client whose answers wait to be read", () => {
  function open(): { outbound: Outbound; ended: number; readSome(): void } {
    let left: (() => void) | undefined;
    const conn = new Duplex({ read() {}, write: (_chunk, _encoding, done) => void (left = done) });
    const client = Object.assign(new EventEmitter(), { id: "acme.a", conn, closed: false, subscriptions: {} });
    const opened = {
      ended: 0,
      outbound: new Outbound(client as unknown as EngineClient, {
        limits: { ...defaultLimits, stallMilliseconds: 1000 },
        meter: noMeter,
        isRefused: () => false,
        end: () => void opened.ended++,
      }),
      readSome() {
        left?.();
      },
    };
    for (let n = 0; n < 10; n++) conn.write(Buffer.alloc(10_000));
    return opened;
  }

  it("is waited for as long as it reads a little, and no longer", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    onTestFinished(() => void vi.useRealTimers());
    const opened = open();
    let hasLeft = false;
    opened.outbound.whenLeft(() => (hasLeft = true));
    for (let n = 0; n < 5; n++) {
      opened.readSome();
      await turns();
      vi.advanceTimersByTime(1000);
    }
    expect([opened.ended, hasLeft]).toEqual([0, false]);
    vi.advanceTimersByTime(1000);
    expect(opened.ended).toBe(1);
  });

  it("goes on when they have left", async () => {
    const opened = open();
    const left = new Promise<void>((resolve) => opened.outbound.whenLeft(resolve));
    for (let n = 0; n < 11; n++) {
      opened.readSome();
      await turns();
    }
    await left;
    expect(opened.ended).toBe(0);
  });
});

it("a client that asks for more retained messages than it will ever take is disconnected", async () => {
  const ground = await openGround({ limits: { window: 1, waitingMessages: 2 } });
  const publisher = await ground.enter("acme.publisher");
  for (let topic = 0; topic < 3; topic++) await publisher.publish(`t/${topic}`, "x", { qos: 1, retain: true });
  const reader = await ground.enter("acme.reader");
  const subscribe = mqttPacket.generate({
    cmd: "subscribe",
    messageId: 1,
    subscriptions: Array.from({ length: 900 }, (_, n) => ({ topic: n === 0 ? "t/#" : `n/${n}`, qos: 1 as const })),
  });
  reader.sendBytes(Buffer.concat(Array.from({ length: 20 }, () => subscribe)));
  await reader.closed;
  expect(ground.log.some(({ reason, detail }) => reason === "limit.reached" && /retained/.test(detail ?? ""))).toBe(
    true,
  );
});
