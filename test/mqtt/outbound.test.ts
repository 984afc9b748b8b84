/** The way out: window, waiting, slow readers, stored queues, and what a client gets when several of its filters match. */
import { EventEmitter } from "node:events";
import { Duplex } from "node:stream";
import mqttPacket from "mqtt-packet";
import type { IPublishPacket, Packet } from "mqtt-packet";
import { afterEach, describe, expect, it, vi } from "vitest";
import type { EngineClient } from "../../broker/mqtt/aedes-client.ts";
import type { DurableStore, Entry, SessionQueue } from "../../broker/mqtt/durable.ts";
import { defaultLimits } from "../../broker/mqtt/limits.ts";
import type { DeliveryLimits } from "../../broker/mqtt/limits.ts";
import { notTaken } from "../../broker/mqtt/message.ts";
import type { Message } from "../../broker/mqtt/message.ts";
import { noMeter } from "../../broker/mqtt/meter.ts";
import type { Drop } from "../../broker/mqtt/meter.ts";
import { Outbound } from "../../broker/mqtt/outbound.ts";
import type { Refusal } from "../../shared/refusal.ts";

/** A connection whose reader reads when it is told to. */
class Peer extends Duplex {
  isReading = true;
  readonly got: Packet[] = [];
  #blocked: (() => void) | undefined;
  readonly #parser = mqttPacket.parser();

  constructor() {
    super({ writableHighWaterMark: 64 });
    this.#parser.on("packet", (packet: Packet) => this.got.push(packet));
  }
  override _read(): void {}
  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.#parser.parse(chunk);
    if (this.isReading) done();
    else this.#blocked = done;
  }
  readOn(): void {
    this.isReading = true;
    const blocked = this.#blocked;
    this.#blocked = undefined;
    blocked?.();
  }
  get messages(): string[] {
    return this.got
      .filter((packet) => packet.cmd === "publish")
      .map(({ qos, topic, payload, dup, retain }: IPublishPacket) =>
        [topic, payload.toString(), qos, ...(dup ? ["dup"] : []), ...(retain ? ["retain"] : [])].join(" "),
      );
  }
  idOf(index: number): number {
    return (this.got.filter((packet) => packet.cmd === "publish")[index] as IPublishPacket).messageId!;
  }
}

interface Setting {
  readonly peer: Peer;
  readonly outbound: Outbound;
  readonly client: EngineClient;
  readonly dropped: Drop[];
  readonly ended: string[];
  /** Topics that delivery is refused for. */
  readonly refused: Set<string>;
  readonly subscribe: (filter: string, qos: 0 | 1 | 2) => void;
  /** Delivers; says what `done` was given, or "held" as long as it was not called. */
  readonly deliver: (
    topic: string,
    qos: 0 | 1 | 2,
    payload?: string | Buffer,
    change?: Partial<Message>,
  ) => { outcome: unknown };
}

let counter = 0;

function open(limits: Partial<DeliveryLimits> = {}, clean = true): Setting {
  const peer = new Peer();
  const dropped: Drop[] = [];
  const ended: string[] = [];
  const refused = new Set<string>();
  const client = Object.assign(new EventEmitter(), {
    id: "acme.a",
    clean,
    conn: peer,
    closed: false,
    connackSent: true,
    subscriptions: {},
    broker: {
      id: "b",
      authorizeForward: (_client: object, message: Message) => (refused.has(message.topic) ? null : message),
    },
  }) as unknown as EngineClient;
  const outbound = new Outbound(client, {
    limits: { ...defaultLimits, ...limits },
    meter: { ...noMeter, dropped: (why) => dropped.push(why) },
    isRefused: (_client, topic) => refused.has(topic),
    end: (_client, error) => ended.push((error as Refusal).detail),
  });
  return {
    peer,
    outbound,
    client,
    dropped,
    ended,
    refused,
    subscribe(filter, qos) {
      client.subscriptions[filter] = { qos, func: () => {} };
    },
    deliver(topic, qos, payload = "x", change = {}) {
      const result = { outcome: "held" as unknown };
      const routed = { brokerId: "b", brokerCounter: ++counter };
      const message: Message = { cmd: "publish", topic, payload: Buffer.from(payload), qos, retain: false, dup: false };
      outbound.deliver({ ...message, ...routed, ...change }, (outcome) => (result.outcome = outcome));
      return result;
    },
  };
}

