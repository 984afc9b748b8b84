/** Connections that end, or begin, at a moment that is not theirs to choose: nothing of them stays, and nothing of others goes. */
import { connect as connectTcp, type Socket } from "node:net";
import mqttPacket from "mqtt-packet";
import { expect, it, vi } from "vitest";
import { createSigner } from "../../../shared/es256.ts";
import { makePrivateKey } from "../../gate/certificates.ts";
import type { EngineClient } from "../../../broker/mqtt/aedes-client.ts";
import { openGround, patienceMs, turns } from "./ground.ts";

/** Waits for the end; a reset before it is an end as well. */
function closed(socket: Socket): Promise<void> {
  socket.on("error", () => undefined);
  return new Promise((resolve) => socket.once("close", () => resolve()));
}

it("a client that is gone before its CONNACK leaves no session that stays attended", async () => {
  const ground = await openGround({ limits: { sessionSeconds: 100 } });
  const { broker, store, clock } = ground;
  // CONNACK is being written
  broker.on("client", (client: EngineClient) => process.nextTick(() => client.conn.destroy()));
  const socket = connectTcp(ground.port, "127.0.0.1");
  socket.resume();
  socket.write(mqttPacket.generate(ground.connectPacket("acme.a", { clean: false })));
  await closed(socket);
  await turns();
  clock.now += 200;
  await vi.waitFor(async () => {
    await store.tidy();
    expect(store.sizes.sessions).toBe(0);
  }, patienceMs);
});

it("a client that is gone while its will is stored is not kept", async () => {
  const ground = await openGround();
  const { broker } = ground;
  const persistence = broker.persistence as { putWill(client: EngineClient, will: object): Promise<void> };
  const putWill = persistence.putWill.bind(persistence);
  Object.assign(persistence, {
    async putWill(client: EngineClient, will: object) {
      client.close();
      await putWill(client, will);
    },
  });
  const will = { topic: "w", payload: Buffer.from("gone"), qos: 0, retain: false } as const;
  for (let n = 0; n < 5; n++) {
    const socket = connectTcp(ground.port, "127.0.0.1");
    socket.resume();
    socket.write(mqttPacket.generate(ground.connectPacket(`acme.a:${n}`, { will })));
    await closed(socket);
  }
  await turns(20);
  await vi.waitFor(() => expect([Object.keys(broker.clients), broker.connectedClients]).toEqual([[], 0]), patienceMs);
});

it("of one client id there is one connection, also when the one before it ends at the same moment", async () => {
  const ground = await openGround();
  const { broker } = ground;
  const first = await ground.enter("acme.a");
  await first.subscribe(["t"]);
  const old = broker.clients["acme.a"]!;
  const isSecond = (client: EngineClient): boolean => client !== old;
  broker.once("client", (client: EngineClient) => expect(isSecond(client)).toBe(true));
  // it has begun to end, and has not ended, when the next one is registered
  const persistence = broker.persistence as { delWill(client: EngineClient): Promise<void> };
  const delWill = persistence.delWill.bind(persistence);
  Object.assign(persistence, {
    delWill(client: EngineClient) {
      const deleted = delWill(client);
      if (isSecond(client)) old.close();
      return deleted;
    },
  });
  const second = await ground.enter("acme.a");
  await turns(10);
  const third = await ground.enter("acme.a");
  await second.closed;
  expect(third.isClosed).toBe(false);
  await vi.waitFor(() => expect(broker.connectedClients).toBe(1), patienceMs);
});

it("a CONNECT in another client's name that is not decided yet touches nothing of that client's", async () => {
  let asked = (): void => undefined;
  const isAsked = new Promise<void>((resolve) => (asked = resolve));
  const ground = await openGround({
    refreshKeys() {
      asked();
      return new Promise(() => undefined);
    },
  });
  const victim = await ground.enter("acme.victim", { clean: false });
  await victim.subscribe(["t"], 2);
  const send = (): void =>
    victim.send({ cmd: "publish", topic: "t", payload: "once", qos: 2, dup: false, retain: false, messageId: 7 });
  send();
  await victim.next("pubrec");
  const stranger = await ground.open();
  const password = Buffer.from(ground.token("acme.victim", ["pubsub:#"], createSigner("unknown", makePrivateKey())));
  stranger.send(ground.connectPacket("acme.victim", { clean: true, password }));
  await isAsked;
  stranger.drop();
  await stranger.closed;
  await turns(20);
  send();
  await victim.next("pubrec");
  await victim.settled();
  expect(victim.all("publish")).toHaveLength(1);
});

it("of one client there are no more stored sessions than it may have, however many begin at once", async () => {
  const ground = await openGround({ limits: { sessionsPerClient: 2 } });
  const wires = await Promise.all(Array.from({ length: 10 }, () => ground.open()));
  const ends = wires.map(async (wire, n) => {
    // each waits for the disk with its will
    const will = { topic: "w", payload: Buffer.alloc(0), qos: 0, retain: false } as const;
    wire.send(ground.connectPacket(`acme.a:${n}`, { clean: false, will }));
    await wire.subscribe(["t"], 1);
  });
  await Promise.allSettled(ends);
  expect(ground.store.sizes.sessions).toBe(2);
});

it("a client has no more retained topics under many ids than under one", async () => {
  const ground = await openGround({ limits: { retainedPerClient: 3 } });
  for (let n = 0; n < 4; n++) {
    const wire = await ground.enter(`acme.a:${n}`);
    for (let topic = 0; topic < 2; topic++) await wire.publish(`t/${n}/${topic}`, "x", { qos: 1, retain: true });
  }
  expect(ground.store.sizes.retained).toBe(3);
});
