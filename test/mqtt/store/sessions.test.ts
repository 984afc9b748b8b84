import { describe, expect, it } from "vitest";
import { attach, durable, message, NOW, openStore, patient, rows, subscribe, waiting } from "./fixture.ts";

const granted = (topic: string, qos: 0 | 1 | 2 = 1) => ({ topic, qos, rh: 0, rap: false, nl: false });

describe("subscriptions", () => {
  it("take part in routing once they are on disk", async () => {
    const { store } = await openStore();
    const subscribed = subscribe(store, "c", ["t", 1]);
    expect(store.accept(message("t"))).toBe(false);
    await subscribed;
    expect(store.accept(message("t"))).toBe(true);
    const removed = store.removeSubscriptions({ id: "c" }, ["t"]);
    expect(store.accept(message("t"))).toBe(true);
    await removed;
    expect(store.accept(message("t"))).toBe(false);
  });

  it("are there again after a restart, with all that belongs to them", async () => {
    const { store, file } = await openStore();
    const all = [
      { ...granted("a/+", 2), rap: true },
      { ...granted("b/#", 1), nl: true, subscriptionIdentifier: 7 },
      granted("c", 0),
    ];
    await store.addSubscriptions({ id: "c" }, all);
    await store.removeSubscriptions({ id: "c" }, ["c"]);
    store.close();
    const { store: again } = await openStore({ file });
    expect(await again.subscriptionsByClient({ id: "c" })).toEqual(all.slice(0, 2));
    expect([again.accept(message("b/x")), again.accept(message("c"))]).toEqual([true, false]);
  });

  it("of one SUBSCRIBE with 1,000 filters are 1,000 rows, written once", async () => {
    const { store, db } = await openStore();
    const before = db.prepare("SELECT total_changes()").pluck();
    const filters = Array.from({ length: 1000 }, (_, i) => granted(`a/${i}/+`));
    const start = before.get() as number;
    await store.addSubscriptions({ id: "c" }, filters);
    // and the session
    expect([(before.get() as number) - start, rows(db, "subscription")]).toEqual([1001, 1000]);
  });
});

