/** PUBLISH and its acknowledgements: what is stored before what is said, in which order, and for whom nothing happens. */
import { EventEmitter } from "node:events";
import mqttPacket from "mqtt-packet";
import type { Packet } from "mqtt-packet";
import { beforeEach, describe, expect, it } from "vitest";
import type { EngineBroker, EngineClient } from "../../broker/mqtt/aedes-client.ts";
import type { DurableStore } from "../../broker/mqtt/durable.ts";
import { Exchange } from "../../broker/mqtt/exchange.ts";
import { readFrameHead } from "../../broker/mqtt/frame.ts";
import type { Intake } from "../../broker/mqtt/intake.ts";
import { defaultLimits } from "../../broker/mqtt/limits.ts";
import type { Message } from "../../broker/mqtt/message.ts";
import { noMeter } from "../../broker/mqtt/meter.ts";
import type { Outbound } from "../../broker/mqtt/outbound.ts";
import { Refusal } from "../../shared/refusal.ts";

/** What happens, in order, in words. */
let events: string[];
let receipts: Set<number>;
/** Whether the store has to write for a message. */
let isWritten: boolean;
/** What waits for the disk. */
let waiting: ((error?: Error) => void)[];
/** Answers of the emitter that are outstanding; empty as long as it answers at once. */
let routing: (() => void)[] | undefined;
let authorize: (packet: Message, done: (error?: Error | null) => void) => void;
let client: EngineClient & { closed: boolean };

function open(clean = true, limits = {}): (packet: Packet) => boolean {
  const broker = Object.assign(new EventEmitter(), {
    id: "b",
    counter: 0,
    closed: false,
    authorizePublish: (_client: object, packet: Message, done: () => void) => authorize(packet, done),
    published() {},
    mq: {
      emit(message: Message, done: () => void) {
        events.push(`route ${message.payload.toString()}`);
        if (routing === undefined) done();
        else routing.push(done);
      },
    },
  }) as unknown as EngineBroker;
  const store = {
    retain: (message: Message) => void events.push(`retain ${message.payload.toString()}`),
    accept(message: Message, receipt?: { messageId: number }) {
      events.push(`store ${message.payload.toString()}${receipt === undefined ? "" : ` with ${receipt.messageId}`}`);
      if (receipt !== undefined) receipts.add(receipt.messageId);
      return isWritten || receipt !== undefined;
    },
    whenDurable(done: (error?: Error) => void) {
      waiting.push(done);
    },
    hasReceipt: ({ messageId }: { messageId: number }) => receipts.has(messageId),
    countReceipts: () => receipts.size,
    removeReceipt: ({ messageId }: { messageId: number }) => void receipts.delete(messageId),
  } as unknown as DurableStore;
  client = Object.assign(new EventEmitter(), {
    id: "acme.a",
    clean,
    closed: false,
    broker,
  }) as unknown as typeof client;
  client.on("error", (error: Error) => events.push(`close: ${error.message}`));
  const intake = {
    client,
    finished: () => void events.push("finished"),
    hold: () => void events.push("hold"),
    release: () => void events.push("release"),
  } as unknown as Intake;
  const outbound = {
    write(bytes: Buffer) {
      const head = readFrameHead(bytes, 0)!;
      events.push(`${["", "", "", "", "puback", "pubrec", "pubrel", "pubcomp"][head.kind]} ${bytes.readUInt16BE(2)}`);
    },
  } as unknown as Outbound;
  const end = (_client: object, error: unknown): void => {
    events.push(`end: ${error instanceof Refusal ? error.message : String(error)}`);
  };
  const desk = { broker, store, limits: { ...defaultLimits, ...limits }, meter: noMeter, end };
  const exchange = new Exchange(desk, intake, outbound);
  return (packet) => {
    const frame = mqttPacket.generate(packet);
    return exchange.take(frame, readFrameHead(frame, 0)!);
  };
}

const publish = (payload: string, qos: 0 | 1 | 2, messageId?: number, change = {}): Packet =>
  ({ cmd: "publish", topic: "t", payload, qos, retain: false, dup: false, messageId, ...change }) satisfies Packet;

/** The disk has everything. */
function settle(error?: Error): void {
  for (const done of waiting.splice(0)) done(error);
}

beforeEach(() => {
  events = [];
  receipts = new Set();
  isWritten = true;
  waiting = [];
  routing = undefined;
  authorize = (_packet, done) => done();
});

