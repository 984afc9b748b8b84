import { describe, expect, it } from "vitest";
import type { Store } from "../../../broker/mqtt/store/durable-store.ts";
import { countReads, durable, message, openStore } from "./fixture.ts";

const retained = (topic: string, payload = "1", clientId?: string) =>
  message(topic, payload, { retain: true, qos: 1, ...(clientId !== undefined && { clientId }) });

async function find(store: Store, ...filters: string[]): Promise<string[]> {
  const list: string[] = [];
  for await (const packet of store.createRetainedStreamCombi(filters)) {
    const { topic, payload } = packet as { topic: string; payload: Buffer };
    list.push(`${topic}=${payload.toString()}`);
  }
  return list.toSorted();
}

it("a retained message is the last of its topic, and none after an empty one", async () => {
  const { store } = await openStore();
  store.accept(retained("a/b", "1"));
  store.retain({ ...retained("a/b", "2"), qos: 0 });
  store.accept(retained("a/c", "3"));
  await durable(store);
  expect([await find(store, "a/+"), store.sizes.retained]).toEqual([["a/b=2", "a/c=3"], 2]);
  expect(store.accept(retained("a/b", ""))).toBe(true);
  expect(store.accept(retained("a/b", ""))).toBe(false);
  await durable(store);
  expect([await find(store, "a/b"), await find(store, "#"), store.sizes.retained]).toEqual([[], ["a/c=3"], 1]);
});

it("retained messages are there after a restart", async () => {
  const { store, file } = await openStore();
  store.accept(retained("a/b", "1", "p"));
  store.accept(retained("$own/b", "2"));
  store.close();
  const again = await openStore({ file });
  const list: object[] = [];
  for await (const packet of again.store.createRetainedStream("#")) list.push(packet as object);
  expect(list).toEqual([{ cmd: "publish", topic: "a/b", payload: Buffer.from("1"), qos: 1, retain: true }]);
  expect(await find(again.store, "$own/+")).toEqual(["$own/b=2"]);
});

describe("the limits of retained messages", () => {
  it("hold new topics off, not what is there, and are told", async () => {
    const { store, drops, file } = await openStore({ limits: { retainedTopics: 3, retainedPerClient: 2 } });
    const accept = (topic: string, payload: string, clientId: string) =>
      store.accept(retained(topic, payload, clientId));
    expect(["1", "2", "3"].map((topic) => accept(topic, "x", "p"))).toEqual([true, true, false]);
    expect(accept("1", "y", "p")).toBe(true);
    // another's topic counts for whoever published it last
    expect([accept("1", "z", "q"), accept("3", "x", "p"), accept("4", "x", "r")]).toEqual([true, true, false]);
    expect(drops).toEqual(["retained-of-client", "retained-topics"]);
    await durable(store);
    expect(await find(store, "#")).toEqual(["1=z", "2=x", "3=x"]);
    store.close();
    const again = await openStore({ file, limits: { retainedPerClient: 2 } });
    expect(again.store.accept(retained("5", "x", "p"))).toBe(false);
  });
});

describe("the limits of their bytes", () => {
  it("are of one client with its suffixes, and of all, and what is replaced makes room", async () => {
    const limits = { retainedBytes: 25, retainedBytesPerClient: 10 };
    const { store, drops, file } = await openStore({ limits });
    const accept = (topic: string, payload: string, clientId: string) =>
      store.accept(retained(topic, payload, clientId));
    expect([accept("1", "12345678", "p"), accept("2", "123", "p:x")]).toEqual([true, false]);
    expect([accept("1", "0123456789", "p:x"), accept("1", "01234567890", "p")]).toEqual([true, false]);
    expect([accept("3", "0123456789", "q"), accept("4", "012345", "r"), accept("4", "01234", "r")]).toEqual([
      true,
      false,
      true,
    ]);
    // the topic of another: its bytes are that one's no longer
    expect([accept("3", "1", "r"), accept("5", "123456789", "q")]).toEqual([true, true]);
    expect(drops).toEqual(["retained-of-client", "retained-of-client", "retained-bytes"]);
    await durable(store);
    store.close();
    const again = (await openStore({ file, limits })).store;
    expect(again.accept(retained("6", "1", "p"))).toBe(false);
    expect(again.accept(retained("1", "", "p"))).toBe(true);
    expect(again.accept(retained("6", "0123456789", "p"))).toBe(true);
  });
});

describe("with 100,000 topics", () => {
  it("a topic is looked up by reading one row, and a filter by reading those that match", async () => {
    const { store, db } = await openStore();
    for (let i = 0; i < 100_000; i++) store.retain(retained(`farm/${Math.floor(i / 10)}/m/${i % 10}`, `${i}`));
    await durable(store);
    const reads = countReads(db);
    const table = [
      ["farm/777/m/7", 1],
      ["farm/777/m/none", 0],
      ["farm/777/m/+", 10],
      ["farm/777/#", 10],
      ["+/1234/m/5", 1],
    ] as const;
    for (const [filter, count] of table) {
      reads.length = 0;
      const found = await find(store, filter);
      expect([filter, found.length, reads.length]).toEqual([filter, count, count]);
      expect(reads.every((sql) => sql.endsWith("FROM retained WHERE topic = ?"))).toBe(true);
    }
    expect(db.prepare("EXPLAIN QUERY PLAN SELECT payload FROM retained WHERE topic = ?").get("x")).toMatchObject({
      detail: expect.stringMatching(/^SEARCH retained USING INDEX/) as string,
    });
  });

  it("everything is given in turns, between which others are served", async () => {
    const { store } = await openStore();
    for (let i = 0; i < 2000; i++) store.retain(retained(`t/${i}`));
    await durable(store);
    let turns = 0;
    let isOver = false;
    const count = (): void => {
      turns++;
      if (!isOver) setImmediate(count);
    };
    setImmediate(count);
    const found = await find(store, "#");
    isOver = true;
    expect(found).toHaveLength(2000);
    expect(turns).toBeGreaterThan(20);
  });
});