async function turns(count = 3): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
}

afterEach(() => {
  vi.useRealTimers();
});

describe("the QoS of a delivery", () => {
  const cases: readonly (readonly [string, Record<string, 0 | 1 | 2>, 0 | 1 | 2, string])[] = [
    ["its own where the subscription has more", { "a/#": 2 }, 1, "a/b x 1"],
    ["the subscription's where that has less, also of a wildcard", { "a/#": 1 }, 2, "a/b x 1"],
    ["the highest of those that match", { "a/#": 0, "a/+": 2, "z/#": 2 }, 2, "a/b x 2"],
    ["not that of a filter that does not match", { "a/#": 0, "z/#": 2 }, 2, "a/b x 0"],
    ["that of a shared subscription, by the filter behind", { "$share/g/a/+": 1, "z/#": 0 }, 2, "a/b x 1"],
    ["0 of a message of QoS 0", { "a/#": 2 }, 0, "a/b x 0"],
  ];
  it.each(cases)("is %s", async (_name, subscriptions, qos, expected) => {
    const { peer, subscribe, deliver } = open();
    for (const [filter, granted] of Object.entries(subscriptions)) subscribe(filter, granted);
    deliver("a/b", qos);
    await turns();
    expect(peer.messages).toEqual([expected]);
  });

  it("follows a subscription that is changed or given up", async () => {
    const { peer, client, subscribe, deliver } = open();
    subscribe("a/#", 2);
    subscribe("a/#", 1);
    deliver("a/b", 2, "changed");
    subscribe("a/+", 0);
    delete client.subscriptions["a/#"];
    deliver("a/b", 2, "given up");
    await turns();
    expect(peer.messages).toEqual(["a/b changed 1", "a/b given up 0"]);
  });
});

it("delivers a message that several filters match once", async () => {
  const { peer, subscribe, deliver } = open();
  subscribe("a/#", 1);
  deliver("a/b", 1, "x", { brokerCounter: 7 });
  deliver("a/b", 1, "x", { brokerCounter: 7 });
  deliver("a/b", 1, "x", { brokerCounter: 8 });
  await turns();
  expect(peer.messages).toHaveLength(2);
});

it("delivers nothing that is refused, and says that it was not taken", async () => {
  const { peer, refused, subscribe, deliver } = open();
  subscribe("a/#", 1);
  refused.add("a/no");
  expect([deliver("a/no", 0).outcome, deliver("a/no", 1).outcome, deliver("a/yes", 1).outcome]).toEqual([
    notTaken,
    notTaken,
    undefined,
  ]);
  await turns();
  expect(peer.messages).toEqual(["a/yes x 1"]);
});

