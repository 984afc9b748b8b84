/** MQTT 3.1.1, sections 1.5, 2 and 4.8: what a packet is, and that a connection with anything else on it is closed. */
import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { IPublishPacket, Packet } from "mqtt-packet";
import { connectFrame, field, frame, number, publishFrame, subscribeFrame, unsubscribeFrame } from "./frames.ts";
import { answerTo, openRoom, presented, receive, verdict } from "./room.ts";
import type { Room } from "./room.ts";

let room: Room;
beforeAll(async () => {
  room = await openRoom();
});
afterAll(() => room.close());

const id = number(1);
const subscription = Buffer.concat([id, field("a"), Buffer.from([0])]);
const unsubscription = Buffer.concat([id, field("a")]);
const publication = Buffer.concat([field("a"), id]);

describe("a fixed header", () => {
  it.each([
    ["MQTT-2.2.2-2: SUBSCRIBE with flags 0000", frame(0x80, subscription)],
    ["MQTT-3.8.1-1: SUBSCRIBE with flags 0011", frame(0x83, subscription)],
    ["MQTT-3.10.1-1: UNSUBSCRIBE with flags 0000", frame(0xa0, unsubscription)],
    ["MQTT-3.6.1-1: PUBREL with flags 0000", frame(0x60, id)],
    ["MQTT-3.6.1-1: PUBREL with flags 0110", frame(0x66, id)],
    ["MQTT-2.2.2-1: PUBACK with flags 0001", frame(0x41, id)],
    ["MQTT-2.2.2-1: PUBREC with flags 0010", frame(0x52, id)],
    ["MQTT-2.2.2-1: PUBCOMP with flags 1000", frame(0x78, id)],
    ["MQTT-2.2.2-1: PINGREQ with flags 0001", frame(0xc1)],
    ["MQTT-3.14.1-1: DISCONNECT with flags 0001", frame(0xe1)],
    ["MQTT-3.3.1-4: PUBLISH of QoS 3", frame(0x36, publication)],
    ["MQTT-3.3.1-2: PUBLISH of QoS 0 with DUP", frame(0x38, field("a"))],
    ["of the reserved type 0", frame(0x00)],
    ["of the reserved type 15", frame(0xf0)],
    ["of a CONNACK, which a server sends", frame(0x20, Buffer.from([0, 0]))],
    ["of a SUBACK, which a server sends", frame(0x90, id, Buffer.from([0]))],
    ["of an UNSUBACK, which a server sends", frame(0xb0, id)],
    ["of a PINGRESP, which a server sends", frame(0xd0)],
    ["with a remaining length of five bytes", Buffer.from([0xc0, 0x80, 0x80, 0x80, 0x80, 0x01])],
    ["with a remaining length that ends before the packet identifier", frame(0x40, Buffer.from([1]))],
    ["with a remaining length that goes on behind the packet", frame(0x40, id, Buffer.from([0]))],
  ])("%s closes the connection", async (_name, bytes) => {
    expect(await verdict(await room.enter(), bytes)).toBe("closed");
  });

  it.each([
    ["SUBSCRIBE", frame(0x82, subscription)],
    ["UNSUBSCRIBE", frame(0xa2, unsubscription)],
    ["PUBREL", frame(0x62, id)],
    ["PUBACK", frame(0x40, id)],
    ["PUBREC", frame(0x50, id)],
    ["PUBCOMP", frame(0x70, id)],
    ["PUBLISH of QoS 2 with DUP", frame(0x3c, publication)],
  ])("of a right %s leaves it open", async (_name, bytes) => {
    expect(await verdict(await room.enter(), bytes)).toBe("open");
  });

  it.each([0, 1, 127, 128, 16_383, 16_384, 200_000])("takes a remaining length around %i", async (length) => {
    const topic = room.newTopic();
    const wire = await room.enter();
    await wire.subscribe([topic]);
    const payload = "x".repeat(Math.max(0, length - 2 - topic.length));
    await wire.publish(topic, payload);
    expect((await receive(wire)).payload).toBe(payload);
  });
});

describe("a stream of packets", () => {
  it("is taken apart wherever its bytes are cut", async () => {
    const topic = room.newTopic();
    const wire = await room.enter();
    const bytes = Buffer.concat([
      subscribeFrame([[topic, 0]]),
      publishFrame(topic, "one"),
      publishFrame(topic, "two", { qos: 1, messageId: 7 }),
      unsubscribeFrame([topic], 8),
    ]);
    for (const byte of bytes) wire.sendBytes(Uint8Array.of(byte));
    await wire.next("unsuback");
    expect(wire.all("publish").map((packet) => String((packet as IPublishPacket).payload))).toEqual(["one", "two"]);
    expect(wire.all("puback")).toMatchObject([{ messageId: 7 }]);
  });
});

