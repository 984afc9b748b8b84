/** What the engine room drops when the gate takes something back. */
import { once } from "node:events";
import { createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { Aedes } from "aedes";
import * as persistence from "aedes-persistence";
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { openGate } from "../../broker/gate/hooks.ts";
import { brokerOptions } from "../../broker/mqtt/broker-options.ts";
import { startEngine } from "../../broker/mqtt/engine.ts";
import { emitter } from "../../broker/mqtt/emitter.ts";
import { openGuard } from "../../broker/mqtt/guard.ts";
import type { RetainedPurge } from "../../broker/trust/trust.ts";
import { tokenHashes } from "../../shared/token.ts";
import { BEARER_AUDIENCE, KID, openFixture } from "../gate/fixture.ts";
import type { Fixture } from "../gate/fixture.ts";
import { Wire } from "../gate/wire.ts";
import { message, openStore, patient, rows, subscribe } from "./store/fixture.ts";

let f: Fixture;
beforeAll(async () => {
  f = await openFixture();
});
afterAll(() => f.close());

const memoryPersistence = (persistence as unknown as { readonly default: () => object }).default;
const allow = ["pubsub:x/#"];
const bearer = (token: string) => ({ username: "x", password: Buffer.from(token) });
const hashesOf = (token: Uint8Array | string): Buffer => Buffer.from(tokenHashes(token).join(""), "hex");

/** A client with a bearer token on a plain connection. */
async function enter(id: string, token: string, clean = true, more: object = {}): Promise<Wire> {
  const wire = await f.open({ transport: "tcp" });
  const connack = await wire.connect({ clientId: id, clean, ...bearer(token), ...more });
  expect(connack.returnCode).toBe(0);
  return wire;
}
const tokenFor = (id: string): string => f.jwt(id, { aud: BEARER_AUDIENCE, allow });

/** A publisher, and a client whose session has a subscription and, since it is gone, messages. */
let publisher: Wire;
beforeEach(async () => {
  const { id } = f.device();
  publisher = await enter(id, tokenFor(id));
});

interface Held {
  readonly id: string;
  readonly token: string;
  readonly wire: Wire;
}
async function hold(qos: 0 | 1 | 2 = 1, clean = false, filter?: string): Promise<Held> {
  const { id } = f.device();
  const token = tokenFor(id);
  const wire = await enter(id, token, clean);
  await wire.subscribe([filter ?? `x/${id}`], qos);
  return { id, token, wire };
}

/** Ways to take something of a client back. */
const ways: [string, (held: Held) => void][] = [
  ["its token is revoked", ({ token }) => f.trust.revokeTokens(hashesOf(token))],
  ["it is disabled", ({ id }) => f.trust.learnClient({ id, enabled: false })],
  ["it is deleted", ({ id }) => f.trust.forgetClient(id)],
];
let groups = 0;
const bringBack = ({ id }: Held): void => f.trust.learnClient({ id, enabled: true });

describe.each(ways)("when %s", (_what, takeBack) => {
  it("who returns with a fresh token finds no session, and nothing of what was in it", async () => {
    const held = await hold();
    // sent, and not acknowledged
    await publisher.publish(`x/${held.id}`, "sent", { qos: 1 });
    await held.wire.next("publish");
    takeBack(held);
    await held.wire.closed;
    await publisher.publish(`x/${held.id}`, "after", { qos: 1 });
    bringBack(held);
    const wire = await f.open({ transport: "tcp" });
    const connack = await wire.connect({ clientId: held.id, clean: false, ...bearer(tokenFor(held.id)) });
    expect(connack).toMatchObject({ returnCode: 0, sessionPresent: false });
    await publisher.publish(`x/${held.id}`, "later", { qos: 1 });
    await wire.settled();
    expect(wire.all("publish")).toEqual([]);
    // and begins another, which is kept
    await wire.subscribe([`x/${held.id}`], 1);
    wire.drop();
    await publisher.publish(`x/${held.id}`, "new", { qos: 1 });
    const again = await f.open({ transport: "tcp" });
    const next = await again.connect({ clientId: held.id, clean: false, ...bearer(tokenFor(held.id)) });
    expect([next.sessionPresent, (await again.message()).payload]).toEqual([true, "new"]);
    again.drop();
  });

  it("a member of a group gets nothing more, and the others get all of it", async () => {
    const topic = `x/group/${++groups}`;
    const filter = `$share/g/${topic}`;
    const [held, other] = [await hold(1, true, filter), await hold(1, true, filter)];
    takeBack(held);
    for (let i = 0; i < 6; i++) await publisher.publish(topic, String(i), { qos: 1 });
    await other.wire.settled();
    expect(other.wire.all("publish")).toHaveLength(6);
    await held.wire.closed;
    expect(held.wire.all("publish")).toEqual([]);
  });

  it("not a byte leaves any more of what it has not read", async () => {
    const held = await hold(0, true);
    held.wire.pause();
    const [session] = f.gate.sessions.by("client", held.id);
    const conn = session!.connection.conn as Socket;
    const payload = Buffer.alloc(200_000, "x");
    while (conn.writableLength === 0) {
      await publisher.publish(`x/${held.id}`, payload);
      await publisher.settled();
    }
    const { _handle: handle } = conn as unknown as { _handle: { bytesWritten: number; writeQueueSize: number } };
    const { bytesWritten, writeQueueSize } = handle;
    expect(writeQueueSize).toBeGreaterThan(0);
    takeBack(held);
    expect(conn.destroyed).toBe(true);
    held.wire.resume();
    await held.wire.closed;
    const got = held.wire.all("publish").length * payload.length;
    // what the system had taken by then
    expect(got).toBeLessThanOrEqual(bytesWritten - writeQueueSize);
  });
});

it("many at once: who has bytes unread is cut off before its turn to be closed", async () => {
  const own = await openFixture();
  onTestFinished(() => own.close());
  const { id } = own.device();
  const wires: Wire[] = [];
  for (let i = 0; i < 150; i++) {
    const wire = await own.open({ transport: "tcp" });
    const token = own.jwt(id, { aud: BEARER_AUDIENCE, allow });
    await wire.connect({ clientId: `${id}:${i}`, ...bearer(token) });
    wires.push(wire);
  }
  const last = wires.at(-1)!;
  await last.subscribe(["x/big"]);
  last.pause();
  const session = own.gate.sessions.by("client", id).at(-1)!;
  const { conn } = session.connection;
  while (conn.writableLength === 0) {
    await wires[0]!.publish("x/big", Buffer.alloc(200_000));
    await wires[0]!.settled();
  }
  own.trust.forgetKey(KID);
  const open = own.gate.sessions.all().filter(({ connection }) => !connection.conn.destroyed);
  // some wait for their turn
  expect([open.length > 0, open.includes(session)]).toEqual([true, false]);
  last.resume();
  await Promise.all(wires.map((wire) => wire.closed));
});

it("who comes for a session in the moment in which another credential of it is revoked comes back to find none, or keeps it", async () => {
  let [kept, ended] = [0, 0];
  for (let turns = 0; turns < 24; turns++) {
    const held = await hold();
    const { id } = held;
    await publisher.publish(`x/${id}`, "old", { qos: 1 });
    await held.wire.next("publish");
    const token = tokenFor(id);
    const wire = await f.open({ transport: "tcp" });
    const connack = wire.connect({ clientId: id, clean: false, ...bearer(token) }).catch(() => undefined);
    while (f.gate.sessions.by("client", id).length < 2) await new Promise((resolve) => setImmediate(resolve));
    for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
    const isTooLate = f.gate.sessions
      .by("client", id)
      .every(({ rights }) => rights.token!.hashes[0] !== tokenHashes(held.token)[0]);
    f.trust.revokeTokens(hashesOf(held.token));
    await held.wire.closed;
    let last = wire;
    if (isTooLate) {
      // it had taken the session over: that is its own
      expect((await connack)?.sessionPresent).toBe(true);
      expect((await wire.message()).payload).toBe("old");
      kept++;
    } else {
      await wire.closed;
      last = await f.open({ transport: "tcp" });
      const next = await last.connect({ clientId: id, clean: false, ...bearer(token) });
      expect(next).toMatchObject({ returnCode: 0, sessionPresent: false });
      await last.settled();
      expect(last.all("publish")).toEqual([]);
      await last.subscribe([`x/${id}`], 1);
      ended++;
    }
    await publisher.publish(`x/${id}`, "new", { qos: 1 });
    expect((await last.message()).payload).toBe("new");
    last.drop();
  }
  expect([kept > 0, ended > 0]).toEqual([true, true]);
});

it("who is taken back before its CONNECT is answered takes nobody's place", async () => {
  const { id } = f.device();
  const first = await enter(id, tokenFor(id));
  const token = tokenFor(id);
  const wire = await f.open({ transport: "tcp" });
  f.when(
    (line) => line.msg === "session opened" && line.clientId === id,
    // when it is authenticated, and not registered
    () => queueMicrotask(() => f.trust.revokeTokens(hashesOf(token))),
  );
  await expect(wire.connect({ clientId: id, ...bearer(token) })).rejects.toThrow("closed before connack");
  await first.settled();
  first.drop();
});

describe("retained messages", () => {
  const retainedBy = async (held: Held): Promise<string[]> => {
    const { id } = f.device();
    const reader = await enter(id, tokenFor(id));
    await reader.subscribe([`x/${held.id}/#`]);
    // what a second subscription brings comes behind what the first one brought
    const marker = `x/marker/${id}`;
    await publisher.publish(marker, "1", { qos: 1, retain: true });
    await reader.subscribe([marker]);
    const topics: string[] = [];
    for (let topic = ""; topic !== marker; topics.push(topic)) ({ topic } = await reader.message());
    reader.drop();
    return topics.slice(0, -1);
  };
  const learn = (purge?: RetainedPurge): void =>
    f.trust.learnApi({
      audience: BEARER_AUDIENCE,
      kind: "mqtt",
      bearer: true,
      topics: ["x/#"],
      ...(purge && { purge }),
    });

  it.each([
    { purge: undefined, way: ways[0]!, isKept: true },
    { purge: undefined, way: ways[1]!, isKept: false },
    { purge: "client" as const, way: ways[2]!, isKept: false },
    { purge: "always" as const, way: ways[0]!, isKept: false },
    { purge: "never" as const, way: ways[0]!, isKept: true },
    { purge: "never" as const, way: ways[1]!, isKept: true },
  ])("of an api that purges $purge stay, when $way.0: $isKept", async ({ purge, way, isKept }) => {
    learn(purge);
    onTestFinished(() => learn());
    const held = await hold();
    const topics = [`x/${held.id}/1`, `x/${held.id}/2`];
    for (const topic of topics) await held.wire.publish(topic, "1", { qos: 1, retain: true });
    expect(await retainedBy(held)).toEqual(topics);
    way[1](held);
    expect(await retainedBy(held)).toEqual(isKept ? topics : []);
  });
});

it("its will is neither published nor kept", async () => {
  const { id } = f.device();
  const token = tokenFor(id);
  const reader = await hold(0, true, "x/will");
  const will = { topic: "x/will", payload: Buffer.from("will"), qos: 1 as const, retain: true };
  const wire = await enter(id, token, false, { will });
  f.trust.revokeTokens(hashesOf(token));
  await wire.closed;
  await publisher.publish("x/will", "mark", { qos: 1 });
  expect((await reader.wire.message()).payload).toBe("mark");
});

describe("at a start", () => {
  it("sessions and retained messages of who was disabled or deleted meanwhile are gone before anybody is let in", async () => {
    const opened = await openStore();
    const clients = ["acme.lives", "acme.lives:x", "acme.disabled", "acme.disabled:x", "acme.deleted"];
    for (const client of clients) {
      await subscribe(opened.store, client, ["x/#", 1]);
      opened.store.accept(message(`x/${client}`, "1", { retain: true, clientId: client }));
    }
    opened.store.close();
    const { store, db } = await openStore({ file: opened.file });
    const own = await openFixture();
    onTestFinished(() => own.close());
    own.trust.learnClient({ id: "acme.lives", enabled: true });
    own.trust.learnClient({ id: "acme.disabled", enabled: false });
    const tls = { cert: own.authority.cert, key: "" };
    const engine = await startEngine({ gate: own.gate, tls, store });
    expect(clients.filter((client) => store.hasSession(client))).toEqual(["acme.lives", "acme.lives:x"]);
    const found = (await store.createRetainedStream("#").toArray()) as { topic: string }[];
    expect(found.map(({ topic }) => topic).toSorted()).toEqual(["x/acme.lives", "x/acme.lives:x"]);
    await expect.poll(() => [rows(db, "session"), rows(db, "retained"), rows(db, "purge")], patient).toEqual([2, 2, 0]);
    await engine.close();
    // who is no longer served is no longer told
    own.trust.forgetClient("acme.lives");
    expect(store.hasSession("acme.lives")).toBe(true);
  });
});

it("where the store is not ours, the connection and what waits for it go all the same", async () => {
  const gate = openGate({ trust: f.trust });
  const broker = await Aedes.createBroker(brokerOptions(gate, { emitter: emitter(), store: memoryPersistence() }));
  const server = createServer(openGuard(broker, gate, { without: ["store"] }));
  await once(server.listen(0, "127.0.0.1"), "listening");
  onTestFinished(async () => {
    await new Promise<void>((resolve) => broker.close(resolve));
    server.close();
    gate.close();
  });
  const { port } = server.address() as AddressInfo;
  const { id } = f.device();
  const token = tokenFor(id);
  const wire = await Wire.open({ transport: "tcp", port });
  await wire.connect({ clientId: id, clean: false, ...bearer(token) });
  await wire.subscribe(["x/1"], 1);
  wire.pause();
  const { conn } = gate.sessions.by("client", id)[0]!.connection;
  while (conn.writableLength === 0) {
    await new Promise<void>((resolve) =>
      broker.publish({ topic: "x/1", payload: Buffer.alloc(200_000), qos: 0 } as never, () => resolve()),
    );
    await new Promise((resolve) => setImmediate(resolve));
  }
  f.trust.revokeTokens(hashesOf(token));
  expect(conn.destroyed).toBe(true);
  wire.resume();
  await wire.closed;
  // its subscriptions are given up first, which takes a turn or two
  await expect.poll(() => broker.connectedClients, patient).toBe(0);
});