describe("QoS 1 and 2", () => {
  it("has at most a window of them unacknowledged, and sends the next with each acknowledgement, in order", async () => {
    const { peer, outbound, subscribe, deliver } = open({ window: 2 });
    subscribe("#", 2);
    for (const text of ["1", "2", "3", "4"]) deliver("a", 1, text);
    await turns();
    expect(peer.messages).toEqual(["a 1 1", "a 2 1"]);
    outbound.acknowledged(peer.idOf(0));
    await turns();
    expect(peer.messages).toEqual(["a 1 1", "a 2 1", "a 3 1"]);
    outbound.acknowledged(peer.idOf(0)); // again, which says nothing
    outbound.completed(peer.idOf(1)); // not what ends QoS 1
    await turns();
    expect(peer.messages).toHaveLength(3);
  });

  it("asks again whether a message that waited may be delivered", async () => {
    const { peer, outbound, refused, subscribe, deliver } = open({ window: 1 });
    subscribe("#", 1);
    for (const topic of ["first", "second", "third"]) deliver(topic, 1);
    refused.add("second");
    await turns();
    outbound.acknowledged(peer.idOf(0));
    await turns();
    expect(peer.messages).toEqual(["first x 1", "third x 1"]);
  });

  it("ends QoS 2 with PUBREC, PUBREL and PUBCOMP", async () => {
    const { peer, outbound, subscribe, deliver } = open({ window: 1 });
    subscribe("#", 2);
    deliver("a", 2, "1");
    deliver("a", 2, "2");
    await turns();
    const id = peer.idOf(0);
    outbound.acknowledged(id); // not what ends QoS 2
    outbound.received(id);
    await turns();
    expect(peer.got.at(-1)).toMatchObject({ cmd: "pubrel", messageId: id });
    expect(peer.messages).toEqual(["a 1 2"]);
    outbound.completed(id);
    await turns();
    expect(peer.messages).toEqual(["a 1 2", "a 2 2"]);
  });

  it("answers PUBREC for what is not known with PUBREL", async () => {
    const { peer, outbound } = open();
    outbound.received(77);
    await turns();
    expect(peer.got).toMatchObject([{ cmd: "pubrel", messageId: 77 }]);
  });

  it("keeps so many waiting and no more", async () => {
    const { dropped, subscribe, deliver } = open({ window: 1, waitingMessages: 2 });
    subscribe("#", 1);
    const outcomes = ["1", "2", "3", "4"].map((text) => deliver("a", 1, text));
    await turns();
    expect(dropped).toEqual(["waiting-full"]);
    expect(outcomes[3]!.outcome).toBe(notTaken);
  });

  it("does not give out a packet identifier that is in use", async () => {
    const { peer, outbound, subscribe, deliver } = open({ window: 3 });
    subscribe("#", 1);
    deliver("a", 1, "kept");
    const sent = 65_540;
    for (let n = 0; n < sent; n++) {
      deliver("a", 1, "");
      await turns(1);
      outbound.acknowledged((peer.got.pop() as IPublishPacket).messageId!);
    }
    deliver("a", 1, "a");
    await turns();
    expect(new Set(peer.got.map((packet) => packet.messageId)).size).toBe(2);
  });
});