describe("a packet identifier", () => {
  it.each([
    ["SUBSCRIBE", subscribeFrame([["a", 0]], 0)],
    ["UNSUBSCRIBE", unsubscribeFrame(["a"], 0)],
    ["PUBLISH of QoS 1", publishFrame("a", "", { qos: 1, messageId: 0 })],
    ["PUBLISH of QoS 2", publishFrame("a", "", { qos: 2, messageId: 0 })],
    ["PUBACK", frame(0x40, number(0))],
    ["PUBREL", frame(0x62, number(0))],
  ])("MQTT-2.3.1-1: of 0 in %s closes the connection", async (_name, bytes) => {
    expect(await verdict(await room.enter(), bytes)).toBe("closed");
  });

  const answers: [string, Buffer, Packet["cmd"]][] = [
    ["MQTT-2.3.1-7, MQTT-3.8.4-2: SUBACK", subscribeFrame([["a", 0]], 0xabcd), "suback"],
    ["MQTT-2.3.1-7, MQTT-3.10.4-4: UNSUBACK", unsubscribeFrame(["a"], 0xabcd), "unsuback"],
    ["MQTT-2.3.1-6: PUBACK", publishFrame("a", "", { qos: 1, messageId: 0xabcd }), "puback"],
    ["MQTT-2.3.1-6: PUBREC", publishFrame("a", "", { qos: 2, messageId: 0xabcd }), "pubrec"],
    ["MQTT-2.3.1-6: PUBCOMP", frame(0x62, number(0xabcd)), "pubcomp"],
  ];
  it.each(answers)("%s repeats what it answers", async (_name, bytes, answer) => {
    const wire = await room.enter();
    wire.sendBytes(bytes);
    expect(await wire.next(answer)).toMatchObject({ messageId: 0xabcd });
  });

  it("MQTT-2.3.1-4: of what the broker sends is not 0 and no other's while it is in use", async () => {
    const topic = room.newTopic();
    const wire = await room.enter();
    await wire.subscribe([topic], 2);
    const seen: number[] = [];
    for (let count = 0; count < 20; count++) await wire.publish(topic, "", { qos: 1 });
    for (let count = 0; count < 20; count++) seen.push((await wire.next<IPublishPacket>("publish")).messageId!);
    expect(new Set(seen).size).toBe(20);
    expect(seen).not.toContain(0);
  });

  it("MQTT-2.3.1-5, MQTT-4.3.1-1: is not in a PUBLISH of QoS 0, nor is DUP", async () => {
    const topic = room.newTopic();
    const wire = await room.enter();
    await wire.subscribe([topic], 2);
    await wire.publish(topic, "\u0001\u0002ab");
    expect(await receive(wire)).toMatchObject({ payload: "\u0001\u0002ab", qos: 0, dup: false });
  });

  it("of an acknowledgement that nothing waits for is passed over", async () => {
    const wire = await room.enter();
    for (const cmd of ["puback", "pubcomp"] as const) wire.send({ cmd, messageId: 4711 });
    await wire.settled();
    expect(wire.isClosed).toBe(false);
  });
});

const wrongTexts: [string, Buffer][] = [
  ["MQTT-1.5.3-1: a surrogate", Buffer.from([0xed, 0xa0, 0x80])],
  ["MQTT-1.5.3-1: an overlong form", Buffer.from([0xc1, 0xa1])],
  ["MQTT-1.5.3-1: a character that is cut off", Buffer.from([0x61, 0xe2, 0x82])],
  ["MQTT-1.5.3-1: a number beyond the last character", Buffer.from([0xf4, 0x90, 0x80, 0x80])],
  ["MQTT-1.5.3-2, MQTT-4.7.3-2: U+0000", Buffer.from([0x61, 0x00, 0x62])],
];

describe.each(wrongTexts)("text with %s", (_name, text) => {
  it("MQTT-3.3.2-1: as a topic name closes the connection", async () => {
    expect(await verdict(await room.enter(), publishFrame(text, ""))).toBe("closed");
  });
  it("MQTT-3.8.3-1: as a filter to subscribe closes the connection", async () => {
    expect(await verdict(await room.enter(), subscribeFrame([[text, 0]]))).toBe("closed");
  });
  it("MQTT-3.10.3-1: as a filter to unsubscribe closes the connection", async () => {
    expect(await verdict(await room.enter(), unsubscribeFrame([text]))).toBe("closed");
  });
  it("MQTT-3.1.3-4: as a client id closes the connection without CONNACK", async () => {
    const { username, password } = room.credentials();
    const fields = Buffer.concat([field(text), field(username), field(password)]);
    expect(await answerTo(await room.open(), connectFrame({ fields }))).toBe("closed");
  });
  it("MQTT-3.1.3-10: as the topic of a will closes the connection without CONNACK", async () => {
    const { clientId, username, password } = room.credentials();
    const fields = [clientId, text, "bye", username, password].map((content) => field(content));
    const bytes = connectFrame({ flags: 0xc6, fields: Buffer.concat(fields) });
    expect(await answerTo(await room.open(), bytes)).toBe("closed");
  });
  it("MQTT-3.1.3-11: as a user name closes the connection without CONNACK", async () => {
    const { clientId, password } = room.credentials();
    const fields = Buffer.concat([field(clientId), field(text), field(password)]);
    expect(await answerTo(await room.open(), connectFrame({ fields }))).toBe("closed");
  });
});

