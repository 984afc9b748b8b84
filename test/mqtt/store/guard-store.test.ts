/** The guard around a persistence, with a persistence that writes down what it is asked. */
import { Readable } from "node:stream";
import { expect, it } from "vitest";
import { guardStore } from "../../../broker/mqtt/store/guard-store.ts";

type Call = [string, ...unknown[]];

function makePersistence(calls: Call[], queue: { brokerId: string; brokerCounter: number; messageId?: number }[] = []) {
  return {
    async setup() {
      calls.push(["setup"]);
    },
    async addSubscriptions(client: { id: string }, subscriptions: { topic: string }[]) {
      calls.push(["add", client.id, subscriptions.map(({ topic }) => topic)]);
    },
    async outgoingUpdate(_client: unknown, packet: { brokerId: string; brokerCounter: number; messageId: number }) {
      const entry = queue.find((one) => one.brokerId === packet.brokerId && one.brokerCounter === packet.brokerCounter);
      if (entry === undefined) throw new Error("no such packet");
      entry.messageId = packet.messageId;
    },
    async outgoingClearMessageId(_client: unknown, packet: { messageId?: number }) {
      const index = queue.findIndex((one) => one.messageId === packet.messageId);
      return index < 0 ? undefined : queue.splice(index, 1)[0];
    },
    outgoingStream: () => Readable.from([]),
    cleanIncoming: undefined,
  };
}

const client = { id: "acme.a" };
const gate = { isRefused: () => true, mayStore: (_client: object, filter: string) => filter.startsWith("yes") };

it("is what Aedes takes for a persistence, with what the inner one offers and no more", async () => {
  const calls: Call[] = [];
  const guarded = guardStore(gate, makePersistence(calls)) as unknown as Record<string, unknown>;
  expect(guarded["setup"]?.constructor.name).toBe("AsyncFunction");
  expect([typeof guarded["outgoingStream"], typeof guarded["cleanIncoming"]]).toEqual(["function", "undefined"]);
  await (guarded["setup"] as (broker: object) => Promise<void>)({});
  expect(calls).toEqual([["setup"]]);
});

it("stores the granted filters of a packet, once", async () => {
  const calls: Call[] = [];
  const guarded = guardStore(gate, makePersistence(calls));
  const packet = ["yes/1", "no/1", "yes/2"].map((topic) => ({ topic, qos: 1 }));
  await Promise.all([guarded.addSubscriptions(client, packet), guarded.addSubscriptions(client, packet)]);
  await guarded.addSubscriptions(client, [{ topic: "no/2", qos: 1 }]);
  expect(calls).toEqual([["add", "acme.a", ["yes/1", "yes/2"]]]);
});

it("removes a refused message and no other", async () => {
  const queue = [
    { brokerId: "b", brokerCounter: 1, messageId: 7 },
    ...[2, 3].map((brokerCounter) => ({ brokerId: "b", brokerCounter })),
  ];
  const guarded = guardStore(gate, makePersistence([], queue));
  const counters = (): number[] => queue.map(({ brokerCounter }) => brokerCounter);
  await guarded.outgoingClearMessageId(client, { cmd: "publish", brokerId: "b", brokerCounter: 9 });
  expect(counters()).toEqual([1, 2, 3]);
  // a live one has no packet identifier yet, one from the queue may have another's
  await guarded.outgoingClearMessageId(client, { cmd: "publish", brokerId: "b", brokerCounter: 2 });
  expect(counters()).toEqual([1, 3]);
  await guarded.outgoingClearMessageId(client, { cmd: "publish", brokerId: "b", brokerCounter: 3, messageId: 7 });
  expect(counters()).toEqual([1]);
  await guarded.outgoingClearMessageId(client, { cmd: "puback", messageId: 7 });
  expect(counters()).toEqual([]);
});