describe("a reader that does not read", () => {
  it("is waited for a moment, then loses QoS 0 beyond a limit while nobody waits for it", async () => {
    const { peer, dropped, subscribe, deliver } = open({ sendBytes: 4000, holdMilliseconds: 1 });
    subscribe("#", 0);
    peer.isReading = false;
    const first = deliver("a", 0, "x".repeat(1500));
    expect(first.outcome).toBe("held");
    while (first.outcome === "held") await turns(1);
    expect(deliver("a", 0, "x".repeat(1500)).outcome).toBe(undefined);
    expect(deliver("a", 0, "x".repeat(1500)).outcome).toBe(undefined);
    expect(dropped).toEqual([]);
    expect(deliver("a", 0, "x".repeat(1500)).outcome).toBe(notTaken);
    expect(dropped).toEqual(["slow-reader"]);
  });

  it("holds nobody once it has caught up, and then again", async () => {
    const { peer, outbound, subscribe, deliver } = open({ sendBytes: 4000, holdMilliseconds: 60_000 });
    subscribe("#", 0);
    peer.isReading = false;
    const held = deliver("a", 0, "x".repeat(1500));
    await turns();
    expect([held.outcome, outbound.isReady]).toEqual(["held", true]);
    peer.readOn();
    await turns();
    expect(held.outcome).toBe(undefined);
    peer.isReading = false;
    expect(deliver("a", 0, "x".repeat(1500)).outcome).toBe("held");
    outbound.end();
  });

  it("is waited for longer when it reads much of what waits, though not all", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const { peer, outbound, subscribe, deliver } = open({ window: 8, waitingMessages: 16, holdMilliseconds: 2 });
    subscribe("#", 1);
    const held = Array.from({ length: 23 }, (_, n) => deliver("a", 1, String(n))).at(-1)!;
    for (let hold = 0; hold < 5; hold++) {
      await turns();
      // two acknowledged in each hold, and two more that wait
      for (const index of [2 * hold, 2 * hold + 1]) outbound.acknowledged(peer.idOf(index));
      deliver("a", 1, "more");
      deliver("a", 1, "more");
      vi.advanceTimersByTime(2);
      expect([held.outcome, outbound.isReady]).toEqual(["held", true]);
    }
    vi.advanceTimersByTime(2);
    expect([held.outcome, outbound.isReady]).toEqual([undefined, false]);
  });

  it("tells whoever brings retained messages nothing but that it may go on", () => {
    const { refused, subscribe, deliver, client } = open();
    subscribe("#", 1);
    const retained = { retain: true, brokerId: undefined };
    refused.add("no");
    expect(deliver("no", 1, "x", retained).outcome).toBe(undefined);
    (client as { closed: boolean }).closed = true;
    expect(deliver("a", 1, "x", retained).outcome).toBe(undefined);
  });

  it("is no member that a group should choose while it is behind, and is again when it has caught up", async () => {
    const { peer, outbound, subscribe, deliver } = open({ sendBytes: 1000, holdMilliseconds: 1 });
    subscribe("#", 0);
    peer.isReading = false;
    deliver("a", 0, "x".repeat(1500));
    while (outbound.isReady) await turns(1);
    peer.readOn();
    await turns();
    expect(outbound.isReady).toBe(true);
  });

  it("is disconnected when it reads nothing at all", async () => {
    const { peer, ended, subscribe, deliver } = open({ sendBytes: 1000, holdMilliseconds: 1, stallMilliseconds: 5 });
    subscribe("#", 0);
    peer.isReading = false;
    deliver("a", 0, "x".repeat(1500));
    while (ended.length === 0) await turns(1);
    expect(ended).toEqual(["the client does not read"]);
  });

  it("lets go of whoever waits for it when its connection ends", () => {
    const { peer, outbound, subscribe, deliver } = open({ sendBytes: 1000, holdMilliseconds: 60_000 });
    subscribe("#", 0);
    peer.isReading = false;
    const held = deliver("a", 0, "x".repeat(1500));
    outbound.end();
    expect(held.outcome).toBe(undefined);
  });

  it("gets retained messages one after the other, as it reads them, and loses none", async () => {
    const { peer, dropped, subscribe, deliver } = open({ sendBytes: 1000, holdMilliseconds: 1 });
    subscribe("#", 0);
    peer.isReading = false;
    const retained = { retain: true, brokerId: undefined };
    const first = deliver("a", 0, "1".repeat(1500), retained);
    const second = deliver("b", 0, "2".repeat(1500), retained);
    await turns(20);
    expect([first.outcome, second.outcome, dropped]).toEqual(["held", "held", []]);
    peer.readOn();
    while (second.outcome === "held") await turns(1);
    expect(peer.messages.map((text) => text.slice(0, 3))).toEqual(["a 1", "b 2"]);
  });
});

