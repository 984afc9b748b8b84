import { describe, expect, it } from "vitest";
import { packetIdOf } from "../../../broker/mqtt/store/entries.ts";
import { attach, durable, message, NOW, openStore, rows, subscribe, texts, waiting } from "./fixture.ts";

describe("a message", () => {
  it.each([
    { filters: [["a/+", 1]], qos: 2, stored: 1 },
    { filters: [["a/+", 2]], qos: 1, stored: 1 },
    {
      filters: [
        ["a/b", 1],
        ["#", 2],
        ["a/+", 0],
      ],
      qos: 2,
      stored: 2,
    },
    { filters: [["a/b", 0]], qos: 2, stored: undefined },
    { filters: [["a/c", 1]], qos: 1, stored: undefined },
  ] as const)("of QoS $qos is stored once, for $filters with QoS $stored", async ({ filters, qos, stored }) => {
    const { store } = await openStore();
    await subscribe(store, "c", ...(filters as unknown as [string, 1][]));
    expect(store.accept(message("a/b", "x", { qos }))).toBe(stored !== undefined);
    const queue = await attach(store, "c");
    expect(queue.take(9).map((entry) => entry.qos)).toEqual(stored === undefined ? [] : [stored]);
  });

  it("that begins with $ is not stored for a wildcard in the first level", async () => {
    const { store } = await openStore();
    await subscribe(store, "c", ["#", 1], ["+/x", 1]);
    expect(store.accept(message("$own/x"))).toBe(false);
  });

  it("is stored once for many sessions, and goes with the last that needed it", async () => {
    const { store, db } = await openStore();
    for (const client of ["a", "b", "c"]) await subscribe(store, client, ["t", 1]);
    store.accept(message("t", "payload"));
    await durable(store);
    expect([rows(db, "message"), rows(db, "queue"), store.sizes.queued, store.sizes.queuedBytes]).toEqual([1, 3, 3, 8]);
    for (const [client, left] of [
      ["a", 1],
      ["b", 1],
      ["c", 0],
    ] as const) {
      const queue = await attach(store, client);
      for (const entry of queue.take(9)) queue.remove(entry);
      queue.detach();
      store.retain(message("written", client));
      await durable(store);
      expect([client, rows(db, "message")]).toEqual([client, left]);
    }
    expect([rows(db, "queue"), store.sizes.queued, store.sizes.queuedBytes]).toEqual([0, 0, 0]);
  });

  it("is not in anybody's queue before it is on disk", async () => {
    const { store } = await openStore();
    await subscribe(store, "c", ["t", 1]);
    const told: string[] = [];
    const queue = await attach(store, "c", () => told.push("news"));
    store.accept(message("t", "x"));
    store.whenDurable(() => told.push("publisher"));
    expect(queue.take(9)).toEqual([]);
    await durable(store);
    expect([told, texts(queue.take(9))]).toEqual([["publisher", "news"], ["x"]]);
  });

  it("published by a program goes the same way, once", async () => {
    const { store } = await openStore();
    await subscribe(store, "c", ["t", 1], ["#", 2]);
    const packet = message("t", "x", { qos: 2 });
    const found = (await store.subscriptionsByTopic("t")) as { clientId: string }[];
    expect(found).toHaveLength(2);
    await store.outgoingEnqueueCombi(found, packet);
    expect((await attach(store, "c")).take(9).map(({ qos }) => qos)).toEqual([2]);
  });
});

