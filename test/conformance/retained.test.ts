/** MQTT 3.1.1, section 3.3.1.3: retained messages, what sets, replaces and removes them, and who gets them with which flag. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { QoS } from "mqtt-packet";
import type { Wire } from "../gate/wire.ts";
import { subscribeFrame } from "./frames.ts";
import { openRoom, receive, receiveUntil } from "./room.ts";
import type { Received, Room } from "./room.ts";

let room: Room;
let sender: Wire;
beforeAll(async () => {
  room = await openRoom();
  sender = await room.enter();
});
afterAll(() => room.close());

/** What a new subscription brings. */
async function retainedOf(filters: readonly string[], qos: QoS = 2, reader?: Wire): Promise<Received[]> {
  const wire = reader ?? (await room.enter());
  await wire.subscribe(filters, qos);
  // the answer to a second subscription comes behind what the first one brought
  const marker = room.newTopic();
  await sender.publish(marker, "marker", { qos: 1, retain: true });
  await wire.subscribe([marker], 1);
  return receiveUntil(wire, "marker");
}

const retain = (topic: string, payload: string, qos: QoS = 1) => sender.publish(topic, payload, { qos, retain: true });

describe("a retained message", () => {
  it.each<[QoS, QoS, QoS]>([
    [0, 0, 0],
    [0, 2, 0],
    [1, 0, 0],
    [1, 1, 1],
    [1, 2, 1],
    [2, 0, 0],
    [2, 1, 1],
    [2, 2, 2],
  ])("MQTT-3.3.1-5, MQTT-3.3.1-8: of QoS %i comes to a new subscription of QoS %i at %i", async (qos, asked, given) => {
    const topic = room.newTopic();
    await retain(topic, "kept", qos);
    await sender.settled();
    expect(await retainedOf([topic], asked)).toEqual([
      { topic, payload: "kept", qos: given, retain: true, dup: false },
    ]);
  });

  it.each<[boolean, QoS]>([
    [true, 0],
    [true, 1],
    [true, 2],
    [false, 0],
    [false, 1],
    [false, 2],
  ])("MQTT-3.3.1-9: comes without the flag to a subscription that is there (clean %s, QoS %i)", async (clean, qos) => {
    const topic = room.newTopic();
    const reader = await room.enter({ clean });
    await reader.subscribe([topic], 2);
    await retain(topic, "live", qos);
    expect(await receive(reader)).toEqual({ topic, payload: "live", qos, retain: false, dup: false });
  });

  it("MQTT-3.3.1-8: comes with the flag to a new subscription of a stored session", async () => {
    const topic = room.newTopic();
    await retain(topic, "kept", 2);
    const reader = await room.enter({ clean: false });
    await reader.subscribe([topic], 2);
    expect(await receive(reader)).toMatchObject({ payload: "kept", qos: 2, retain: true });
  });

  it("MQTT-3.3.1-7: is the last one of its topic, whatever its QoS", async () => {
    const topic = room.newTopic();
    for (const qos of [1, 2, 0] as const) {
      await retain(topic, `of ${qos}`, qos);
      await sender.settled();
      expect(await retainedOf([topic])).toMatchObject([{ payload: `of ${qos}`, qos }]);
    }
  });

  it("MQTT-3.3.1-6: of every topic that matches comes, and none else", async () => {
    const topic = room.newTopic();
    for (const level of ["", "/a", "/a/b", "/c"]) await retain(`${topic}${level}`, level || "parent");
    const levels = async (filter: string) => (await retainedOf([filter])).map(({ payload }) => payload).sort();
    expect(await levels(`${topic}/#`)).toEqual(["/a", "/a/b", "/c", "parent"]);
    expect(await levels(`${topic}/+`)).toEqual(["/a", "/c"]);
    expect(await levels(`${topic}/+/b`)).toEqual(["/a/b"]);
    expect(await levels(`${topic}/b`)).toEqual([]);
  });

  it("comes for each filter of a SUBSCRIBE that matches it, or once, and never at more than the highest QoS", async () => {
    const topic = room.newTopic();
    await retain(topic, "kept", 2);
    const reader = await room.enter();
    reader.sendBytes(
      subscribeFrame([
        [topic, 0],
        [`${topic}/#`, 1],
      ]),
    );
    await reader.next("suback");
    const received = await retainedOf([`${topic}/none`], 1, reader);
    expect([1, 2]).toContain(received.length);
    for (const message of received) expect(message).toMatchObject({ payload: "kept", retain: true });
    expect(Math.max(...received.map(({ qos }) => qos))).toBeLessThanOrEqual(1);
  });

  it("MQTT-3.8.4-3: comes again when a filter is subscribed again, at the same QoS or another", async () => {
    const topic = room.newTopic();
    await retain(topic, "kept", 2);
    const reader = await room.enter();
    for (const qos of [1, 1, 2, 0] as const) {
      expect(await retainedOf([topic], qos, reader)).toMatchObject([{ payload: "kept", qos, retain: true }]);
    }
  });

  it("does not come to a subscription that was refused", async () => {
    const topic = room.newTopic();
    await retain(`${topic}/a`, "a");
    await retain(`${topic}/b`, "b");
    const reader = await room.enter({ allow: [`sub:${topic}/a`, "sub:+"] });
    expect(await reader.subscribe([`${topic}/b`, `${topic}/#`, `${topic}/a`], 1)).toEqual([128, 128, 1]);
    expect(await retainedOf([room.newTopic()], 1, reader)).toMatchObject([{ payload: "a" }]);
  });
});

describe("an empty retained message", () => {
  it.each<QoS>([0, 1, 2])(
    "MQTT-3.3.1-10, MQTT-3.3.1-11: of QoS %i removes what was there, and is delivered",
    async (qos) => {
      const topic = room.newTopic();
      await retain(topic, "kept");
      const reader = await room.enter();
      await reader.subscribe([topic], 2);
      expect((await receive(reader)).payload).toBe("kept");
      await retain(topic, "", qos);
      expect(await receive(reader)).toMatchObject({ topic, payload: "", qos, retain: false });
      expect(await retainedOf([topic])).toEqual([]);
    },
  );

  it("MQTT-3.3.1-11: is not kept where there was nothing", async () => {
    const topic = room.newTopic();
    await retain(topic, "");
    expect(await retainedOf([topic])).toEqual([]);
  });
});

describe("a message that is not retained", () => {
  it.each<[QoS, string]>([
    [0, "other"],
    [1, "other"],
    [2, "other"],
    [1, ""],
  ])("MQTT-3.3.1-12: of QoS %i with payload %j changes nothing of what is", async (qos, payload) => {
    const topic = room.newTopic();
    await retain(topic, "kept");
    await sender.publish(topic, payload, { qos });
    await sender.settled();
    expect(await retainedOf([topic])).toMatchObject([{ payload: "kept" }]);
  });

  it("MQTT-3.3.1-12: is not kept", async () => {
    const topic = room.newTopic();
    await sender.publish(topic, "passing", { qos: 1 });
    expect(await retainedOf([topic])).toEqual([]);
  });
});
