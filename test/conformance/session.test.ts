/** MQTT 3.1.1, sections 3.1.2.4, 3.2.2.2 and 4.1: what is kept of a session, for whom, and who takes over. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { IPublishPacket, QoS } from "mqtt-packet";
import type { Wire } from "../gate/wire.ts";
import { publishFrame } from "./frames.ts";
import { openRoom, payloadsUntil, receive, receiveUntil } from "./room.ts";
import type { Credentials, Room } from "./room.ts";

let room: Room;
beforeAll(async () => {
  room = await openRoom();
});
afterAll(() => room.close());

const resume = (credentials: Credentials) => room.enterWith({ ...credentials, clean: false });

/** A stored session with one subscription, whose client is away. */
async function away(topic: string, qos: QoS = 2): Promise<Credentials> {
  const credentials = room.credentials();
  const [wire] = await resume(credentials);
  await wire.subscribe([topic], qos);
  await wire.leave();
  return credentials;
}

describe("Session Present", () => {
  it("MQTT-3.2.2-1: is 0 for a clean session, even where one was kept", async () => {
    const credentials = await away(room.newTopic());
    expect((await room.enterWith(credentials))[1].sessionPresent).toBe(false);
  });

  it("MQTT-3.2.2-3: is 0 where none is kept", async () => {
    expect((await resume(room.credentials()))[1].sessionPresent).toBe(false);
  });

  it.each<[string, (wire: Wire, topic: string) => Promise<void>]>([
    ["subscriptions", async (wire, topic) => void (await wire.subscribe([topic], 1))],
    [
      "a message that waits for its PUBREL",
      async (wire, topic) => {
        wire.sendBytes(publishFrame(topic, "", { qos: 2 }));
        await wire.next("pubrec");
      },
    ],
    [
      "a message that was not acknowledged, and no subscription any more",
      async (wire, topic) => {
        await wire.subscribe([topic], 1);
        await wire.publish(topic, "", { qos: 1 });
        await wire.next("publish");
        wire.send({ cmd: "unsubscribe", messageId: 5, unsubscriptions: [topic] });
        await wire.next("unsuback");
      },
    ],
  ])("MQTT-3.2.2-2: is 1 where one is kept that holds %s", async (_name, fill) => {
    const credentials = room.credentials();
    const [wire] = await resume(credentials);
    await fill(wire, room.newTopic());
    await wire.leave();
    expect((await resume(credentials))[1].sessionPresent).toBe(true);
  });

  it("MQTT-3.2.2-3: is 0 where one held nothing when its client left, for such a session is not kept", async () => {
    const credentials = room.credentials();
    const [wire] = await resume(credentials);
    await wire.leave();
    expect((await resume(credentials))[1].sessionPresent).toBe(false);
  });

  it("MQTT-4.1.0-2, MQTT-3.2.2-2: is 1 when a connection takes a kept session over", async () => {
    const credentials = room.credentials();
    const [first] = await resume(credentials);
    await first.subscribe([room.newTopic()], 1);
    expect((await resume(credentials))[1].sessionPresent).toBe(true);
  });
});

