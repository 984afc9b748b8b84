/** MQTT 3.1.1, sections 3.3, 3.8.4 and 4.6: which messages arrive, at which QoS, and in which order. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Packet, QoS } from "mqtt-packet";
import type { Wire } from "../gate/wire.ts";
import { frame, number, publishFrame, subscribeFrame } from "./frames.ts";
import { idsOf, nextMessage, openRoom, payloadsUntil, receive, receiveUntil, verdict } from "./room.ts";
import type { Room } from "./room.ts";

let room: Room;
let sender: Wire;
beforeAll(async () => {
  room = await openRoom();
  sender = await room.enter();
});
afterAll(() => room.close());

describe("a message", () => {
  const levels: QoS[] = [0, 1, 2];
  const cases = [true, false].flatMap((clean) =>
    levels.flatMap((qos) => levels.map((subscribed): [boolean, QoS, QoS] => [clean, qos, subscribed])),
  );
  it.each(cases)(
    "MQTT-3.8.4-6, MQTT-3.3.4-1: comes at the lower QoS of the two (clean session %s, published %i, subscribed %i)",
    async (clean, qos, subscribed) => {
      const topic = room.newTopic();
      const reader = await room.readerOf(topic, subscribed, clean);
      await sender.publish(topic, "once", { qos });
      expect(await receive(reader)).toMatchObject({ topic, payload: "once", qos: Math.min(qos, subscribed) });
      await sender.publish(topic, "end", { qos });
      expect(await payloadsUntil(reader, "end")).toEqual([]);
    },
  );

  it.each([true, false])(
    "MQTT-3.3.5-1: comes once, at the highest QoS of the filters that match (clean %s)",
    async (clean) => {
      const topic = room.newTopic();
      for (const filters of [
        [`${topic}/#:0`, `${topic}/+:1`, `${topic}/a:2`],
        [`${topic}/a:2`, `${topic}/+:1`, `${topic}/#:0`],
        [`${topic}/+:1`, `${topic}/#:2`, `+/a:0`, `${topic}/b:2`],
      ]) {
        const reader = await room.enter({ clean });
        const pairs = filters.map((text) => text.split(":") as [string, string]);
        reader.sendBytes(subscribeFrame(pairs.map(([filter, qos]) => [filter, Number(qos)] as const)));
        await reader.next("suback");
        await sender.publish(`${topic}/a`, "once", { qos: 2 });
        await sender.publish(`${topic}/a`, "end", { qos: 2 });
        expect(await receiveUntil(reader, "end")).toMatchObject([{ payload: "once", qos: 2 }]);
      }
    },
  );

  it.each([
    ["a/+", publishFrame("a/+", "")],
    ["#", publishFrame("#", "")],
    ["a#", publishFrame("a#", "", { qos: 1 })],
    ["an empty name", publishFrame("", "")],
  ])("MQTT-3.3.2-2, MQTT-4.7.1-1, MQTT-4.7.3-1: to %s closes the connection", async (_name, bytes) => {
    expect(await verdict(await room.enter(), bytes)).toBe("closed");
  });

  it("MQTT-3.3.5-2: that is not authorized closes the connection and reaches nobody", async () => {
    const topic = room.newTopic();
    const reader = await room.readerOf(topic);
    const wire = await room.enter({ allow: ["sub:#"] });
    expect(await verdict(wire, publishFrame(topic, "no", { qos: 1 }))).toBe("closed");
    expect(wire.all("puback")).toEqual([]);
    await sender.publish(topic, "end", { qos: 1 });
    expect(await payloadsUntil(reader, "end")).toEqual([]);
  });

  it("comes to its own sender as well", async () => {
    const topic = room.newTopic();
    const reader = await room.readerOf(topic);
    await reader.publish(topic, "mine", { qos: 2 });
    expect((await receive(reader)).payload).toBe("mine");
  });

  it("has its payload byte for byte", async () => {
    const topic = room.newTopic();
    const reader = await room.readerOf(topic, 2, false);
    const payload = Buffer.from(Array.from({ length: 512 }, (_, index) => index & 255));
    for (const qos of [0, 1, 2] as const) {
      await sender.publish(topic, payload, { qos });
      const arrived = await nextMessage(reader);
      expect(Buffer.from(arrived.payload as Buffer).equals(payload)).toBe(true);
    }
  });
});

describe("order", () => {
  it.each<[QoS, boolean]>([
    [0, true],
    [1, true],
    [2, true],
    [1, false],
    [2, false],
  ])(
    "MQTT-4.6.0-5, MQTT-4.6.0-6: of QoS %i on a topic is that in which it was published (clean %s)",
    async (qos, clean) => {
      const topic = room.newTopic();
      const reader = await room.readerOf(topic, qos, clean);
      const writer = await room.enter();
      const frames = Array.from({ length: 300 }, (_, index) =>
        publishFrame(topic, `${index}`, { qos, messageId: index + 1 }),
      );
      writer.sendBytes(Buffer.concat(frames));
      for (let index = 0; index < frames.length; index++) expect((await receive(reader)).payload).toBe(`${index}`);
    },
  );

  it("MQTT-4.6.0-1, MQTT-4.6.0-6: is the same when the client comes back in between", async () => {
    const topic = room.newTopic();
    const credentials = room.credentials();
    let wire = await room.resume(credentials);
    await wire.subscribe([topic], 1);
    for (let index = 0; index < 150; index++) await sender.publish(topic, `${index}`, { qos: 1 });
    await nextMessage(wire);
    wire.drop();
    for (let index = 150; index < 300; index++) await sender.publish(topic, `${index}`, { qos: 1 });
    wire = await room.resume(credentials);
    for (let index = 0; index < 300; index++) expect((await receive(wire)).payload).toBe(`${index}`);
  });

  it("MQTT-4.6.0-4: of PUBREL is that of PUBREC", async () => {
    const topic = room.newTopic();
    const reader = await room.readerOf(topic, 2, false);
    const ids: number[] = [];
    for (let count = 0; count < 5; count++) {
      await sender.publish(topic, "", { qos: 2 });
      ids.push((await nextMessage(reader)).messageId!);
    }
    const order = [ids[3]!, ids[0]!, ids[4]!, ids[1]!, ids[2]!];
    reader.sendBytes(Buffer.concat(order.map((messageId) => frame(0x50, number(messageId)))));
    const released: Packet[] = [];
    while (released.length < order.length) released.push(await reader.next("pubrel"));
    expect(idsOf(released)).toEqual(order);
  });
});
