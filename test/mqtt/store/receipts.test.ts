import { describe, expect, it } from "vitest";
import { attach, durable, message, openStore, rows, subscribe } from "./fixture.ts";

const receipt = (messageId: number, clientId = "c") => ({ clientId, messageId });
const exactly = (payload: string) => message("t", payload, { qos: 2 });

describe("a receipt", () => {
  it("is stored with its message, and known until it is removed", async () => {
    const { store, file } = await openStore();
    await attach(store, "c");
    expect(store.accept(exactly("1"), receipt(1))).toBe(true);
    expect(store.accept(exactly("2"), receipt(2))).toBe(true);
    expect([store.hasReceipt(receipt(1)), store.hasReceipt(receipt(1, "d")), store.countReceipts("c")]).toEqual([
      true,
      false,
      2,
    ]);
    store.removeReceipt(receipt(1));
    await durable(store);
    expect(store.countReceipts("c")).toBe(1);
    store.close();
    const again = await openStore({ file });
    expect([again.store.hasReceipt(receipt(1)), again.store.hasReceipt(receipt(2))]).toEqual([false, true]);
  });

  it("keeps a session that has nothing else", async () => {
    const { store } = await openStore();
    const queue = await attach(store, "c");
    store.accept(exactly("1"), receipt(1));
    queue.detach();
    await durable(store);
    expect([store.sizes.sessions, store.hasReceipt(receipt(1))]).toEqual([1, true]);
  });

  it("of a client without a stored session ends with the process", async () => {
    const { store, db } = await openStore();
    store.accept(exactly("1"), receipt(1));
    await durable(store);
    expect([store.hasReceipt(receipt(1)), rows(db, "receipt")]).toEqual([true, 0]);
  });

  it("is one of its client alone", async () => {
    const { store, db } = await openStore();
    for (const client of ["c", "cc"]) {
      await subscribe(store, client, ["t", 1]);
      store.accept(exactly("1"), receipt(1, client));
    }
    await store.cleanIncoming({ id: "c" });
    expect([store.countReceipts("c"), store.countReceipts("cc"), rows(db, "receipt")]).toEqual([0, 1, 1]);
  });
});