describe("text", () => {
  it("MQTT-1.5.3-3: keeps U+FEFF at its beginning", async () => {
    const topic = room.newTopic();
    const [marked, plain] = [await room.enter(), await room.enter()];
    await marked.subscribe([`\uFEFF${topic}`], 1);
    await plain.subscribe([topic], 1);
    const sender = await room.enter();
    await sender.publish(`\uFEFF${topic}`, "marked", { qos: 1 });
    await sender.publish(topic, "plain", { qos: 1 });
    expect(await receive(marked)).toMatchObject({ topic: `\uFEFF${topic}`, payload: "marked" });
    expect(await receive(plain)).toMatchObject({ topic, payload: "plain" });
  });

  it.each(["ä/ö", "温度", "🌡", "e\u0301"])("of other scripts is a topic like any other: %s", async (name) => {
    const topic = `${room.newTopic()}/${name}`;
    const wire = await room.enter();
    await wire.subscribe([topic]);
    await wire.publish(topic, name);
    expect(await receive(wire)).toMatchObject({ topic, payload: name });
  });
});

describe.each([
  ["a control character", "a\u0001"],
  ["one of the second row of control characters", "a\u0085"],
  ["U+FFFD", "a\uFFFD"],
  ["U+FFFF", "a\uFFFF"],
])("text with %s", (_name, text) => {
  it("closes the connection as a topic name, and is refused as a filter", async () => {
    const wire = await room.enter();
    expect(await wire.subscribe([text, "right"], 1)).toEqual([128, 1]);
    expect(await verdict(wire, publishFrame(text, ""))).toBe("closed");
  });
});

describe("MQTT-4.8.0-1: what one client does wrong", () => {
  it("ends its connection and no other", async () => {
    const topic = room.newTopic();
    const [reader, writer] = [await room.enter(), await room.enter()];
    await reader.subscribe([topic], 1);
    const wrong = await room.enter();
    expect(await verdict(wrong, frame(0xf0))).toBe("closed");
    await writer.publish(topic, "still here", { qos: 1 });
    expect((await receive(reader)).payload).toBe("still here");
  });

  it("takes back nothing of what it had sent before", async () => {
    const topic = room.newTopic();
    const reader = await room.enter();
    await reader.subscribe([topic], 1);
    const wrong = await room.enter();
    wrong.sendBytes(
      Buffer.concat([publishFrame(topic, "before", { qos: 1 }), frame(0xf0), publishFrame(topic, "after")]),
    );
    await wrong.closed;
    await reader.publish(topic, "end", { qos: 1 });
    expect((await receive(reader)).payload).toBe("before");
    expect((await receive(reader)).payload).toBe("end");
  });
});

describe("before CONNECT", () => {
  it.each([
    ["PINGREQ", frame(0xc0)],
    ["PUBLISH", publishFrame("a", "")],
    ["SUBSCRIBE", subscribeFrame([["a", 0]])],
    ["DISCONNECT", frame(0xe0)],
  ])("MQTT-3.1.0-1: a %s closes the connection, and what follows is not read", async (_name, bytes) => {
    const wire = await room.open();
    const connect = connectFrame({ fields: presented(room.credentials()) });
    expect(await answerTo(wire, Buffer.concat([bytes, connect]))).toBe("closed");
  });

  it("MQTT-3.2.0-1: nothing is sent; CONNACK comes first, then what waited", async () => {
    const topic = room.newTopic();
    const credentials = room.credentials();
    const away = await room.enter({ ...credentials, clean: false });
    await away.subscribe([topic], 1);
    await away.leave();
    const sender = await room.enter();
    await sender.publish(topic, "waited", { qos: 1 });

    const socket = room.openSocket();
    socket.write(connectFrame({ flags: 0xc0, fields: presented(credentials) }));
    const bytes: Buffer[] = [];
    while (!Buffer.concat(bytes).includes("waited")) bytes.push((await once(socket, "data"))[0] as Buffer);
    socket.destroy();
    expect([...Buffer.concat(bytes).subarray(0, 5)]).toEqual([0x20, 2, 1, 0, 0x32]);
  });
});