describe("a stored session", () => {
  const entryOf = (sequence: number, change: Partial<Entry> = {}): Entry => ({
    sequence,
    packetId: sequence,
    qos: 1,
    topic: "a",
    payload: Buffer.from(String(sequence)),
    retain: false,
    wasSent: false,
    isReleased: false,
    ...change,
  });

  function store(entries: Entry[]): { readonly store: DurableStore; readonly calls: string[]; news(): void } {
    const calls: string[] = [];
    let news = (): void => {};
    const queue: SessionQueue = {
      get isHalfFull() {
        return false;
      },
      take: (most) => entries.splice(0, most),
      remove: ({ sequence }) => void calls.push(`remove ${sequence}`),
      release: ({ sequence }) => void calls.push(`release ${sequence}`),
      detach: () => void calls.push("detach"),
    };
    const fake = {
      attach(_id: string, told: () => void) {
        news = told;
        return queue;
      },
      whenDurable: (done: () => void) => done(),
      enqueue: (_id: string, { topic, qos }: Message) => void calls.push(`enqueue ${topic} ${qos}`),
    } as unknown as DurableStore;
    return { store: fake, calls, news: () => news() };
  }

  it("gets what waits for it, then what is new, from its queue and not from the one who routes", async () => {
    const { peer, outbound, subscribe, deliver } = open({}, false);
    const entries = [
      entryOf(1, { wasSent: true }),
      entryOf(2),
      entryOf(3, { qos: 2, wasSent: true, isReleased: true }),
    ];
    const kept = store(entries);
    subscribe("#", 1);
    outbound.begin(kept.store);
    await turns();
    expect(peer.messages).toEqual(["a 1 1 dup", "a 2 1"]);
    expect(peer.got.at(-1)).toMatchObject({ cmd: "pubrel", messageId: 3 });
    expect(deliver("a", 1, "routed").outcome).toBe(undefined);
    entries.push(entryOf(4));
    kept.news();
    await turns();
    expect(peer.messages.slice(2)).toEqual(["a 4 1"]);
    outbound.acknowledged(1);
    outbound.completed(3);
    outbound.end();
    expect(kept.calls).toEqual(["remove 1", "remove 3", "detach"]);
  });

  it("gets QoS 0 as it comes", async () => {
    const { peer, outbound, subscribe, deliver } = open({}, false);
    outbound.begin(store([]).store);
    subscribe("#", 1);
    deliver("a", 0);
    await turns();
    expect(peer.messages).toEqual(["a x 0"]);
  });

  it("loses a message that is refused, and no other", async () => {
    const { peer, outbound, refused } = open({}, false);
    refused.add("no");
    const kept = store([entryOf(1), entryOf(2, { topic: "no" }), entryOf(3)]);
    outbound.begin(kept.store);
    await turns();
    expect([peer.messages, kept.calls]).toEqual([["a 1 1", "a 3 1"], ["remove 2"]]);
  });

  it("keeps what waits when the session ends while it is sent", async () => {
    const { outbound, client } = open({}, false);
    const kept = store([entryOf(1), entryOf(2)]);
    client.broker.authorizeForward = () => {
      (client as { closed: boolean }).closed = true;
      return null;
    };
    outbound.begin(kept.store);
    await turns();
    expect(kept.calls).toEqual([]);
  });

  it("gets the retained messages of QoS 1 that a subscription brings through its queue", () => {
    const { outbound, subscribe, deliver } = open({}, false);
    const kept = store([]);
    subscribe("#", 1);
    outbound.begin(kept.store);
    deliver("a", 2, "x", { retain: true, brokerId: undefined });
    expect(kept.calls).toEqual(["enqueue a 1"]);
  });

  it("puts PUBREC on record before PUBREL leaves", async () => {
    const { peer, outbound } = open({}, false);
    const kept = store([entryOf(1, { qos: 2 })]);
    let answer = (): void => {};
    kept.store.whenDurable = (done) => (answer = () => done());
    outbound.begin(kept.store);
    await turns();
    outbound.received(1);
    await turns();
    expect([kept.calls, peer.got.some(({ cmd }) => cmd === "pubrel")]).toEqual([["release 1"], false]);
    answer();
    await turns();
    expect(peer.got.at(-1)).toMatchObject({ cmd: "pubrel", messageId: 1 });
  });
});