describe("a session that is kept", () => {
  it("MQTT-3.1.2-4, MQTT-4.1.0-1: has its subscriptions again, at their QoS", async () => {
    const topic = room.newTopic();
    const credentials = room.credentials();
    const [wire] = await resume(credentials);
    await wire.subscribe([`${topic}/0`], 0);
    await wire.subscribe([`${topic}/+`], 1);
    await wire.leave();
    const [back] = await resume(credentials);
    const sender = await room.enter();
    await sender.publish(`${topic}/0`, "0", { qos: 0 });
    expect(await receive(back)).toMatchObject({ payload: "0", qos: 0 });
    await sender.publish(`${topic}/1`, "1", { qos: 2 });
    expect(await receive(back)).toMatchObject({ payload: "1", qos: 1 });
  });

  it("MQTT-3.1.2-5, MQTT-4.5.0-1: has what was published while the client was away, in order, once, without DUP", async () => {
    const topic = room.newTopic();
    const credentials = await away(`${topic}/#`);
    const sender = await room.enter();
    const sent = [1, 2, 1, 2, 2, 1] as const;
    for (const [index, qos] of sent.entries()) await sender.publish(`${topic}/${index}`, `${index}`, { qos });
    const [back] = await resume(credentials);
    await sender.publish(`${topic}/end`, "end", { qos: 1 });
    const received = await receiveUntil(back, "end");
    expect(received).toEqual(
      sent.map((qos, index) => ({ topic: `${topic}/${index}`, payload: `${index}`, qos, retain: false, dup: false })),
    );
    await back.leave();
    const [again] = await resume(credentials);
    await sender.publish(`${topic}/end`, "end", { qos: 1 });
    expect(await payloadsUntil(again, "end")).toEqual([]);
  });

  it("MQTT-3.8.4-3: has one subscription for each filter, the last", async () => {
    const topic = room.newTopic();
    const credentials = room.credentials();
    const [wire] = await resume(credentials);
    await wire.subscribe([topic], 2);
    await wire.subscribe([topic], 1);
    await wire.leave();
    const sender = await room.enter();
    await sender.publish(topic, "once", { qos: 2 });
    await sender.publish(topic, "end", { qos: 1 });
    const [back] = await resume(credentials);
    expect(await receiveUntil(back, "end")).toMatchObject([{ payload: "once", qos: 1 }]);
  });

  it("has no subscription that was ended", async () => {
    const topic = room.newTopic();
    const credentials = room.credentials();
    const [wire] = await resume(credentials);
    await wire.subscribe([topic, `${topic}/end`], 1);
    wire.send({ cmd: "unsubscribe", messageId: 5, unsubscriptions: [topic] });
    await wire.next("unsuback");
    await wire.leave();
    const sender = await room.enter();
    await sender.publish(topic, "no", { qos: 1 });
    const [back] = await resume(credentials);
    await sender.publish(topic, "no", { qos: 1 });
    await sender.publish(`${topic}/end`, "end", { qos: 1 });
    expect(await payloadsUntil(back, "end")).toEqual([]);
  });

  it("gets no retained message when it is resumed", async () => {
    const topic = room.newTopic();
    const sender = await room.enter();
    await sender.publish(topic, "retained", { qos: 1, retain: true });
    const credentials = room.credentials();
    const [wire] = await resume(credentials);
    await wire.subscribe([topic], 1);
    expect((await receive(wire)).payload).toBe("retained");
    await wire.leave();
    const [back] = await resume(credentials);
    await sender.publish(topic, "end", { qos: 1 });
    expect(await payloadsUntil(back, "end")).toEqual([]);
  });

  it("MQTT-3.3.1-9: gets what is published as retained while its client is away without the flag", async () => {
    const topic = room.newTopic();
    const credentials = await away(topic);
    const sender = await room.enter();
    await sender.publish(topic, "kept", { qos: 1, retain: true });
    const [back] = await resume(credentials);
    expect(await receive(back)).toMatchObject({ payload: "kept", retain: false });
  });

  it("MQTT-3.1.3-2: is one client's alone", async () => {
    const topic = room.newTopic();
    await away(topic);
    const [other, connack] = await resume(room.credentials());
    expect(connack.sessionPresent).toBe(false);
    await other.publish(topic, "", { qos: 1 });
    await other.subscribe([`${topic}/end`], 1);
    await other.publish(`${topic}/end`, "end", { qos: 1 });
    expect(await payloadsUntil(other, "end")).toEqual([]);
  });

  it("is kept as well when the connection breaks", async () => {
    const topic = room.newTopic();
    const credentials = room.credentials();
    const [wire] = await resume(credentials);
    await wire.subscribe([topic], 1);
    wire.drop();
    await wire.closed;
    const sender = await room.enter();
    await sender.publish(topic, "waited", { qos: 1 });
    const [back] = await resume(credentials);
    expect((await receive(back)).payload).toBe("waited");
  });
});

