/** Sessions that are taken back. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Database } from "../../../broker/sqlite/database.ts";
import type { Store } from "../../../broker/mqtt/store/durable-store.ts";
import { attach, durable, message, openStore, patient, rows, subscribe, texts, waiting } from "./fixture.ts";

const will = (payload = "gone") => ({ topic: "w", payload: Buffer.from(payload), qos: 1 as const, retain: false });
const holder = (id: string) => ({ id, closed: false, will: {} });

/** A session with a subscription, a message, a receipt and a will. */
async function fill(store: Store, client: string): Promise<void> {
  await subscribe(store, client, [`t/${client}`, 2]);
  store.accept(message(`t/${client}`, client), { clientId: client, messageId: 1 });
  await store.putWill({ id: client, closed: true }, will(client));
}

async function contents(store: Store, client: string): Promise<object> {
  return {
    isThere: store.hasSession(client),
    filters: (await store.subscriptionsByClient({ id: client })).length,
    waiting: (await waiting(store, client)).length,
    receipts: store.countReceipts(client),
    will: (await store.getWill({ id: client })) !== undefined,
  };
}
const nothing = { isThere: false, filters: 0, waiting: 0, receipts: 0, will: false };
const everything = { isThere: true, filters: 1, waiting: 1, receipts: 1, will: true };

/** Has every commit fail, until it is called. */
function breakCommits(db: Database): () => void {
  db.exec(`CREATE TEMP TRIGGER broken AFTER INSERT ON main.message BEGIN
    INSERT OR REPLACE INTO subscription (session, filter, qos) VALUES (999, 'x', 1);
  END`);
  return () => db.exec("DROP TRIGGER IF EXISTS broken");
}

describe("the sessions of an owner", () => {
  it("end under its id and its id with a suffix, and those of no other, with all that is in them", async () => {
    const { store, db, file } = await openStore();
    const own = ["p.a", "p.a:1", "p.a:two"];
    const others = ["p.aa", "p.a-1", "p", "p.a.b"];
    for (const client of [...own, ...others]) await fill(store, client);
    store.endSessions("p.a");
    for (const client of own) expect(await contents(store, client)).toEqual(nothing);
    await durable(store);
    await expect.poll(() => store.sizes.queued, patient).toBe(others.length);
    expect(["session", "subscription", "receipt", "will"].map((table) => rows(db, table))).toEqual([4, 4, 4, 4]);
    await expect.poll(() => [rows(db, "queue"), rows(db, "message")], patient).toEqual([4, 4]);
    store.close();
    const again = (await openStore({ file })).store;
    for (const client of own) expect(await contents(again, client)).toEqual(nothing);
    for (const client of others) expect(await contents(again, client)).toEqual(everything);
  });

  it("end one by one where one is named", async () => {
    const { store } = await openStore();
    for (const client of ["p.a", "p.a:1"]) await fill(store, client);
    store.endSessions("p.a", "p.a:1");
    expect(await contents(store, "p.a:1")).toEqual(nothing);
    expect(await contents(store, "p.a")).toEqual(everything);
  });

  it("leave room for new ones at once", async () => {
    const { store } = await openStore({ limits: { sessionsPerClient: 2 } });
    for (const client of ["p.a", "p.a:1"]) await subscribe(store, client, ["t", 1]);
    expect(store.mayKeepSession("p.a:2")).toBe(false);
    store.endSessions("p.a");
    expect([store.mayKeepSession("p.a:2"), store.sizes.sessions]).toEqual([true, 0]);
  });
});