describe("a stored session", () => {
  it("ends with everything in it when its client starts anew", async () => {
    const { store, db } = await openStore();
    await subscribe(store, "c", ["t", 2]);
    await subscribe(store, "d", ["t", 2]);
    await attach(store, "c").then((queue) => queue.detach());
    for (let i = 0; i < 250; i++) store.accept(message("t", "x", { qos: 2 }), { clientId: "c", messageId: i + 1 });
    await durable(store);
    await store.cleanSubscriptions({ id: "c" });
    expect([store.sizes.sessions, store.countReceipts("c"), store.accept(message("t"))]).toEqual([1, 0, true]);
    expect(await waiting(store, "c")).toEqual([]);
    await expect.poll(() => rows(db, "queue"), patient).toBe(251);
    expect([rows(db, "receipt"), rows(db, "session"), store.sizes.queued]).toEqual([0, 1, 251]);
    expect(await waiting(store, "d")).toHaveLength(251);
    // begun again, it is another one
    await subscribe(store, "c", ["t", 1]);
    store.accept(message("t", "new"));
    await durable(store);
    expect(await waiting(store, "c")).toEqual(["new"]);
  });

  it("whose queue was not removed before the end of the process is removed at the next start", async () => {
    const { store, db, file } = await openStore();
    await subscribe(store, "c", ["t", 1]);
    for (let i = 0; i < 9; i++) store.accept(message("t"));
    await durable(store);
    db.exec("DELETE FROM subscription; DELETE FROM session");
    store.close();
    const second = await openStore({ file });
    expect([second.store.sizes.queued, rows(second.db, "queue"), rows(second.db, "message")]).toEqual([0, 0, 0]);
  });

  it("of which nothing is left when its client goes is forgotten", async () => {
    const { store, db } = await openStore();
    const queue = await attach(store, "c");
    expect([store.sizes.sessions, rows(db, "session")]).toEqual([1, 1]);
    queue.detach();
    await durable(store);
    expect([store.sizes.sessions, rows(db, "session")]).toEqual([0, 0]);
  });

  it("ends some time after its client has left, and not while it is there", async () => {
    const { store, clock } = await openStore({ limits: { sessionSeconds: 100 } });
    for (const client of ["never came", "left", "stays"]) await subscribe(store, client, ["t", 1]);
    const left = await attach(store, "left");
    await attach(store, "stays");
    clock.now = NOW + 50;
    left.detach();
    clock.now = NOW + 101;
    await store.tidy();
    expect(await Promise.all(["never came", "left", "stays"].map((id) => store.subscriptionsByClient({ id })))).toEqual(
      [[], [granted("t")], [granted("t")]],
    );
    clock.now = NOW + 151;
    await store.tidy();
    expect(store.sizes.sessions).toBe(1);
  });

  it("that ends while its client is there gives nothing more", async () => {
    const { store } = await openStore();
    await subscribe(store, "c", ["t", 1]);
    store.accept(message("t"));
    const queue = await attach(store, "c");
    await store.cleanSubscriptions({ id: "c" });
    expect(queue.take(9)).toEqual([]);
    queue.detach();
    expect(store.sizes.sessions).toBe(0);
  });

  it.each([
    { client: "acme.new", may: true },
    { client: "acme.a", may: true },
    { client: "acme.a:3", may: false },
    { client: "acme.a:1", may: true },
  ])("may begin for $client: $may", async ({ client, may }) => {
    const { store, file } = await openStore();
    for (const id of ["acme.a", "acme.a:1", "acme.ab"]) await subscribe(store, id, ["t", 1]);
    store.close();
    const limited = await openStore({ file, limits: { sessionsPerClient: 2 } });
    expect(limited.store.mayKeepSession(client)).toBe(may);
  });

  it("may not begin beyond the number of all", async () => {
    const { store } = await openStore({ limits: { sessions: 1 } });
    expect(store.mayKeepSession("a")).toBe(true);
    await subscribe(store, "a", ["t", 1]);
    expect([store.mayKeepSession("b"), store.mayKeepSession("a")]).toEqual([false, true]);
    await store.cleanSubscriptions({ id: "a" });
    expect(store.mayKeepSession("b")).toBe(true);
  });
});

describe("groups", () => {
  const share = "$share/g/t/+";

  it("without a member that is there take turns among those that are not", async () => {
    const { store } = await openStore();
    for (const client of ["a", "b", "c"]) await subscribe(store, client, [share, 1]);
    await attach(store, "b");
    for (let i = 1; i <= 4; i++) store.accept(message("t/x", `${i}`));
    await durable(store);
    expect([await waiting(store, "a"), await waiting(store, "c")]).toEqual([
      ["1", "3"],
      ["2", "4"],
    ]);
  });

  it("with a member that is there are left to the emitter, which says who stores", async () => {
    const asked: object[] = [];
    const choose = (message: object) => {
      asked.push(message);
      return { stored: [{ clientId: "b", qos: 1 }], groups: new Set([share]) };
    };
    const { store } = await openStore({ choose });
    for (const client of ["a", "b"]) await subscribe(store, client, [share, 1]);
    await subscribe(store, "b", ["$share/other/#", 1]);
    const sent = message("t/x", "1", { qos: 2 });
    store.accept(sent);
    await durable(store);
    // the same object, which is emitted afterwards
    expect(asked[0]).toBe(sent);
    expect([await waiting(store, "a"), await waiting(store, "b")]).toEqual([[], ["1"]]);
    expect((await attach(store, "b")).take(9)).toMatchObject([{ qos: 1 }]);
  });

  it("are no subscription to a topic of that name, and are asked for what a program publishes", async () => {
    const { store } = await openStore();
    await subscribe(store, "a", [share, 1]);
    expect(store.accept(message("$share/g/t/x"))).toBe(false);
    expect(await store.subscriptionsByTopic("t/x")).toEqual([]);
    await store.outgoingEnqueueCombi([], message("t/x", "1"));
    expect(await waiting(store, "a")).toEqual(["1"]);
    await store.removeSubscriptions({ id: "a" }, [share]);
    expect(store.accept(message("t/x"))).toBe(false);
  });
});
