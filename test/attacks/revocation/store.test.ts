/** What a broker has stored of who was taken back while it was not there to hear of it. */
import { describe, expect, it, onTestFinished } from "vitest";
import { startEngine } from "../../../broker/mqtt/engine.ts";
import type { Store } from "../../../broker/mqtt/store/durable-store.ts";
import { parsePermission } from "../../../shared/scope.ts";
import { AUDIENCE, openFixture, type Fixture } from "../../gate/fixture.ts";
import { message, newFile, openStore, subscribe } from "../../mqtt/store/fixture.ts";

const grants = [{ audience: AUDIENCE, grants: [parsePermission("pubsub:#")] }];
const topic = "x/will";

/** A store in which an earlier process has left something of these clients. */
async function left(...clients: string[]): Promise<Store> {
  const file = newFile();
  const { store } = await openStore({ file });
  store.groundsOf = (client) => ({ kind: "roles", subject: (client as { id: string }).id, grants: [], tokensAfter: 0 });
  for (const id of clients) {
    await subscribe(store, id, ["x/#", 1]);
    store.accept(message(`x/${id}`, "1", { retain: true, clientId: id }));
    await store.putWill({ id }, { topic, payload: Buffer.from(id), qos: 1, retain: true });
  }
  store.close();
  return (await openStore({ file, brokerId: "broker-2" })).store;
}

async function start(f: Fixture, store: Store, beforeServing?: () => Promise<void>): Promise<void> {
  const tls = { cert: f.authority.cert, key: "" };
  const engine = await startEngine({ gate: f.gate, tls, store, beforeServing });
  onTestFinished(() => engine.close());
}
async function open(told: Parameters<typeof openFixture>[1] = {}): Promise<Fixture> {
  const f = await openFixture({}, told);
  onTestFinished(() => f.close());
  return f;
}
async function retained(store: Store, filter: string): Promise<string[]> {
  const found = (await store.createRetainedStream(filter).toArray()) as { topic: string }[];
  return found.map((one) => one.topic);
}

describe("what is heard between the start and the first client", () => {
  it("that a client was disabled, and is enabled again, ends what is stored of it", async () => {
    const store = await left("acme.a", "acme.b");
    const f = await open();
    for (const id of ["acme.a", "acme.b"]) f.trust.learnClient({ id, enabled: true, grants });
    await start(f, store, async () => f.trust.learnClient({ id: "acme.a", enabled: true, grants, tokensAfter: 5 }));
    expect([store.hasSession("acme.a"), store.hasSession("acme.b")]).toEqual([false, true]);
    expect(await retained(store, "x/acme.a")).toEqual([]);
    // only the other's will was published
    await expect.poll(async () => retained(store, topic), { timeout: 20_000 }).toEqual([topic]);
    expect(store.takeWills()).toEqual([]);
  });

  it("that a client is gone, of which nothing was known before that", async () => {
    let isStale = true;
    const store = await left("acme.a", "acme.b");
    const f = await open({ isStale: () => isStale });
    await start(f, store, async () => {
      expect(store.hasSession("acme.a")).toBe(true);
      f.trust.learnClient({ id: "acme.b", enabled: true, grants });
      isStale = false;
    });
    expect([store.hasSession("acme.a"), store.hasSession("acme.b")]).toEqual([false, true]);
  });
});

describe("a stored will, while nobody knows what was taken back", () => {
  it.each([
    ["is published when it is known that it may", true, [topic]],
    ["is not when it is known that it may not", false, []],
  ])("waits, and %s", async (_name, enabled, published) => {
    let isStale = true;
    const store = await left("acme.a");
    const f = await open({ isStale: () => isStale });
    f.trust.learnClient({ id: "acme.a", enabled: true, grants });
    await start(f, store);
    expect(await retained(store, topic)).toEqual([]);
    f.trust.learnClient({ id: "acme.a", enabled, grants });
    isStale = false;
    const isLeft = async (): Promise<boolean> => (await store.getWill({ id: "acme.a" })) !== undefined;
    await expect.poll(isLeft, { timeout: 20_000 }).toBe(false);
    expect(await retained(store, topic)).toEqual(published);
  });

  it("is still there for the next start, also where nothing at all is known", async () => {
    const store = await left("acme.a");
    const f = await open({ isStale: () => true });
    await start(f, store);
    expect(await store.getWill({ id: "acme.a" })).toMatchObject({ topic });
    expect(await retained(store, topic)).toEqual([]);
  });
});
