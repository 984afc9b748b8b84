/** MQTT 3.1.1, sections 3.4 to 3.7, 4.3 and 4.4: acknowledgements of QoS 1 and 2 in both directions, and repeats. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Packet } from "mqtt-packet";
import type { Wire } from "../gate/wire.ts";
import { frame, number, publishFrame } from "./frames.ts";
import { idsOf, nextMessage, openRoom, payloadsUntil, receive } from "./room.ts";
import type { Room } from "./room.ts";

let room: Room;
let sender: Wire;
beforeAll(async () => {
  room = await openRoom();
  sender = await room.enter();
});
afterAll(() => room.close());

describe("QoS 1 from a client", () => {
  it("MQTT-4.3.2-2: is delivered each time that it arrives, with DUP or without, once it was acknowledged", async () => {
    const topic = room.newTopic();
    const reader = await room.readerOf(topic);
    for (const dup of [false, true, false]) {
      sender.sendBytes(publishFrame(topic, `dup ${dup}`, { qos: 1, messageId: 500, dup }));
      expect(await sender.next("puback")).toMatchObject({ messageId: 500 });
    }
    await sender.publish(topic, "end", { qos: 1 });
    expect(await payloadsUntil(reader, "end")).toEqual(["dup false", "dup true", "dup false"]);
  });

  it("MQTT-3.3.1-3: arrives without the DUP that it was sent with", async () => {
    const topic = room.newTopic();
    const readers = [await room.readerOf(topic), await room.readerOf(topic, 1, false), await room.readerOf(topic, 0)];
    sender.sendBytes(publishFrame(topic, "again", { qos: 1, messageId: 501, dup: true }));
    await sender.next("puback");
    for (const reader of readers) expect(await receive(reader)).toMatchObject({ payload: "again", dup: false });
  });

  it("MQTT-4.6.0-2: is acknowledged in the order of arrival, stored or not", async () => {
    const topic = room.newTopic();
    await room.readerOf(`${topic}/stored`, 1, false);
    const wire = await room.enter();
    const ids = Array.from({ length: 50 }, (_, index) => 1000 - index);
    const frames = ids.map((messageId) =>
      publishFrame(`${topic}/${messageId % 3 ? "not" : "stored"}`, "", { qos: 1, messageId }),
    );
    wire.sendBytes(Buffer.concat(frames));
    await wire.settled();
    const acknowledged: Packet[] = [];
    while (acknowledged.length < ids.length) acknowledged.push(await wire.next("puback"));
    expect(idsOf(acknowledged)).toEqual(ids);
  });
});

describe("QoS 2 from a client", () => {
  it.each([true, false])(
    "MQTT-4.3.3-2: is delivered once, however often it arrives before PUBREL (clean %s)",
    async (clean) => {
      const topic = room.newTopic();
      const reader = await room.readerOf(topic);
      const wire = await room.enter({ clean });
      for (const dup of [false, true, true]) {
        wire.sendBytes(publishFrame(topic, "first", { qos: 2, messageId: 7, dup }));
        expect(await wire.next("pubrec")).toMatchObject({ messageId: 7 });
      }
      for (let count = 0; count < 2; count++) {
        wire.send({ cmd: "pubrel", messageId: 7 });
        expect(await wire.next("pubcomp")).toMatchObject({ messageId: 7 });
      }
      // the packet identifier is free again
      wire.sendBytes(publishFrame(topic, "second", { qos: 2, messageId: 7 }));
      await wire.next("pubrec");
      await sender.publish(topic, "end", { qos: 2 });
      expect(await payloadsUntil(reader, "end")).toEqual(["first", "second"]);
    },
  );

  it("MQTT-4.3.3-2: is delivered once when it is repeated on another connection of the session", async () => {
    const topic = room.newTopic();
    const reader = await room.readerOf(topic);
    const credentials = room.credentials();
    const wire = await room.resume(credentials);
    wire.sendBytes(publishFrame(topic, "once", { qos: 2, messageId: 7 }));
    await wire.next("pubrec");
    wire.drop();
    const back = await room.resume(credentials);
    back.sendBytes(publishFrame(topic, "once", { qos: 2, messageId: 7, dup: true }));
    await back.next("pubrec");
    back.send({ cmd: "pubrel", messageId: 7 });
    await back.next("pubcomp");
    await sender.publish(topic, "end", { qos: 2 });
    expect(await payloadsUntil(reader, "end")).toEqual(["once"]);
  });

  it("MQTT-3.1.2-6: is another message on another connection without a stored session", async () => {
    const topic = room.newTopic();
    const reader = await room.readerOf(topic);
    const credentials = room.credentials();
    for (const payload of ["one", "two"]) {
      const wire = await room.enter(credentials);
      wire.sendBytes(publishFrame(topic, payload, { qos: 2, messageId: 7 }));
      await wire.next("pubrec");
    }
    await sender.publish(topic, "end", { qos: 2 });
    expect(await payloadsUntil(reader, "end")).toEqual(["one", "two"]);
  });

  it("is PUBCOMP for a PUBREL of what is not known", async () => {
    sender.send({ cmd: "pubrel", messageId: 12_345 });
    expect(await sender.next("pubcomp")).toMatchObject({ messageId: 12_345 });
  });

  it("MQTT-4.6.0-3: is acknowledged in the order of arrival, and the release in that of PUBREL", async () => {
    const wire = await room.enter({ clean: false });
    const ids = [30, 10, 20, 50, 40];
    wire.sendBytes(Buffer.concat(ids.map((messageId) => publishFrame("elsewhere", "", { qos: 2, messageId }))));
    const [received, completed]: [Packet[], Packet[]] = [[], []];
    while (received.length < ids.length) received.push(await wire.next("pubrec"));
    const released = [50, 40, 30, 20, 10];
    wire.sendBytes(Buffer.concat(released.map((messageId) => frame(0x62, number(messageId)))));
    while (completed.length < ids.length) completed.push(await wire.next("pubcomp"));
    expect([idsOf(received), idsOf(completed)]).toEqual([ids, released]);
  });
});

describe("QoS 1 to a client", () => {
  it.each([true, false])(
    "MQTT-4.3.2-1: has an identifier of its own and no DUP, and is not sent again (clean %s)",
    async (clean) => {
      const topic = room.newTopic();
      const reader = await room.readerOf(topic, 1, clean);
      await sender.publish(topic, "one", { qos: 1 });
      await sender.publish(topic, "two", { qos: 1 });
      const [one, two] = [await nextMessage(reader), await nextMessage(reader)];
      expect([one.dup, two.dup, one.messageId === two.messageId]).toEqual([false, false, false]);
      await reader.settled();
      expect(reader.all("publish")).toEqual([]);
    },
  );

  it("MQTT-3.3.1-1, MQTT-4.4.0-1: comes again after a reconnect, with DUP, until it is acknowledged", async () => {
    const topic = room.newTopic();
    const credentials = room.credentials();
    let wire = await room.resume(credentials);
    await wire.subscribe([topic], 1);
    for (const payload of ["one", "two", "three"]) await sender.publish(topic, payload, { qos: 1 });
    const first = [await nextMessage(wire), await nextMessage(wire), await nextMessage(wire)];
    // the second is, the others are not
    wire.send({ cmd: "puback", messageId: first[1]!.messageId! });
    await wire.settled();
    wire.drop();

    wire = await room.resume(credentials);
    const again = [await nextMessage(wire), await nextMessage(wire)];
    expect(again.map(({ payload, dup, messageId }) => [String(payload), dup, messageId])).toEqual([
      ["one", true, first[0]!.messageId],
      ["three", true, first[2]!.messageId],
    ]);
    for (const { messageId } of again) wire.send({ cmd: "puback", messageId: messageId! });
    await wire.settled();
    wire.drop();

    wire = await room.resume(credentials);
    await sender.publish(topic, "end", { qos: 1 });
    expect(await receive(wire)).toMatchObject({ payload: "end", dup: false });
  });

  it("is not free for another message while it is not acknowledged", async () => {
    const topic = room.newTopic();
    const credentials = room.credentials();
    let wire = await room.resume(credentials);
    await wire.subscribe([topic], 1);
    await sender.publish(topic, "first", { qos: 1 });
    const { messageId } = await nextMessage(wire);
    wire.drop();
    wire = await room.resume(credentials);
    expect((await nextMessage(wire)).messageId).toBe(messageId);
    for (let count = 0; count < 30; count++) {
      await sender.publish(topic, `${count}`, { qos: 1 });
      const message = await nextMessage(wire);
      expect(message.messageId).not.toBe(messageId);
      wire.send({ cmd: "puback", messageId: message.messageId! });
    }
  });
});

describe("QoS 2 to a client", () => {
  it.each([true, false])(
    "MQTT-4.3.3-1: is released with the same identifier after PUBREC (clean %s)",
    async (clean) => {
      const topic = room.newTopic();
      const reader = await room.readerOf(topic, 2, clean);
      await sender.publish(topic, "once", { qos: 2 });
      const { messageId, dup, qos } = await nextMessage(reader);
      expect([dup, qos]).toEqual([false, 2]);
      for (let count = 0; count < 2; count++) {
        reader.send({ cmd: "pubrec", messageId: messageId! });
        expect(await reader.next("pubrel")).toMatchObject({ messageId });
      }
      reader.send({ cmd: "pubcomp", messageId: messageId! });
      await reader.settled();
      expect(reader.all("publish")).toEqual([]);
    },
  );

  it("is not ended by an acknowledgement of another kind", async () => {
    const topic = room.newTopic();
    const credentials = room.credentials();
    const wire = await room.resume(credentials);
    await wire.subscribe([topic], 2);
    await sender.publish(topic, "once", { qos: 2 });
    const { messageId } = await nextMessage(wire);
    wire.send({ cmd: "puback", messageId: messageId! });
    await wire.settled();
    wire.drop();
    expect(await nextMessage(await room.resume(credentials))).toMatchObject({
      payload: Buffer.from("once"),
      messageId,
    });
  });

  it("MQTT-4.4.0-1: is sent again before PUBREC, and released again after it, with the same identifier", async () => {
    const topic = room.newTopic();
    const credentials = room.credentials();
    let wire = await room.resume(credentials);
    await wire.subscribe([topic], 2);
    for (const payload of ["one", "two"]) await sender.publish(topic, payload, { qos: 2 });
    const [one, two] = [await nextMessage(wire), await nextMessage(wire)];
    wire.send({ cmd: "pubrec", messageId: one.messageId! });
    await wire.next("pubrel");
    wire.drop();

    wire = await room.resume(credentials);
    expect(await wire.next("pubrel")).toMatchObject({ messageId: one.messageId });
    expect(await nextMessage(wire)).toMatchObject({ dup: true, messageId: two.messageId });
    wire.send({ cmd: "pubcomp", messageId: one.messageId! });
    wire.send({ cmd: "pubrec", messageId: two.messageId! });
    await wire.next("pubrel");
    wire.send({ cmd: "pubcomp", messageId: two.messageId! });
    await wire.settled();
    wire.drop();

    wire = await room.resume(credentials);
    await sender.publish(topic, "end", { qos: 2 });
    expect(await receive(wire)).toMatchObject({ payload: "end", dup: false });
    expect(wire.all("pubrel")).toEqual([]);
  });
});
