/** MQTT 3.1.1, sections 3.1.2.5 to 3.1.2.7 and 3.14.4: the will, when it is published and how. */
import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { QoS } from "mqtt-packet";
import type { Wire } from "../gate/wire.ts";
import { connectFrame, field, frame } from "./frames.ts";
import { openRoom, payloadsUntil, receive, receiveUntil } from "./room.ts";
import type { Room } from "./room.ts";

let room: Room;
beforeAll(async () => {
  room = await openRoom();
});
afterAll(() => room.close());

const will = (topic: string, qos: QoS = 1, retain = false) => ({ topic, payload: Buffer.from("bye"), qos, retain });

describe("a will", () => {
  it.each<[string, (wire: Wire) => void]>([
    ["breaks", (wire) => wire.drop()],
    ["is closed for what the client did wrong", (wire) => wire.sendBytes(frame(0xf0))],
  ])("MQTT-3.1.2-8: is published when the connection %s", async (_name, end) => {
    const topic = room.newTopic();
    const reader = await room.readerOf(topic);
    end(await room.enter({ will: will(topic) }));
    expect(await receive(reader)).toMatchObject({ topic, payload: "bye", qos: 1, retain: false });
  });

  it("MQTT-3.1.2-8: is published when the client closes its end without a DISCONNECT", async () => {
    const topic = room.newTopic();
    const reader = await room.readerOf(topic);
    const { clientId, username, password } = room.credentials();
    const socket = room.openSocket();
    const fields = [clientId, topic, "bye", username, password].map((content) => field(content));
    socket.write(connectFrame({ flags: 0xce, fields: Buffer.concat(fields) }));
    await once(socket, "data");
    socket.end();
    expect((await receive(reader)).payload).toBe("bye");
  });

  it("MQTT-3.1.2-8, MQTT-3.1.4-2: is published when another connection takes over", async () => {
    const topic = room.newTopic();
    const reader = await room.readerOf(topic);
    const credentials = room.credentials();
    const first = await room.enter({ ...credentials, will: will(topic) });
    await room.enter(credentials);
    await first.closed;
    expect((await receive(reader)).payload).toBe("bye");
  });

  it("MQTT-3.1.2-10, MQTT-3.14.4-3: is forgotten on DISCONNECT", async () => {
    const topic = room.newTopic();
    const reader = await room.readerOf(topic);
    const wire = await room.enter({ will: will(topic) });
    await wire.leave();
    await reader.publish(topic, "end", { qos: 1 });
    expect(await payloadsUntil(reader, "end")).toEqual([]);
  });

  it("MQTT-3.1.2-10: is published once", async () => {
    const topic = room.newTopic();
    const reader = await room.readerOf(topic);
    const credentials = room.credentials();
    const wire = await room.enter({ ...credentials, clean: false, will: will(topic) });
    wire.drop();
    expect((await receive(reader)).payload).toBe("bye");
    const again = await room.enter({ ...credentials, clean: false });
    again.drop();
    await again.closed;
    await reader.publish(topic, "end", { qos: 1 });
    expect(await payloadsUntil(reader, "end")).toEqual([]);
  });

  it("MQTT-3.1.2-12: that was not given is not published", async () => {
    const reader = await room.readerOf("#");
    const wire = await room.enter();
    wire.drop();
    await wire.closed;
    const topic = room.newTopic();
    await reader.publish(topic, "end", { qos: 1 });
    expect(await payloadsUntil(reader, "end")).toEqual([]);
  });

  it.each<[QoS, QoS, QoS]>([
    [0, 2, 0],
    [1, 2, 1],
    [2, 2, 2],
    [2, 1, 1],
    [2, 0, 0],
  ])("MQTT-3.1.2-9: of QoS %i comes to a subscription of QoS %i at %i", async (qos, subscribed, delivered) => {
    const topic = room.newTopic();
    const reader = await room.readerOf(topic, subscribed);
    (await room.enter({ will: will(topic, qos) })).drop();
    expect((await receive(reader)).qos).toBe(delivered);
  });

  it.each<[string, QoS, boolean, string[]]>([
    ["MQTT-3.1.2-16: that is not retained", 1, false, []],
    ["MQTT-3.1.2-17: that is retained", 1, true, ["bye"]],
    ["MQTT-3.1.2-17: of QoS 0 that is retained", 0, true, ["bye"]],
    ["MQTT-3.1.2-17: of QoS 2 that is retained", 2, true, ["bye"]],
  ])("%s is there for a later subscription accordingly", async (_name, qos, retain, expected) => {
    const topic = room.newTopic();
    const reader = await room.readerOf(topic);
    (await room.enter({ will: will(topic, qos, retain) })).drop();
    expect((await receive(reader)).payload).toBe("bye");
    const late = await room.enter();
    await late.subscribe([topic], 2);
    await late.subscribe([`${topic}/end`], 2);
    await late.publish(`${topic}/end`, "end", { qos: 1 });
    expect(await receiveUntil(late, "end")).toMatchObject(expected.map((payload) => ({ payload, retain: true })));
  });

  it("MQTT-3.3.1-9: that is retained comes without the flag to a subscription that is there, stored or not", async () => {
    const topic = room.newTopic();
    const readers = [await room.readerOf(topic), await room.enter({ clean: false })];
    await readers[1]!.subscribe([topic], 2);
    (await room.enter({ will: will(topic, 1, true) })).drop();
    for (const reader of readers) expect(await receive(reader)).toMatchObject({ payload: "bye", retain: false });
  });

  it("may be empty", async () => {
    const topic = room.newTopic();
    const reader = await room.readerOf(topic);
    (await room.enter({ will: { topic, payload: Buffer.alloc(0), qos: 1, retain: false } })).drop();
    expect((await receive(reader)).payload).toBe("");
  });

  it("is kept for a stored session that is away", async () => {
    const topic = room.newTopic();
    const credentials = room.credentials();
    const away = await room.enter({ ...credentials, clean: false });
    await away.subscribe([topic], 1);
    await away.leave();
    const witness = await room.readerOf(topic);
    (await room.enter({ will: will(topic) })).drop();
    await receive(witness);
    const back = await room.enter({ ...credentials, clean: false });
    expect((await receive(back)).payload).toBe("bye");
  });
});
