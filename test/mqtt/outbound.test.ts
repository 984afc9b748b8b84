/** The way out: window, waiting, slow readers, stored queues, and what a client gets when several of its filters match. */
import type { IPublishPacket } from "mqtt-packet";
import { describe, expect, it } from "vitest";
import type { DurableStore, Entry, SessionQueue } from "../../broker/mqtt/durable.ts";
import { notTaken } from "../../broker/mqtt/message.ts";
import type { Message } from "../../broker/mqtt/message.ts";

import { open, turns } from "./outbound-fixture.ts";

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

it("nothing is written for a client that is closed, though its connection is there", async () => {
  const { outbound, client, peer } = open();
  (client as { closed: boolean }).closed = true;
  outbound.write(Buffer.from([0xd0, 0]));
  await turns();
  expect([peer.destroyed, peer.got]).toEqual([false, []]);
});
