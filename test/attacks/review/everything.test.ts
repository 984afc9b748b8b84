/**
 * Clients that do everything at random, each at the worst moment: connect under few ids, subscribe, share, publish, acknowledge
 * what is theirs and what is not, renew, break off. When they are gone nothing of them is left, and the next one is served.
 */
import { connect as connectTcp, type Socket } from "node:net";
import mqttPacket from "mqtt-packet";
import type { IPublishPacket, Packet, QoS } from "mqtt-packet";
import { expect, it, vi } from "vitest";
import type { Emitter } from "../../../broker/mqtt/emitter.ts";
import { openGround, patienceMs, turns, type Ground } from "./ground.ts";

/** The same numbers for the same seed (xorshift32). */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

const topics = ["t/a", "t/b", "t/c/d", "u"];
const filters = [
  "t/#",
  "t/+",
  "t/a",
  "u",
  "#",
  "$share/g/t/#",
  "$share/h/t/+",
  "$share/g/u",
  "$postern/session",
  "no/#",
];
const rights = [["pubsub:#"], ["pubsub:t/#"], ["pub:#", "sub:t/a"]];

/** A client: sends what it is told to, at once, and acknowledges what arrives as chance will have it. */
class Chance {
  readonly #ground: Ground;
  readonly #pick: (below: number) => number;
  readonly #id: string;
  readonly socket: Socket;

  constructor(ground: Ground, pick: (below: number) => number) {
    this.#ground = ground;
    this.#pick = pick;
    this.#id = `acme.c${pick(3)}${["", ":x", ":y"][pick(3)]}`;
    this.socket = connectTcp(ground.port, "127.0.0.1");
    this.socket.on("error", () => {});
    const parser = mqttPacket.parser({ protocolVersion: 4 });
    parser.on("packet", (packet: Packet) => this.#react(packet));
    this.socket.on("data", (bytes) => parser.parse(bytes));
    const will = { topic: "t/a", payload: Buffer.from("gone"), qos: pick(3) as QoS, retain: pick(4) === 0 };
    this.send(ground.connectPacket(this.#id, { clean: pick(2) === 0, ...(pick(3) === 0 && { will }) }));
  }

  send(packet: Packet): void {
    if (!this.socket.destroyed) this.socket.write(mqttPacket.generate(packet));
  }

  act(): void {
    const pick = this.#pick;
    const some = Array.from({ length: 1 + pick(3) }, () => filters[pick(filters.length)]!);
    const messageId = 1 + pick(20);
    switch (pick(13)) {
      case 0:
      case 1:
      case 2:
        return this.send({
          cmd: "subscribe",
          messageId,
          subscriptions: some.map((topic) => ({ topic, qos: pick(3) as QoS })),
        });
      case 3:
        return this.send({ cmd: "unsubscribe", messageId, unsubscriptions: some });
      case 4:
      case 5:
      case 6:
      case 7: {
        const qos = pick(3) as QoS;
        const payload = Buffer.alloc(pick(10) === 0 ? 100_000 : pick(20));
        const topic = topics[pick(topics.length)]!;
        const retain = pick(5) === 0;
        return this.send({ cmd: "publish", topic, payload, qos, retain, dup: false, ...(qos > 0 && { messageId }) });
      }
      case 8:
        return this.send({ cmd: (["puback", "pubrec", "pubrel", "pubcomp"] as const)[pick(4)]!, messageId });
      case 9: {
        const payload = this.#ground.token(this.#id.split(":")[0]!, rights[pick(rights.length)]);
        return this.send({ cmd: "publish", topic: "authz-info", payload, qos: 0, retain: false, dup: false });
      }
      case 10:
        return this.send({ cmd: "pingreq" });
      case 11:
        if (pick(3) > 0) return;
        this.send({ cmd: "disconnect" });
        return void this.socket.end();
      default:
        if (pick(3) === 0) this.socket.destroy();
        else if (pick(2) === 0) this.socket.pause();
        else this.socket.resume();
    }
  }

  #react(packet: Packet): void {
    const pick = this.#pick;
    const { messageId } = packet as IPublishPacket;
    if (pick(6) === 0 || messageId === undefined) return;
    if (packet.cmd === "publish") this.send({ cmd: packet.qos === 1 ? "puback" : "pubrec", messageId });
    if (packet.cmd === "pubrec") this.send({ cmd: "pubrel", messageId });
    if (packet.cmd === "pubrel") this.send({ cmd: "pubcomp", messageId });
  }
}

it.each([1, 2, 3, 4, 5])("nothing is left of clients that did everything (%i)", async (seed) => {
  const limits = { sessionSeconds: 100, sendBytes: 200_000, window: 5, holdMilliseconds: 2, stallMilliseconds: 200 };
  const ground = await openGround({ limits });
  const pick = numbers(seed * 7919);
  let clients: Chance[] = [];
  for (let step = 0; step < 1500; step++) {
    clients = clients.filter(({ socket }) => !socket.destroyed);
    if (clients.length < 8 && pick(4) === 0) clients.push(new Chance(ground, pick));
    clients[pick(clients.length || 1)]?.act();
    // taken back
    if (pick(150) === 0) for (const session of ground.gate.sessions.all()) ground.gate.sessions.close(session, true);
    if (pick(3) === 0) await turns(1);
  }
  for (const { socket } of clients) socket.destroy();
  while (clients.some(({ socket }) => !socket.closed)) await turns(1);
  const { broker, gate, store, clock } = ground;
  while (gate.sessions.size > 0) await turns();
  await turns(200);
  const mq = broker.mq as unknown as Emitter;
  await vi.waitFor(() => {
    expect([Object.keys(broker.clients), broker.connectedClients, mq.current, mq.length]).toEqual([[], 0, 0, 0]);
  }, patienceMs);
  for (const topic of topics) {
    const message = { cmd: "publish", topic, payload: Buffer.alloc(0), qos: 1, retain: false, dup: false } as const;
    expect(mq.choose(message).groups.size).toBe(0);
  }

  clock.now += 200;
  await vi.waitFor(async () => {
    await store.tidy();
    expect([store.sizes.sessions, store.sizes.queued, store.sizes.queuedBytes]).toEqual([0, 0, 0]);
  }, patienceMs);

  const reader = await ground.enter("acme.c0", { clean: false });
  await reader.subscribe(["last"], 2);
  const publisher = await ground.enter("acme.c1");
  for (const qos of [0, 1, 2] as const) {
    await publisher.publish("last", `${qos}`, { qos });
    expect((await reader.message()).payload).toBe(`${qos}`);
  }
  expect(ground.log.filter(({ reason, msg }) => reason === "internal" || msg.includes("fault of ours"))).toEqual([]);
});