describe("a queue", () => {
  it("gives each entry once, in order, numbered, and those that were not acknowledged again with DUP", async () => {
    const { store } = await openStore();
    await subscribe(store, "c", ["t", 1]);
    for (let i = 1; i <= 5; i++) store.accept(message("t", `${i}`));
    const queue = await attach(store, "c");
    const first = queue.take(3);
    expect(texts(first)).toEqual(["1", "2", "3"]);
    expect(first.map(({ packetId, wasSent }) => [packetId, wasSent])).toEqual([
      [1, false],
      [2, false],
      [3, false],
    ]);
    queue.remove(first[1]!);
    queue.remove(first[1]!);
    expect(texts(queue.take(9))).toEqual(["4", "5"]);
    expect(queue.take(9)).toEqual([]);
    queue.detach();
    store.accept(message("t", "6"));
    const again = await attach(store, "c");
    expect(again.take(9).map((entry) => [String(entry.payload), entry.packetId, entry.wasSent])).toEqual([
      ["1", 1, true],
      ["3", 3, true],
      ["4", 4, true],
      ["5", 5, true],
      ["6", 6, false],
    ]);
  });

  it("loses what was removed, in whatever order and beside others, and nothing else", async () => {
    const { store, db } = await openStore();
    await subscribe(store, "c", ["c", 1], ["both", 1]);
    await subscribe(store, "d", ["d", 1], ["both", 1]);
    const topics = ["c", "c", "d", "c", "both", "d", "c", "d", "c", "both", "c", "c"];
    for (const topic of topics) store.accept(message(topic));
    const [ofC, ofD] = [await attach(store, "c"), await attach(store, "d")];
    const [inC, inD] = [ofC.take(99), ofD.take(99)];
    // runs, a gap, backwards, one between those of another
    for (const sequence of [1, 2, 4, 9]) ofC.remove(inC[sequence - 1]!);
    for (const sequence of [5, 4, 1]) ofD.remove(inD[sequence - 1]!);
    for (const sequence of [7, 6]) ofC.remove(inC[sequence - 1]!);
    store.retain(message("written"));
    await durable(store);
    const left = db.prepare("SELECT session, group_concat(sequence) AS left FROM queue GROUP BY session").raw().all();
    expect(left).toEqual([
      [1, "3,5,8"],
      [2, "2,3"],
    ]);
    const messages = db.prepare("SELECT id FROM message ORDER BY id").pluck().all();
    // the first of both waits for c no more, and the second for neither of them
    expect(messages).toEqual([4, 5, 6, 7, 11]);
    expect([store.sizes.queued, rows(db, "message")]).toEqual([5, 5]);
  });

  it("gives nothing before it is on disk that its client is there", async () => {
    const { store } = await openStore();
    await subscribe(store, "c", ["t", 1]);
    store.accept(message("t", "x"));
    await durable(store);
    let news = 0;
    const queue = store.attach("c", () => news++);
    expect([queue.take(9), news]).toEqual([[], 0]);
    await durable(store);
    expect([texts(queue.take(9)), news]).toEqual([["x"], 1]);
  });

  it("is not to be had by a connection that another has taken the place of", async () => {
    const { store } = await openStore();
    await subscribe(store, "c", ["t", 1]);
    store.accept(message("t", "x"));
    const old = await attach(store, "c");
    const [entry] = old.take(1);
    const present = await attach(store, "c");
    old.remove(entry!);
    old.detach();
    expect(old.take(9)).toEqual([]);
    expect(present.take(9).map(({ packetId, wasSent }) => [packetId, wasSent])).toEqual([[1, true]]);
    expect(await waiting(store, "c")).toEqual([]);
  });

  it("keeps that PUBREC has arrived, and forgets with PUBCOMP", async () => {
    const { store, file } = await openStore();
    await subscribe(store, "c", ["t", 2]);
    store.accept(message("t", "x", { qos: 2 }));
    const queue = await attach(store, "c");
    const [entry] = queue.take(1);
    queue.release(entry!);
    await durable(store);
    store.close();
    const second = await openStore({ file });
    const again = await attach(second.store, "c");
    const [released] = again.take(9);
    expect(released).toMatchObject({ packetId: 1, qos: 2, isReleased: true, wasSent: true });
    again.remove(released!);
    again.detach();
    second.store.close();
    expect((await openStore({ file })).store.sizes.queued).toBe(0);
  });

  it("that is longer than what is held in memory is read from the disk, in order and completely", async () => {
    const { store } = await openStore();
    await subscribe(store, "c", ["t", 1]);
    const queue = await attach(store, "c");
    queue.take(1);
    const sent: string[] = [];
    const taken: string[] = [];
    // a client that is sometimes behind, and sometimes takes everything
    for (const [come, take] of [
      [300, 10],
      [200, 400],
      [5, 100],
      [400, 500],
      [10, 1],
    ] as const) {
      for (let i = 0; i < come; i++) {
        const payload = `${sent.length}`;
        sent.push(payload);
        store.accept(message("t", payload));
      }
      taken.push(...texts(queue.take(take)));
      await durable(store);
      for (const entry of queue.take(take)) {
        taken.push(String(entry.payload));
        queue.remove(entry);
      }
    }
    taken.push(...texts(queue.take(10_000)));
    expect(taken).toEqual(sent);
  });

  it("says when more than half of it is full of what was not taken", async () => {
    const { store } = await openStore({ limits: { queueMessages: 10 } });
    await subscribe(store, "c", ["t", 1]);
    const queue = await attach(store, "c");
    const full: boolean[] = [];
    for (let i = 0; i < 6; i++) {
      full.push(queue.isHalfFull);
      store.accept(message("t"));
    }
    await durable(store);
    expect([...full, queue.isHalfFull]).toEqual([false, false, false, false, false, false, true]);
    queue.take(1);
    expect(queue.isHalfFull).toBe(false);
  });

  it("gives what is stored for one client, whatever it subscribes to", async () => {
    const { store } = await openStore();
    const queue = await attach(store, "c");
    store.enqueue("c", message("any", "x", { retain: true }));
    await durable(store);
    expect(queue.take(9)).toMatchObject([{ topic: "any", retain: true, qos: 1 }]);
  });

  it("is delivered by whoever attends to it, and by Aedes when nobody does", async () => {
    const { store } = await openStore();
    await subscribe(store, "c", ["t", 1]);
    store.accept(message("t", "x"));
    await durable(store);
    expect(await waiting(store, "c")).toEqual(["x"]);
    const queue = await attach(store, "c");
    expect(await waiting(store, "c")).toEqual([]);
    queue.detach();
    expect(await waiting(store, "c")).toEqual(["x"]);
  });
});

