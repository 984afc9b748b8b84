/** MQTT 3.1.1, sections 3.8 to 3.11: what SUBSCRIBE and UNSUBSCRIBE are answered, and what they change. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { IPublishPacket, ISubackPacket, QoS } from "mqtt-packet";
import type { Wire } from "../gate/wire.ts";
import { frame, number, publishFrame, subscribeFrame, unsubscribeFrame } from "./frames.ts";
import { openRoom, payloadsUntil, receive, receiveUntil, verdict } from "./room.ts";
import type { Room } from "./room.ts";

let room: Room;
let sender: Wire;
beforeAll(async () => {
  room = await openRoom();
  sender = await room.enter();
});
afterAll(() => room.close());

async function unsubscribe(wire: Wire, filters: readonly string[]): Promise<void> {
  wire.sendBytes(unsubscribeFrame(filters, 77));
  expect(await wire.next("unsuback")).toMatchObject({ messageId: 77 });
}

async function subscribeBytes(wire: Wire, filters: readonly (readonly [string, number])[]): Promise<number[]> {
  wire.sendBytes(subscribeFrame(filters, 78));
  return (await wire.next<ISubackPacket>("suback")).granted as number[];
}

describe("SUBSCRIBE", () => {
  it.each([
    ["MQTT-3.8.3-3: without a filter", frame(0x82, number(1))],
    ["without anything", frame(0x82)],
    ["MQTT-3.8.3-4: with a QoS of 3", subscribeFrame([["a", 3]])],
    ["MQTT-3.8.3-4: with a bit that is reserved", subscribeFrame([["a", 0x10]])],
    [
      "MQTT-3.8.3-4: with a bit that is reserved in the second filter",
      subscribeFrame([
        ["a", 1],
        ["b", 0x80],
      ]),
    ],
    ["MQTT-4.7.3-1: with an empty filter", subscribeFrame([["", 0]])],
    ["without the QoS of its filter", frame(0x82, number(1), Buffer.from([0, 1, 0x61]))],
  ])("%s closes the connection", async (_name, bytes) => {
    const wire = await room.enter();
    expect(await verdict(wire, bytes)).toBe("closed");
    expect(wire.all("suback")).toEqual([]);
  });

  it("MQTT-3.8.4-1, MQTT-3.8.4-5, MQTT-3.9.3-1: is answered with a code for each filter in its order", async () => {
    const wire = await room.enter();
    expect(
      await subscribeBytes(wire, [
        ["a", 2],
        ["b", 0],
        ["c/+", 1],
        ["d/#", 2],
      ]),
    ).toEqual([2, 0, 1, 2]);
  });

  it("MQTT-3.9.3-2: is answered 0x80 for each filter that is refused, and with the QoS for the others", async () => {
    const wire = await room.enter({ allow: ["sub:a/#", "sub:b"] });
    const codes = await subscribeBytes(wire, [
      ["c", 2],
      ["a/b", 2],
      ["#", 0],
      ["b", 1],
      ["a/#", 0],
      ["$SYS/#", 0],
      ["+", 1],
    ]);
    expect(codes).toEqual([128, 2, 128, 1, 0, 128, 128]);
  });

  it("MQTT-3.8.4-5: is answered with a code for each filter also where two are the same", async () => {
    const topic = room.newTopic();
    const wire = await room.enter();
    expect(
      await subscribeBytes(wire, [
        [topic, 0],
        [topic, 1],
      ]),
    ).toHaveLength(2);
    await sender.publish(topic, "once", { qos: 1 });
    await sender.publish(topic, "end", { qos: 1 });
    expect(await receiveUntil(wire, "end")).toMatchObject([{ payload: "once", qos: 1 }]);
  });

  it("MQTT-3.8.4-4: of many filters does what as many SUBSCRIBE would", async () => {
    const topic = room.newTopic();
    for (const clean of [true, false]) {
      const wire = await room.enter({ clean });
      const filters = Array.from({ length: 200 }, (_, index): [string, number] => [`${topic}/${index}`, index % 3]);
      expect(await subscribeBytes(wire, filters)).toEqual(filters.map(([, qos]) => qos));
      for (const index of [0, 100, 199]) {
        await sender.publish(`${topic}/${index}`, `${index}`, { qos: 2 });
        expect(await receive(wire)).toMatchObject({ payload: `${index}`, qos: index % 3 });
      }
    }
  });

  it.each([true, false])(
    "MQTT-3.8.4-3: of a filter that is there replaces it: one message, at the new QoS (clean %s)",
    async (clean) => {
      const topic = room.newTopic();
      const wire = await room.enter({ clean });
      for (const qos of [0, 2, 1, 1, 0, 2] as QoS[]) {
        expect(await wire.subscribe([topic], qos)).toEqual([qos]);
        await sender.publish(topic, "once", { qos: 2 });
        expect(await receive(wire)).toMatchObject({ payload: "once", qos });
      }
      await sender.publish(topic, "end", { qos: 2 });
      expect(await payloadsUntil(wire, "end")).toEqual([]);
    },
  );

  it("MQTT-3.8.4-3: of a filter that is there interrupts nothing", async () => {
    const topic = room.newTopic();
    const wire = await room.enter();
    await wire.subscribe([topic], 1);
    const bytes: Buffer[] = [];
    for (let index = 1; index <= 100; index++) {
      bytes.push(publishFrame(topic, `${index}`, { qos: 1, messageId: index }));
      bytes.push(subscribeFrame([[topic, index % 2 === 0 ? 1 : 2]], 1000 + index));
    }
    wire.sendBytes(Buffer.concat(bytes));
    for (let index = 1; index <= 100; index++) expect((await receive(wire)).payload).toBe(`${index}`);
    expect(wire.all("publish")).toEqual([]);
  });

  it("takes effect before its answer", async () => {
    const topic = room.newTopic();
    const wire = await room.enter();
    await wire.subscribe([topic]);
    await sender.publish(topic, "at once");
    expect((await receive(wire)).payload).toBe("at once");
  });
});

describe("UNSUBSCRIBE", () => {
  it("MQTT-3.10.3-2: without a filter closes the connection", async () => {
    const wire = await room.enter();
    expect(await verdict(wire, frame(0xa2, number(1)))).toBe("closed");
    expect(wire.all("unsuback")).toEqual([]);
  });

  it.each<[string, string[]]>([
    ["one that is not there", ["nothing"]],
    ["many that are not there", ["nothing", "a/+", "#"]],
    ["one twice", ["twice", "twice"]],
    ["one that would be refused", ["$SYS/#"]],
  ])("MQTT-3.10.4-5: of %s is answered all the same", async (_name, filters) => {
    for (const clean of [true, false]) {
      const wire = await room.enter({ clean });
      await unsubscribe(wire, filters);
      await wire.settled();
      expect(wire.isClosed).toBe(false);
    }
  });

  it.each([true, false])(
    "MQTT-3.10.4-2, MQTT-3.10.4-6: ends the subscriptions that it names, of all (clean %s)",
    async (clean) => {
      const topic = room.newTopic();
      const wire = await room.enter({ clean });
      await wire.subscribe([`${topic}/a`, `${topic}/b`, `${topic}/c`, `${topic}/end`], 1);
      await unsubscribe(wire, [`${topic}/a`, `${topic}/nothing`, `${topic}/c`]);
      for (const level of ["a", "b", "c"]) await sender.publish(`${topic}/${level}`, level, { qos: 1 });
      await sender.publish(`${topic}/end`, "end", { qos: 1 });
      expect(await payloadsUntil(wire, "end")).toEqual(["b"]);
    },
  );

  it("MQTT-3.10.4-1: compares filters letter by letter, and does not match them", async () => {
    const topic = room.newTopic();
    const wire = await room.enter();
    await wire.subscribe([`${topic}/a`, `${topic}/+`], 1);
    await unsubscribe(wire, [`${topic}/#`, `${topic}/A`, `${topic}/a/`]);
    await sender.publish(`${topic}/a`, "still", { qos: 1 });
    expect((await receive(wire)).payload).toBe("still");
    await unsubscribe(wire, [`${topic}/+`]);
    await sender.publish(`${topic}/b`, "no", { qos: 1 });
    await sender.publish(`${topic}/a`, "end", { qos: 1 });
    expect(await payloadsUntil(wire, "end")).toEqual([]);
  });

  it.each([true, false])(
    "MQTT-3.10.4-3: lets the exchange of a message that was sent come to its end (clean %s)",
    async (clean) => {
      const topic = room.newTopic();
      const wire = await room.enter({ clean });
      await wire.subscribe([topic], 2);
      await sender.publish(topic, "sent", { qos: 2 });
      const { messageId } = await wire.next<IPublishPacket>("publish");
      await unsubscribe(wire, [topic]);
      wire.send({ cmd: "pubrec", messageId: messageId! });
      expect(await wire.next("pubrel")).toMatchObject({ messageId });
      wire.send({ cmd: "pubcomp", messageId: messageId! });
      await wire.settled();
      expect(wire.isClosed).toBe(false);
    },
  );

  it("is followed by nothing of QoS 0 that was published after its answer", async () => {
    const topic = room.newTopic();
    const wire = await room.enter();
    await wire.subscribe([topic, `${topic}/end`]);
    await unsubscribe(wire, [topic]);
    await sender.publish(topic, "no");
    await sender.publish(`${topic}/end`, "end");
    expect(await payloadsUntil(wire, "end")).toEqual([]);
  });
});

describe.each([true, false])("SUBSCRIBE and UNSUBSCRIBE that do not wait for each other (clean %s)", (clean) => {
  const join = (topic: string, messageId: number) => subscribeFrame([[topic, 1]], messageId);
  const leave = (topic: string, messageId: number) => unsubscribeFrame([topic], messageId);

  it("are in effect for what the client publishes behind them", async () => {
    const topic = room.newTopic();
    const wire = await room.enter({ clean });
    wire.sendBytes(Buffer.concat([join(topic, 5), publishFrame(topic, "follows", { qos: 1, messageId: 6 })]));
    expect((await receive(wire)).payload).toBe("follows");
    await wire.next("suback");
    wire.sendBytes(Buffer.concat([leave(topic, 7), publishFrame(topic, "no", { qos: 1, messageId: 8 })]));
    await wire.next("unsuback");
    await wire.subscribe([`${topic}/end`], 1);
    await sender.publish(`${topic}/end`, "end", { qos: 1 });
    expect(await payloadsUntil(wire, "end")).toEqual([]);
  });

  it("leave a subscription that was ended and made again", async () => {
    const topic = room.newTopic();
    const wire = await room.enter({ clean });
    await wire.subscribe([topic], 1);
    wire.sendBytes(Buffer.concat([leave(topic, 7), join(topic, 8), leave(topic, 9), join(topic, 10)]));
    for (let count = 0; count < 2; count++) {
      await wire.next("unsuback");
      await wire.next("suback");
    }
    await wire.subscribe([`${topic}/end`], 1);
    await sender.publish(topic, "joined", { qos: 1 });
    await sender.publish(`${topic}/end`, "end", { qos: 1 });
    expect(await payloadsUntil(wire, "end")).toEqual(["joined"]);
  });

  it("leave no subscription that was made and ended", async () => {
    const topic = room.newTopic();
    const wire = await room.enter({ clean });
    wire.sendBytes(Buffer.concat([join(topic, 7), leave(topic, 8), join(topic, 9), leave(topic, 10)]));
    for (let count = 0; count < 2; count++) {
      await wire.next("suback");
      await wire.next("unsuback");
    }
    await wire.subscribe([`${topic}/end`], 1);
    await sender.publish(topic, "left", { qos: 1 });
    await sender.publish(`${topic}/end`, "end", { qos: 1 });
    expect(await payloadsUntil(wire, "end")).toEqual([]);
  });

  it("leave the QoS that was asked last", async () => {
    const topic = room.newTopic();
    const wire = await room.enter({ clean });
    wire.sendBytes(Buffer.concat([2, 0, 1].map((qos, index) => subscribeFrame([[topic, qos]], index + 1))));
    for (let count = 0; count < 3; count++) await wire.next("suback");
    await sender.publish(topic, "once", { qos: 2 });
    await sender.publish(topic, "end", { qos: 2 });
    expect(await receiveUntil(wire, "end")).toMatchObject([{ payload: "once", qos: 1 }]);
  });
});