describe("a clean session", () => {
  it("MQTT-3.1.2-6, MQTT-3.1.4-3: discards what was kept, and keeps nothing", async () => {
    const topic = room.newTopic();
    const credentials = await away(topic);
    const sender = await room.enter();
    await sender.publish(topic, "old", { qos: 1 });
    const [clean] = await room.enterWith({ ...credentials, clean: true });
    await clean.subscribe([`${topic}/end`, `${topic}/other`], 1);
    await sender.publish(topic, "old", { qos: 1 });
    await sender.publish(`${topic}/end`, "end", { qos: 1 });
    expect(await payloadsUntil(clean, "end")).toEqual([]);
    await clean.leave();

    const [back, connack] = await resume(credentials);
    expect(connack.sessionPresent).toBe(false);
    await back.subscribe([`${topic}/end`], 1);
    await sender.publish(topic, "no", { qos: 1 });
    await sender.publish(`${topic}/other`, "no", { qos: 1 });
    await sender.publish(`${topic}/end`, "end", { qos: 1 });
    expect(await payloadsUntil(back, "end")).toEqual([]);
  });

  it("MQTT-3.1.2-7: leaves retained messages where they are", async () => {
    const topic = room.newTopic();
    const sender = await room.enter();
    await sender.publish(topic, "stays", { qos: 1, retain: true });
    await sender.leave();
    const reader = await room.enter();
    await reader.subscribe([topic], 1);
    expect((await receive(reader)).payload).toBe("stays");
  });
});

describe("a second connection of a client id", () => {
  it.each([
    [true, true],
    [true, false],
    [false, true],
    [false, false],
  ])("MQTT-3.1.4-2: closes the first (clean %s, then %s)", async (cleanFirst, cleanSecond) => {
    const topic = room.newTopic();
    const credentials = room.credentials();
    const first = await room.enter({ ...credentials, clean: cleanFirst });
    await first.subscribe([topic], 1);
    const [second, connack] = await room.enterWith({ ...credentials, clean: cleanSecond });
    await first.closed;
    const isKept = !cleanFirst && !cleanSecond;
    expect(connack.sessionPresent).toBe(isKept);
    const sender = await room.enter();
    await second.subscribe([`${topic}/end`], 1);
    await sender.publish(topic, "news", { qos: 1 });
    await sender.publish(`${topic}/end`, "end", { qos: 1 });
    expect(await payloadsUntil(second, "end")).toEqual(isKept ? ["news"] : []);
  });

  it("MQTT-4.4.0-1: gets what the first had not acknowledged, with DUP and the same packet identifier", async () => {
    const topic = room.newTopic();
    const credentials = room.credentials();
    const [first] = await resume(credentials);
    await first.subscribe([topic], 1);
    const sender = await room.enter();
    await sender.publish(topic, "news", { qos: 1 });
    const { messageId } = await first.next<IPublishPacket>("publish");
    const [second] = await resume(credentials);
    expect(await second.next<IPublishPacket>("publish")).toMatchObject({ dup: true, messageId });
  });

  it("leaves one, of many that come at once", async () => {
    const credentials = room.credentials();
    const wires = await Promise.all(Array.from({ length: 10 }, () => room.open()));
    for (const wire of wires) {
      wire.send({ cmd: "connect", protocolId: "MQTT", protocolVersion: 4, clean: false, keepalive: 0, ...credentials });
    }
    const ends = await Promise.all(
      wires.map((wire) =>
        wire.next("connack").then(
          () => wire,
          () => undefined,
        ),
      ),
    );
    const admitted = ends.filter((wire) => wire !== undefined);
    expect(admitted.length).toBeGreaterThan(0);
    const alive = await Promise.all(
      admitted.map((wire) =>
        wire.settled().then(
          () => true,
          () => false,
        ),
      ),
    );
    expect(alive.filter((isAlive) => isAlive)).toHaveLength(1);
  });

  it("that is refused leaves the first where it is", async () => {
    const topic = room.newTopic();
    const credentials = room.credentials();
    const [first] = await resume(credentials);
    await first.subscribe([topic], 1);
    const wire = await room.open();
    await wire.connect({ ...credentials, password: Buffer.from("no token") });
    await wire.closed;
    await first.publish(topic, "still here", { qos: 1 });
    expect((await receive(first)).payload).toBe("still here");
  });
});