describe("packet identifiers", () => {
  it.each([
    [1, 1],
    [65_535, 65_535],
    [65_536, 1],
    [131_071, 1],
  ])("follow from the sequence: entry %d has %d", (sequence, packetId) => {
    expect(packetIdOf(sequence)).toBe(packetId);
  });

  it("are never given to two entries: the older of them is dropped", async () => {
    const { store, drops } = await openStore();
    await subscribe(store, "c", ["t", 1]);
    store.accept(message("t", "stuck"));
    const queue = await attach(store, "c");
    const [stuck] = queue.take(1);
    for (let sequence = 2; sequence <= 65_535; sequence++) {
      store.accept(message("t"));
      if (sequence % 100 !== 0 && sequence < 65_400) continue;
      await durable(store);
      for (const entry of queue.take(200)) queue.remove(entry);
    }
    expect([drops, store.sizes.queued]).toEqual([["queue-messages"], 0]);
    queue.remove(stuck!);
    store.accept(message("t", "next"));
    await durable(store);
    expect(queue.take(9)).toMatchObject([{ sequence: 65_536, packetId: 1 }]);
    expect(store.sizes.queued).toBe(1);
  });
});

describe("the limits of a queue", () => {
  it.each([
    { limits: { queueMessages: 2 }, kept: ["1", "2"], why: "queue-messages" },
    // a topic of one character
    { limits: { queueBytes: 5 }, kept: ["1", "2"], why: "queue-bytes" },
    { limits: { storeBytes: 5 }, kept: ["1", "2"], why: "store-bytes" },
  ])("drop what comes on top: $why", async ({ limits, kept, why }) => {
    const { store, drops } = await openStore({ limits });
    await subscribe(store, "c", ["t", 1]);
    const wereStored = ["1", "2", "3"].map((payload) => store.accept(message("t", payload)));
    await durable(store);
    expect([wereStored, await waiting(store, "c"), drops]).toEqual([[true, true, false], kept, [why]]);
    const queue = await attach(store, "c");
    queue.remove(queue.take(1)[0]!);
    expect(store.accept(message("t", "4"))).toBe(true);
  });

  it("are one session's: others get the message", async () => {
    const { store } = await openStore({ limits: { queueMessages: 1 } });
    await subscribe(store, "full", ["#", 1]);
    store.accept(message("x", "1"));
    await subscribe(store, "other", ["#", 1]);
    store.accept(message("x", "2"));
    await durable(store);
    expect([await waiting(store, "full"), await waiting(store, "other")]).toEqual([["1"], ["2"]]);
  });

  it("drop what has waited too long, and it alone", async () => {
    const { store, clock, drops, db } = await openStore({ limits: { queueSeconds: 100 } });
    await subscribe(store, "c", ["t", 1]);
    await subscribe(store, "d", ["t", 1]);
    for (let i = 0; i < 250; i++) store.accept(message("t", `old ${i}`));
    clock.now = NOW + 90;
    store.accept(message("t", "young"));
    await durable(store);
    const taking = await attach(store, "d");
    clock.now = NOW + 101;
    // one that is taken is looked at when it is taken
    expect(texts(taking.take(1))).toEqual(["young"]);
    await store.tidy();
    store.retain(message("written"));
    await durable(store);
    expect([await waiting(store, "c"), drops.length, rows(db, "message")]).toEqual([["young"], 500, 1]);
    expect(new Set(drops)).toEqual(new Set(["queue-age"]));
  });

  it("leave what is being delivered where it is", async () => {
    const { store, clock } = await openStore({ limits: { queueSeconds: 100 } });
    await subscribe(store, "c", ["t", 1]);
    store.accept(message("t", "sent"));
    const queue = await attach(store, "c");
    const [entry] = queue.take(1);
    clock.now = NOW + 101;
    await store.tidy();
    expect(store.sizes.queued).toBe(1);
    queue.remove(entry!);
    expect(store.sizes.queued).toBe(0);
  });
});

it("opened again, every queue is what it was", async () => {
  const { store, file } = await openStore();
  await subscribe(store, "c", ["t", 1]);
  await subscribe(store, "d", ["t", 2]);
  for (let i = 0; i < 10; i++) store.accept(message("t", `${i}`, { qos: 2, clientId: "p" }));
  const queue = await attach(store, "c");
  for (const entry of queue.take(4)) if (entry.sequence % 2 === 0) queue.remove(entry);
  const before = store.sizes;
  store.close();
  const second = await openStore({ file });
  expect(second.store.sizes).toEqual(before);
  const again = await attach(second.store, "c");
  expect(again.take(99).map(({ packetId, wasSent }) => [packetId, wasSent])).toEqual([
    [1, true],
    [3, true],
    ...[5, 6, 7, 8, 9, 10].map((packetId) => [packetId, false]),
  ]);
  expect(await waiting(second.store, "d")).toHaveLength(10);
});