describe("a session that is taken back", () => {
  it("gives nothing more to who attends to it, and its end does not bring it back", async () => {
    const { store, db } = await openStore();
    await subscribe(store, "c", ["t", 1]);
    for (const payload of ["1", "2", "3"]) store.accept(message("t", payload));
    let told = 0;
    const queue = await attach(store, "c", () => told++);
    const [first] = queue.take(1);
    store.accept(message("t", "4"));
    store.endSessions("c");
    const before = told;
    queue.remove(first!);
    queue.release(first!);
    expect(queue.take(9)).toEqual([]);
    store.enqueue("c", message("t", "5"));
    await durable(store);
    queue.detach();
    await durable(store);
    expect([told, store.hasSession("c"), rows(db, "session")]).toEqual([before, false, 0]);
    await expect.poll(() => rows(db, "queue"), patient).toBe(0);
    expect([store.sizes.queued, store.sizes.queuedBytes]).toEqual([0, 0]);
  });

  it("gets nothing of the turn in which it ends: neither what came before nor what comes after", async () => {
    const { store, db } = await openStore();
    await subscribe(store, "c", ["t", 1]);
    expect(store.accept(message("t", "before"))).toBe(true);
    store.endSessions("c");
    expect(store.accept(message("t", "after"))).toBe(false);
    await durable(store);
    await expect.poll(() => rows(db, "message"), patient).toBe(0);
    expect(store.hasSession("c")).toBe(false);
  });

  it("does not begin again by what was on its way to it", async () => {
    const { store } = await openStore();
    await subscribe(store, "c", ["t", 1]);
    // as Aedes routes a message of its own: who subscribes, and then into their queues
    const found = (await store.subscriptionsByTopic("t")) as { clientId: string; qos: 1 }[];
    store.endSessions("c");
    const enqueued = store.outgoingEnqueueCombi(found, message("t"));
    expect(await store.subscriptionsByTopic("t")).toEqual([]);
    await enqueued;
    await durable(store);
    expect([store.hasSession("c"), store.sizes.queued]).toEqual([false, 0]);
    // the next one is not held up by it
    await store.outgoingEnqueue({ clientId: "c", qos: 1 }, message("t", "next"));
    expect(await waiting(store, "c")).toEqual(["next"]);
  });

  it("or ended by its client, takes part in no routing of that turn", async () => {
    const { store } = await openStore();
    await subscribe(store, "c", ["t", 1]);
    const cleaned = store.cleanSubscriptions({ id: "c" });
    expect(await store.subscriptionsByTopic("t")).toEqual([]);
    await cleaned;
  });

  it("is followed by a new one in the same turn, which has nothing of it", async () => {
    const { store, file } = await openStore();
    await fill(store, "c");
    const old = await attach(store, "c");
    store.endSessions("c");
    const queue = store.attach("c", () => undefined);
    const subscribed = subscribe(store, "c", ["new", 1]);
    store.accept(message("x", "receipt"), { clientId: "c", messageId: 2 });
    const kept = store.putWill(holder("c"), will("new"));
    await Promise.all([subscribed, kept]);
    old.detach();
    store.accept(message("new", "1"));
    store.accept(message("t/c", "2"));
    await durable(store);
    expect(texts(queue.take(9))).toEqual(["1"]);
    expect([store.hasReceipt({ clientId: "c", messageId: 1 }), store.countReceipts("c")]).toEqual([false, 1]);
    store.close();
    const again = (await openStore({ file })).store;
    expect((await again.subscriptionsByClient({ id: "c" })).map(({ topic }) => topic)).toEqual(["new"]);
    expect([await waiting(again, "c"), again.countReceipts("c")]).toEqual([["1"], 1]);
    expect(String((await again.getWill({ id: "c" }))!.payload)).toBe("new");
  });

  it("leaves its share of a group to the others", async () => {
    const { store } = await openStore();
    for (const client of ["c", "d"]) await subscribe(store, client, ["$share/g/t", 1]);
    store.endSessions("c");
    for (const payload of ["1", "2", "3"]) store.accept(message("t", payload));
    await durable(store);
    expect(await waiting(store, "d")).toEqual(["1", "2", "3"]);
  });
});

describe("the will of a client", () => {
  it.each([
    { what: "one client id", clientId: "c", isOpen: true, isKept: true },
    { what: "one client id", clientId: "c", isOpen: false, isKept: false },
    { what: "all of an owner", clientId: undefined, isOpen: true, isKept: false },
  ])("held by a connection that is open ($isOpen) stays when $what ends: $isKept", async ({ isKept, ...ending }) => {
    const { store, db } = await openStore();
    await store.putWill({ id: "c", closed: !ending.isOpen, will: {} }, will());
    store.endSessions("c", ending.clientId);
    await durable(store);
    expect([(await store.getWill({ id: "c" })) !== undefined, rows(db, "will")]).toEqual([isKept, Number(isKept)]);
  });
});

describe("when it cannot be written", () => {
  it("a session stays over, and goes from the disk when something can be", async () => {
    const { store, db, file } = await openStore();
    for (const client of ["c", "d"]) await fill(store, client);
    const repair = breakCommits(db);
    // what else the turn did to it is undone
    store.removeReceipt({ clientId: "c", messageId: 1 });
    void store.delWill({ id: "c" });
    store.accept(message("t/d", "lost"));
    store.endSessions("c");
    await expect(durable(store)).rejects.toThrow("FOREIGN KEY");
    expect(await contents(store, "c")).toEqual(nothing);
    expect([await contents(store, "d"), rows(db, "session")]).toEqual([everything, 2]);
    repair();
    store.accept(message("t/d", "kept"));
    await durable(store);
    expect(["session", "subscription", "receipt", "will"].map((table) => rows(db, table))).toEqual([1, 1, 1, 1]);
    store.close();
    expect(await contents((await openStore({ file })).store, "c")).toEqual(nothing);
  });

  it("a session that its client had ended in the same turn does not come back", async () => {
    const { store, db } = await openStore();
    for (const client of ["c", "d"]) await fill(store, client);
    const repair = breakCommits(db);
    const cleaned = store.cleanSubscriptions({ id: "c" });
    store.accept(message("t/d", "lost"));
    store.endSessions("c");
    await expect(cleaned).rejects.toThrow("FOREIGN KEY");
    expect(await contents(store, "c")).toEqual(nothing);
    expect(store.accept(message("t/c"))).toBe(false);
    repair();
    await expect.poll(() => rows(db, "session"), patient).toBe(1);
  });

  it("a session that has begun since then stays", async () => {
    const { store, db, file } = await openStore();
    for (const client of ["c", "d"]) await fill(store, client);
    const repair = breakCommits(db);
    store.accept(message("t/d", "lost"));
    store.endSessions("c");
    await expect(durable(store)).rejects.toThrow("FOREIGN KEY");
    const begun = attach(store, "c");
    store.accept(message("t/d", "lost"));
    await expect(begun).rejects.toThrow("FOREIGN KEY");
    expect(store.hasSession("c")).toBe(true);
    repair();
    await subscribe(store, "c", ["new", 1]);
    store.close();
    const again = (await openStore({ file })).store;
    expect((await again.subscriptionsByClient({ id: "c" })).map(({ topic }) => topic)).toEqual(["new"]);
  });
});

