/** Retained messages of who was taken back. */
import { describe, expect, it } from "vitest";
import type { Database } from "../../../broker/sqlite/database.ts";
import { openFile } from "../../../broker/sqlite/database.ts";
import type { Store } from "../../../broker/mqtt/store/durable-store.ts";
import { storeSchema } from "../../../broker/mqtt/store/schema.ts";
import { durable, message, newFile, openStore, patient, rows } from "./fixture.ts";

const all = () => true;

function retain(store: Store, clientId: string | undefined, topic: string, payload = "1"): void {
  store.accept(message(topic, payload, { retain: true, ...(clientId !== undefined && { clientId }) }));
}

async function find(store: Store, filter = "#"): Promise<string[]> {
  const found = await store.createRetainedStream(filter).toArray();
  return found
    .map(({ topic, payload }: { topic: string; payload: Buffer }) => `${topic}=${String(payload)}`)
    .toSorted();
}

/** Until no purge is under way. */
async function purged({ store, db }: { store: Store; db: Database }): Promise<void> {
  await durable(store);
  await expect.poll(() => rows(db, "purge"), patient).toBe(0);
}

describe("a purge", () => {
  it("removes what the owner published last under any of its ids, where the topic purges, and nothing else", async () => {
    const { store, db, file } = await openStore();
    for (const client of ["p.a", "p.a:1", "p.a:two", "p.aa", "p.a-1", "p.a.b", "p"])
      retain(store, client, `go/${client}`);
    retain(store, "p.a", "stay/1");
    retain(store, "p.b", "go/was-another's");
    retain(store, "p.a", "go/was-another's");
    retain(store, "p.a", "go/was-its-own");
    retain(store, "p.b", "go/was-its-own");
    retain(store, undefined, "go/of-the-broker");
    await durable(store);
    const left = [
      "go/of-the-broker=1",
      "go/p.a-1=1",
      "go/p.a.b=1",
      "go/p.aa=1",
      "go/p=1",
      "go/was-its-own=1",
      "stay/1=1",
    ];
    store.purgeRetained("p.a", "client", (topic) => topic.startsWith("go/"));
    // from that moment on
    expect(await find(store)).toEqual(left);
    await purged({ store, db });
    expect([await find(store), rows(db, "retained"), store.sizes.retained]).toEqual([left, 7, 7]);
    store.close();
    expect(await find((await openStore({ file })).store)).toEqual(left);
  });

  it("hides what it will remove from a stream that has begun", async () => {
    const { store } = await openStore();
    for (let i = 0; i < 10; i++) retain(store, "p.a", `t/${i}`);
    await durable(store);
    const stream = store.createRetainedStream("#")[Symbol.asyncIterator]();
    await stream.next();
    store.purgeRetained("p.a", "client", all);
    let more = 0;
    // one was read ahead
    while ((await stream.next()).done !== true) more++;
    expect(more).toBeLessThanOrEqual(1);
  });

  it("leaves what is published after it has begun, also on a topic that it removes", async () => {
    const { store, db, file } = await openStore();
    for (let i = 0; i < 500; i++) retain(store, "p.a", `t/${i}`, "old");
    await durable(store);
    store.purgeRetained("p.a", "credential", all);
    retain(store, "p.a", "t/499", "new");
    retain(store, "p.a", "t/500", "new");
    retain(store, "p.b", "t/498", "new");
    const left = ["t/498=new", "t/499=new", "t/500=new"];
    expect(await find(store)).toEqual(left);
    await purged({ store, db });
    expect([await find(store), rows(db, "retained")]).toEqual([left, 3]);
    // a later one removes it, also after a restart
    store.close();
    const again = await openStore({ file });
    again.store.purgeRetained("p.a", "client", all);
    expect(await find(again.store)).toEqual(["t/498=new"]);
  });

  it("of the turn in which messages were published removes those as well", async () => {
    const { store, db } = await openStore();
    retain(store, "p.a", "t");
    store.purgeRetained("p.a", "client", all);
    expect(await find(store)).toEqual([]);
    await durable(store);
    await purged({ store, db });
    expect(rows(db, "retained")).toBe(0);
  });

  it("makes room for others", async () => {
    const { store, db } = await openStore({ limits: { retainedTopics: 2, retainedBytesPerClient: 10 } });
    retain(store, "p.a", "1", "0123456789");
    retain(store, "p.b", "2");
    store.purgeRetained("p.a", "client", all);
    await durable(store);
    await purged({ store, db });
    retain(store, "p.a:x", "3", "0123456789");
    await durable(store);
    expect(await find(store)).toEqual(["2=1", "3=0123456789"]);
  });

  it("writes nothing for who has nothing", async () => {
    const { store, db } = await openStore();
    const before = db.prepare("SELECT total_changes()").pluck().get();
    store.purgeRetained("p.a", "client", all);
    await durable(store);
    expect(db.prepare("SELECT total_changes()").pluck().get()).toBe(before);
  });

  it("lets others have their turn, and does not take long before it hides", async () => {
    const { store, db } = await openStore({ limits: { retainedPerClient: 30_000 } });
    for (let i = 0; i < 20_000; i++) retain(store, "p.a", `t/${i}`);
    await durable(store);
    store.purgeRetained("p.a", "client", all);
    let turns = 0;
    while (rows(db, "purge") > 0 || turns === 0) {
      await new Promise((resolve) => setImmediate(resolve));
      turns++;
      expect(await store.createRetainedStream("t/19999").toArray()).toEqual([]);
    }
    expect([turns >= 200, rows(db, "retained")]).toEqual([true, 0]);
  });
});

