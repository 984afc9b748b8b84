import { describe, expect, it } from "vitest";
import { durable, openStore } from "./fixture.ts";

const will = (payload = "gone") => ({ topic: "t/will", payload: Buffer.from(payload), qos: 1 as const, retain: true });

/** A client as Aedes has it, as far as wills go. */
function connect(id: string, payload?: string) {
  return { id, closed: false, will: will(payload) as object | null };
}

async function keep(store: Awaited<ReturnType<typeof openStore>>["store"], client: ReturnType<typeof connect>) {
  await store.putWill(client, client.will as ReturnType<typeof will>);
}

describe("a will", () => {
  it("is given back after a crash, with what allowed it, until it is deleted", async () => {
    const { store, file } = await openStore();
    store.groundsOf = (client) => ({ of: (client as { id: string }).id });
    await keep(store, connect("c", "1"));
    store.groundsOf = undefined;
    await keep(store, connect("d", "2"));
    store.close();
    for (const brokerId of ["broker-2", "broker-1"]) {
      const again = await openStore({ file, brokerId });
      const of = (id: string, payload: string) => ({ ...will(payload), brokerId: "broker-1", clientId: id });
      expect(again.store.takeWills()).toEqual([
        { clientId: "c", packet: of("c", "1"), grounds: { of: "c" } },
        { clientId: "d", packet: of("d", "2"), grounds: undefined },
      ]);
      again.store.close();
    }
    const last = await openStore({ file });
    await last.store.delWill({ id: "c" });
    await durable(last.store);
    expect(last.store.takeWills().map(({ clientId }) => clientId)).toEqual(["d"]);
  });

  it("of this process is none of an earlier one, and Aedes is not given it for one of a dead broker", async () => {
    const { store, file } = await openStore();
    await keep(store, connect("left"));
    store.close();
    const again = await openStore({ file, brokerId: "broker-2" });
    await keep(again.store, connect("here"));
    const streamed = async () => {
      const wills = await again.store.streamWill({}).toArray();
      return wills.map(({ clientId }: { clientId: string }) => clientId);
    };
    expect(await streamed()).toEqual(["left"]);
    expect(again.store.takeWills().map(({ clientId }) => clientId)).toEqual(["left"]);
    // what was taken is for the taker to publish
    expect(await streamed()).toEqual([]);
  });

  it.each([
    { what: "of a connection that has ended", end: { closed: true }, by: "id", isDeleted: true },
    { what: "that its connection has given up", end: { will: null }, by: "id", isDeleted: true },
    { what: "of the connection itself", end: {}, by: "itself", isDeleted: true },
    { what: "of a newer connection that is open", end: {}, by: "id", isDeleted: false },
  ])("$what is deleted by the end of one of this id: $isDeleted", async ({ end, by, isDeleted }) => {
    const { store } = await openStore();
    const old = connect("c", "old");
    await keep(store, old);
    const holder = connect("c", "new");
    await keep(store, holder);
    Object.assign(holder, end);
    await store.delWill(by === "itself" ? holder : { id: "c" });
    expect((await store.getWill({ id: "c" })) === undefined).toBe(isDeleted);
  });

  it("is not in the way of a newer connection: it goes when the old one ends", async () => {
    const { store } = await openStore();
    const old = connect("c", "old");
    await keep(store, old);
    const present = { id: "c", closed: false, will: null };
    // as a CONNECT without a will does, before the old connection is closed
    await store.delWill(present);
    old.closed = true;
    await store.delWill({ id: "c" });
    expect(await store.getWill({ id: "c" })).toBeUndefined();
  });
});
