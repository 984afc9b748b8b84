/** What happens when something cannot be written. */
import { describe, expect, it } from "vitest";
import type { Database } from "../../../broker/sqlite/database.ts";
import { attach, durable, message, openStore, rows, subscribe, texts, waiting } from "./fixture.ts";

/** Ways to fail, each with how it is put right. */
const failures: [string, (db: Database) => () => void][] = [
  [
    "a write fails",
    (db) => {
      db.pragma("query_only = ON");
      return () => void db.pragma("query_only = OFF");
    },
  ],
  [
    "the disk is full",
    (db) => {
      const pages = db.pragma("page_count", { simple: true }) as number;
      db.pragma(`max_page_count = ${pages}`);
      return () => void db.pragma("max_page_count = 1000000");
    },
  ],
  [
    "the commit fails",
    (db) => {
      // a reference that is looked at when the transaction ends
      db.exec(`CREATE TEMP TRIGGER broken AFTER INSERT ON main.message BEGIN
        INSERT OR REPLACE INTO subscription (session, filter, qos) VALUES (999, 'x', 1);
      END`);
      return () => void db.exec("DROP TRIGGER broken");
    },
  ],
];

const big = "x".repeat(100_000);

describe.each(failures)("when %s", (_name, fail) => {
  it("whoever waits is told, what is in memory is what is on disk, and the next turn tries again", async () => {
    const { store, db, file } = await openStore();
    await subscribe(store, "c", ["t/#", 1]);
    await subscribe(store, "d", ["t/#", 1]);
    await store.putWill({ id: "c", closed: true }, message("t/will"));
    for (let i = 0; i < 4; i++) {
      store.accept(message("t/1", `${i}`, { qos: 2, retain: true, clientId: "p" }), { clientId: "c", messageId: i });
    }
    await durable(store);
    const queue = await attach(store, "c");
    const [first] = queue.take(1);
    const sizes = store.sizes;

    const repair = fail(db);
    // acknowledgements need no disk for now
    queue.remove(first!);
    const told: (Error | undefined)[] = [];
    const receipt = { clientId: "c", messageId: 9 };
    expect(store.accept(message("t/0", "small"))).toBe(true);
    expect(store.accept(message("t/2", big, { qos: 2, retain: true }), receipt)).toBe(true);
    store.whenDurable((error) => told.push(error));
    store.accept(message("t/3", big));
    store.whenDurable((error) => told.push(error));
    store.removeReceipt({ clientId: "c", messageId: 0 });
    const refused = [
      store.addSubscriptions({ id: "c" }, [{ topic: "u", qos: 1 }]),
      store.addSubscriptions({ id: "new" }, [{ topic: "u", qos: 1 }]),
      store.removeSubscriptions({ id: "d" }, ["t/#"]),
      store.cleanSubscriptions({ id: "d" }),
      store.storeRetained(message("t/4", big)),
      store.putWill({ id: "c", closed: false, will: {} }, message("t/will", big)),
      store.outgoingEnqueue({ clientId: "d" }, message("t/5", big)),
    ];
    const outcomes = await Promise.allSettled(refused);
    expect(outcomes.map(({ status }) => status)).toEqual(refused.map(() => "rejected"));
    expect(await store.delWill({ id: "none" })).toBeUndefined();
    expect(told.map((error) => error?.message)).toEqual([expect.any(String), expect.any(String)]);
    expect([store.hasReceipt(receipt), store.countReceipts("c")]).toEqual([false, 4]);
    expect({ ...store.sizes, sessions: 2 }).toEqual({ ...sizes, queued: sizes.queued - 1 });
    expect([db.inTransaction, await waiting(store, "d")]).toEqual([false, ["0", "1", "2", "3"]]);
    expect(store.accept(message("u"))).toBe(false);
    expect(String((await store.getWill({ id: "c" }))!.payload)).toBe("1");

    repair();
    store.accept(message("t/6", "after"));
    await durable(store);
    const rest = queue.take(9);
    expect(texts(rest)).toEqual(["1", "2", "3", "after"]);
    expect(rest.map(({ sequence }) => sequence)).toEqual([2, 3, 4, 5]);
    expect(await waiting(store, "d")).toEqual(["0", "1", "2", "3", "after"]);
    queue.detach();
    store.close();
    const again = await openStore({ file });
    expect(texts((await attach(again.store, "c")).take(9))).toEqual(["1", "2", "3", "after"]);
    expect([again.store.sizes.retained, rows(again.db, "message")]).toEqual([1, 5]);
  });
});

it("what could not be written takes no room in a queue", async () => {
  const { store, db, drops } = await openStore({ limits: { queueMessages: 2, queueBytes: 4 } });
  await subscribe(store, "c", ["t", 1]);
  const repair = failures.at(-1)![1](db);
  for (let i = 0; i < 3; i++) {
    expect(store.accept(message("t"))).toBe(true);
    await expect(durable(store)).rejects.toThrow("FOREIGN KEY");
  }
  repair();
  expect([store.accept(message("t")), store.accept(message("t")), drops]).toEqual([true, true, []]);
});

describe("whoever waits", () => {
  it("is told in order, once, and at once when nothing is pending", async () => {
    const { store } = await openStore();
    const told: string[] = [];
    store.whenDurable(() => told.push("nothing pending"));
    expect(told).toEqual(["nothing pending"]);
    store.retain(message("t"));
    for (const name of ["1", "2"]) {
      store.whenDurable(() => {
        told.push(name);
        // asked while others wait to be told
        store.whenDurable(() => told.push(`${name} again`));
      });
    }
    expect(told).toHaveLength(1);
    await durable(store);
    expect(told).toEqual(["nothing pending", "1", "2", "1 again", "2 again"]);
  });

  it("and fails, keeps nobody else from being told", async () => {
    const { store } = await openStore();
    store.retain(message("t"));
    store.whenDurable(() => {
      throw new Error("of no concern to others");
    });
    await expect(durable(store)).resolves.toBeUndefined();
  });

  it("waits for one commit with everybody else of the turn", async () => {
    const commits: number[] = [];
    const { store } = await openStore({ meter: { stored: (seconds) => void commits.push(seconds) } });
    await subscribe(store, "c", ["t", 1]);
    commits.length = 0;
    for (let i = 0; i < 100; i++) store.accept(message("t"));
    await durable(store);
    expect(commits).toHaveLength(1);
  });

  it("after the store was closed is told so, and nothing throws", async () => {
    const { store } = await openStore();
    const queue = await attach(store, "c");
    store.enqueue("c", message("t"));
    store.close();
    store.close();
    queue.detach();
    expect(queue.take(9)).toEqual([]);
    store.retain(message("t"));
    store.accept(message("t"), { clientId: "c", messageId: 1 });
    await expect(durable(store)).rejects.toThrow("closed");
    await expect(store.delWill({ id: "c" })).resolves.toBeUndefined();
    expect(await store.createRetainedStream("#").toArray()).toEqual([]);
  });
});

it("what was told of is on disk when the store is closed in the same turn", async () => {
  const { store, file } = await openStore();
  await subscribe(store, "c", ["t", 1]);
  store.accept(message("t", "last"));
  const told: unknown[] = [];
  store.whenDurable((error) => told.push(error));
  store.close();
  expect(told).toEqual([undefined]);
  expect(await waiting((await openStore({ file })).store, "c")).toEqual(["last"]);
});