describe("QoS 0", () => {
  it("is routed, and finished", () => {
    const take = open();
    expect(take(publish("m", 0))).toBe(true);
    expect(events).toEqual(["route m"]);
  });

  it("is retained where it says so", () => {
    open()(publish("m", 0, undefined, { retain: true }));
    expect(events).toEqual(["retain m", "route m"]);
  });
});

describe("QoS 1", () => {
  it("is acknowledged when it is on disk, and then routed", () => {
    const take = open();
    expect(take(publish("m", 1, 5))).toBe(false);
    expect(events).toEqual(["store m"]);
    settle();
    expect(events).toEqual(["store m", "puback 5", "route m", "finished"]);
  });

  it("is acknowledged at once when nothing had to be stored", () => {
    isWritten = false;
    expect(open()(publish("m", 1, 5))).toBe(true);
    expect(events).toEqual(["store m", "puback 5", "route m"]);
  });

  it("keeps its order, also where only the first had to be stored", () => {
    const take = open();
    take(publish("1", 1, 1));
    isWritten = false;
    expect(take(publish("2", 1, 2))).toBe(false);
    settle();
    expect(events.filter((event) => event !== "finished")).toEqual([
      "store 1",
      "store 2",
      "puback 1",
      "route 1",
      "puback 2",
      "route 2",
    ]);
  });

  it("is not acknowledged and goes nowhere when it could not be stored", () => {
    open()(publish("m", 1, 5));
    settle(new Error("disk full"));
    expect(events).toEqual(["store m", "end: internal: not stored: disk full", "finished"]);
  });
});

describe("QoS 2", () => {
  it.each([
    [true, "store m"],
    [false, "store m with 5"],
  ])("is routed once however often it is sent (clean session: %s)", (clean, stored) => {
    const take = open(clean);
    take(publish("m", 2, 5));
    take(publish("m", 2, 5, { dup: true }));
    settle();
    take({ cmd: "pubrel", messageId: 5 });
    settle();
    const said = events.filter((event) => event !== "finished");
    expect(said).toEqual([stored, "pubrec 5", "route m", "pubrec 5", "pubcomp 5"]);
    take(publish("again", 2, 5));
    settle();
    expect(events.filter((event) => event.startsWith("route"))).toEqual(["route m", "route again"]);
  });

  it("says PUBCOMP when the release is on disk", () => {
    const take = open(false);
    take(publish("m", 2, 5));
    settle();
    events.length = 0;
    take({ cmd: "pubrel", messageId: 5 });
    expect(events).toEqual([]);
    settle();
    expect(events).toEqual(["pubcomp 5", "finished"]);
  });

  it("answers PUBREL for what is not known", () => {
    open(false)({ cmd: "pubrel", messageId: 9 });
    expect(events).toEqual(["pubcomp 9"]);
  });

  it.each([true, false])("has so many that are not released and no more (clean session: %s)", (clean) => {
    const take = open(clean, { receipts: 2 });
    for (const id of [1, 2, 1]) take(publish("m", 2, id));
    settle();
    events.length = 0;
    take(publish("m", 2, 3));
    expect(events).toEqual(["end: limit.reached: messages of QoS 2 that are not released"]);
  });
});

describe("whoever may not publish", () => {
  it("is closed, and nothing is stored, acknowledged or routed", () => {
    authorize = (_packet, done) => done(new Error("no"));
    for (const qos of [0, 1, 2] as const) open()(publish("m", qos, 5));
    settle();
    expect(events).toEqual(["close: no", "close: no", "close: no"]);
  });

  it("publishes nothing when it was closed while that was decided", () => {
    let decide = (): void => {};
    authorize = (_packet, done) => (decide = () => done());
    const take = open();
    expect(take(publish("m", 1, 5))).toBe(false);
    client.closed = true;
    decide();
    settle();
    expect(events).toEqual(["finished"]);
  });

  it("publishes when the decision comes late and is yes", () => {
    let decide = (): void => {};
    authorize = (_packet, done) => (decide = () => done());
    expect(open()(publish("m", 0))).toBe(false);
    decide();
    expect(events).toEqual(["route m", "finished"]);
  });
});

it("holds the client while a reader of its message does not keep up", () => {
  routing = [];
  const take = open();
  expect(take(publish("m", 0))).toBe(true);
  expect(events).toEqual(["route m", "hold"]);
  routing[0]!();
  expect(events).toEqual(["route m", "hold", "release"]);
});
