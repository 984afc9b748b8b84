/** The members of Aedes' client that the engine room leans on, and its version: each is what it was when we began to. */
import { readFileSync } from "node:fs";
import { duplexPair } from "./duplex-pair.ts";
import { Aedes } from "aedes";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { EngineBroker, EngineClient } from "../../broker/mqtt/aedes-client.ts";

describe("aedes", () => {
  let broker: EngineBroker & Aedes;
  let client: EngineClient;

  beforeEach(async () => {
    broker = (await Aedes.createBroker()) as unknown as EngineBroker & Aedes;
    const [ours] = duplexPair();
    client = broker.handle(ours);
  });
  afterEach(async () => {
    client.close();
    await new Promise<void>((resolve) => broker.close(() => resolve()));
  });

  it("has the version that we have read", () => {
    const path = new URL("../../node_modules/aedes/package.json", import.meta.url);
    expect((JSON.parse(readFileSync(path, "utf8")) as { version: string }).version).toBe("1.2.0");
  });

  it("listens to its parser once, and reads on readable by the function that it calls when a packet was handled", () => {
    expect(client._parser.listeners("packet")).toHaveLength(1);
    expect(client.conn.listeners("readable")).toEqual([client._nextBatch]);
    expect([client._parsingBatch, client._parser._queue]).toEqual([1, []]);
  });

  it("delivers by functions of its own that can be replaced", () => {
    expect([Object.hasOwn(client, "deliver0"), Object.hasOwn(client, "deliverQoS")]).toEqual([true, true]);
  });

  it("keeps its subscriptions in a plain record, and starts without any", () => {
    expect([Object.keys(client.subscriptions), Object.getPrototypeOf(client.subscriptions)]).toEqual([[], null]);
  });

  it("has a keepalive timer from CONNECT on and not before", () => {
    expect([client._keepaliveInterval, client._keepaliveTimer]).toEqual([-1, null]);
  });

  it("has what is replaced on a client: its listeners for the end, its waiting for a reader, its notes", () => {
    expect([typeof client._eos, typeof client.waitForDrain]).toEqual(["function", "function"]);
    expect([client._inboundInflight, client.duplicates]).toEqual([new Set(), {}]);
    expect((client as unknown as { _authorized: boolean })._authorized).toBe(false);
  });

  it("has what is called and replaced on a broker", () => {
    const methods = ["registerClient", "unregisterClient", "unsubscribe"] as const;
    expect(methods.map((name) => typeof broker[name])).toEqual(["function", "function", "function"]);
    expect(broker.connectedClients).toBe(0);
  });

  it("tells of a SUBSCRIBE right before it asks for its retained messages", async () => {
    const told: string[] = [];
    const persistence = broker.persistence as { createRetainedStreamCombi: (filters: string[]) => unknown };
    const open = persistence.createRetainedStreamCombi.bind(persistence);
    persistence.createRetainedStreamCombi = (filters) => {
      told.push(`asked for ${filters.join()}`);
      return open(filters);
    };
    broker.on("subscribe", () => told.push("told"));
    const subscriber = client as unknown as { subscribe(filter: object, done: () => void): void };
    await new Promise<void>((resolve) => subscriber.subscribe({ topic: "a", qos: 0 }, resolve));
    await new Promise((resolve) => setImmediate(resolve));
    expect(told).toEqual(["told", "asked for a"]);
  });

  it("numbers what it routes", () => {
    expect(typeof broker.counter).toBe("number");
  });
});