it("at a start the sessions of who was taken back end, and their wills are left to be decided", async () => {
  const { store, file } = await openStore();
  for (const client of ["p.a", "p.a:1", "p.b"]) await fill(store, client);
  store.close();
  const again = await openStore({ file });
  again.store.takeBack({ isTakenBack: (client) => client.startsWith("p.a"), purgesOf: () => () => true });
  await durable(again.store);
  expect([again.store.hasSession("p.a"), again.store.hasSession("p.a:1")]).toEqual([false, false]);
  expect(await contents(again.store, "p.b")).toEqual(everything);
  expect([rows(again.db, "session"), again.store.takeWills()]).toEqual([
    1,
    [expect.anything(), expect.anything(), expect.anything()],
  ]);
});

/** What is done to a store, in any order and within turns of any length. */
const clients = ["p.a", "p.a:1", "p.b"];
const client = fc.constantFrom(...clients);
const step = fc.oneof(
  fc.record({ does: fc.constant("subscribe" as const), client }),
  fc.record({ does: fc.constant("accept" as const), client }),
  fc.record({ does: fc.constant("attach" as const), client }),
  fc.record({ does: fc.constant("detach" as const), client }),
  fc.record({ does: fc.constant("clean" as const), client }),
  fc.record({ does: fc.constant("end" as const), client }),
  fc.record({ does: fc.constant("endAll" as const), client }),
  fc.record({ does: fc.constant("turn" as const), client }),
  fc.record({ does: fc.constant("fail" as const), client }),
);

it("whatever is done in whatever order, nothing of before an end is there after it", async () => {
  const property = fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
    const { store, db, file } = await openStore();
    await subscribe(store, "p.other", ["other", 1]);
    const queues = new Map<string, ReturnType<Store["attach"]>>();
    /** The number of the step that ended each last; a payload is the number of its step. */
    const endedAt = new Map<string, number>();
    const isLate = (of: string, payloads: string[]) => payloads.filter((at) => Number(at) <= (endedAt.get(of) ?? -1));
    /** Of whom a session may have begun after its end. */
    const begunSince = new Set<string>();
    const end = (of: string, at: number): void => {
      endedAt.set(of, at);
      begunSince.delete(of);
      queues.delete(of);
    };
    for (const [at, { does, client }] of steps.entries()) {
      if (does === "subscribe" || does === "attach") begunSince.add(client);
      if (does === "subscribe") subscribe(store, client, [`t/${client}`, 1]).catch(() => undefined);
      if (does === "accept") store.accept(message(`t/${client}`, String(at)));
      if (does === "attach")
        queues.set(
          client,
          store.attach(client, () => undefined),
        );
      if (does === "detach") queues.get(client)?.detach();
      if (does === "clean") store.cleanSubscriptions({ id: client }).catch(() => undefined);
      if (does === "end") {
        store.endSessions(client.split(":")[0]!, client);
        end(client, at);
      }
      if (does === "endAll") {
        store.endSessions("p.a");
        for (const of of ["p.a", "p.a:1"]) end(of, at);
      }
      if (does === "end") expect(store.hasSession(client)).toBe(false);
      if (does === "turn") await durable(store);
      if (does === "fail") {
        const repair = breakCommits(db);
        store.accept(message("other", "lost"));
        await expect(durable(store)).rejects.toThrow("FOREIGN KEY");
        repair();
        for (const [of] of endedAt) if (!begunSince.has(of)) expect(store.hasSession(of)).toBe(false);
      }
      for (const [of, queue] of queues) expect(isLate(of, texts(queue.take(2)))).toEqual([]);
    }
    await durable(store);
    const before = { sessions: store.sizes.sessions, there: clients.map((of) => store.hasSession(of)) };
    store.close();
    const again = await openStore({ file });
    const there = clients.map((of) => again.store.hasSession(of));
    // who attended to an empty session leaves none behind
    expect({ sessions: again.store.sizes.sessions, there }).toEqual(before);
    for (const of of clients) expect(isLate(of, await waiting(again.store, of))).toEqual([]);
    expect([rows(again.db, "session"), db.open]).toEqual([before.sessions, false]);
    again.store.close();
  });
  await fc.assert(property, { numRuns: 150 });
}, 180_000);
