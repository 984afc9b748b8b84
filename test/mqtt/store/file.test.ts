import { statSync, writeFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { durableStore } from "../../../broker/mqtt/store/durable-store.ts";
import { openDatabase } from "../../../broker/registry/database.ts";
import { refusal } from "../../registry/fixture.ts";
import { message, newFile, openStore } from "./fixture.ts";

describe("the file", () => {
  it("is readable by its owner alone, journal included", async () => {
    const { store, file } = await openStore();
    store.retain(message("t"));
    for (const name of [file, `${file}-wal`, `${file}-shm`]) expect(statSync(name).mode & 0o777).toBe(0o600);
  });

  it("is refused when a newer version wrote it, and left as it is", async () => {
    const { store, db, file } = await openStore();
    db.pragma("user_version = 999");
    store.close();
    expect(() => durableStore({ file })).toThrow(refusal("registry.invalid", "schema 999"));
    expect(() => durableStore({ file })).toThrow(refusal("registry.invalid", "newer"));
  });

  it("is refused when it is something else, and so is the store's by others", async () => {
    const text = newFile();
    writeFileSync(text, "this is not a database, and it is longer than a header of one hundred bytes ".repeat(20));
    expect(() => durableStore({ file: text })).toThrow(refusal("registry.invalid", "not a database"));
    const registry = newFile();
    openDatabase(registry).close();
    expect(() => durableStore({ file: registry })).toThrow(refusal("registry.invalid", "something else"));
    const { store, file } = await openStore();
    store.close();
    expect(() => openDatabase(file)).toThrow(refusal("registry.invalid", "something else"));
  });

  it("is none when nothing is to be kept", async () => {
    const store = durableStore({ file: ":memory:" });
    await store.setup({ id: "b" });
    await store.addSubscriptions({ id: "c" }, [{ topic: "t", qos: 1 }]);
    expect(store.accept(message("t"))).toBe(true);
    store.close();
  });
});