describe("when it cannot be written", () => {
  it("a purge hides all the same, and is done when something can be", async () => {
    const { store, db } = await openStore();
    for (let i = 0; i < 150; i++) retain(store, "p.a", `t/${i}`);
    await durable(store);
    db.pragma("query_only = ON");
    store.purgeRetained("p.a", "client", all);
    await expect(durable(store)).rejects.toThrow("readonly");
    expect([await find(store), store.sizes.retained]).toEqual([[], 150]);
    db.pragma("query_only = OFF");
    await expect.poll(() => rows(db, "retained"), patient).toBe(0);
    await purged({ store, db });
    expect(store.sizes.retained).toBe(0);
  });
});

describe("at a start", () => {
  it("what an earlier process had begun is hidden before anybody is let in, and finished by its kind", async () => {
    const { store, file } = await openStore();
    for (let i = 0; i < 1000; i++) retain(store, i % 2 === 0 ? "p.a" : "p.b", `t/${i}`);
    retain(store, "p.a", "client/1");
    retain(store, "p.b", "credential/1");
    store.purgeRetained("p.a", "client", all);
    store.purgeRetained("p.b", "credential", all);
    await durable(store);
    store.close();
    const again = await openStore({ file });
    expect(rows(again.db, "purge")).toBe(2);
    const asked: string[] = [];
    again.store.takeBack({
      isTakenBack: () => false,
      purgesOf: (kind) => {
        asked.push(kind);
        return (topic) => !topic.startsWith(kind);
      },
    });
    const left = ["client/1=1", "credential/1=1"];
    expect([asked, await find(again.store)]).toEqual([["client", "credential"], left]);
    await purged(again);
    expect(rows(again.db, "retained")).toBe(2);
  });

  it("the messages of who was taken back meanwhile go, as those of a client", async () => {
    const { store, file } = await openStore();
    for (const client of ["p.a", "p.a:1", "p.b", undefined]) retain(store, client, `t/${client}`);
    await durable(store);
    store.close();
    const again = await openStore({ file });
    again.store.takeBack({ isTakenBack: (client) => client === "p.a", purgesOf: (kind) => () => kind === "client" });
    expect(await find(again.store)).toEqual(["t/p.b=1", "t/undefined=1"]);
    await purged(again);
    expect(rows(again.db, "retained")).toBe(2);
  });

  it("a file of before there were purges is brought up, and its messages can be purged", async () => {
    const file = newFile();
    const old = openFile(file, { ...storeSchema, migrations: storeSchema.migrations.slice(0, 1) });
    old.exec(
      "INSERT INTO retained (topic, payload, qos, publisher) VALUES ('t/1', x'31', 1, 'p.a:1'), ('t/2', x'31', 1, NULL)",
    );
    old.close();
    const { store, db } = await openStore({ file });
    expect(await find(store)).toEqual(["t/1=1", "t/2=1"]);
    store.purgeRetained("p.a", "client", all);
    expect(await find(store)).toEqual(["t/2=1"]);
    await durable(store);
    await purged({ store, db });
    expect(rows(db, "retained")).toBe(1);
  });
});
