/** MQTT 3.1.1, sections 3.1, 3.2 and 3.14: who is let in, with which code, and how a connection ends. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { IConnackPacket } from "mqtt-packet";
import { undisturbed } from "../undisturbed.ts";
import { connectFrame, disconnect, field, pingreq, publishFrame } from "./frames.ts";
import { answerTo, openRoom, payloadsUntil, presented, receive, verdict } from "./room.ts";
import type { Room } from "./room.ts";

let room: Room;
beforeAll(async () => {
  room = await openRoom();
});
afterAll(() => room.close());

const fields = (...contents: (string | Uint8Array)[]): Buffer =>
  Buffer.concat(contents.map((content) => field(content)));
const accepted = 0;

describe("CONNECT", () => {
  it("MQTT-3.1.4-4: is answered by CONNACK with code 0", async () => {
    const bytes = connectFrame({ fields: presented(room.credentials()) });
    expect(await answerTo(await room.open(), bytes)).toBe(accepted);
  });

  it("MQTT-3.1.0-2: a second time closes the connection, without another CONNACK", async () => {
    const credentials = room.credentials();
    const wire = await room.enter(credentials);
    expect(await answerTo(wire, connectFrame({ fields: presented(credentials) }))).toBe("closed");
  });

  it("MQTT-3.1.0-2: a second time in the same bytes closes the connection", async () => {
    const credentials = room.credentials();
    const wire = await room.open();
    const bytes = connectFrame({ fields: presented(credentials) });
    wire.sendBytes(Buffer.concat([bytes, bytes]));
    await wire.closed;
    expect(wire.all("connack").length).toBeLessThanOrEqual(1);
  });

  it.each(["HTTP", "mqtt", "MQIsdp", "MQTTX", ""])(
    "MQTT-3.1.2-1: of the protocol %j at level 4 closes the connection without CONNACK",
    async (name) => {
      const bytes = connectFrame({ name, fields: presented(room.credentials()) });
      expect(await answerTo(await room.open(), bytes)).toBe("closed");
    },
  );

  it.each([0, 1, 2, 5, 6, 127])("MQTT-3.1.2-2: of level %i is answered with code 1 and closed", async (level) => {
    const wire = await room.open();
    // level 5 has a length of properties there
    const rest =
      level === 5 ? Buffer.concat([Buffer.of(0), presented(room.credentials())]) : presented(room.credentials());
    expect(await answerTo(wire, connectFrame({ level, fields: rest }))).toBe(1);
    await wire.closed;
  });

  it("of level 4 with the highest bit, as bridges set it, is taken for level 4", async () => {
    const bytes = connectFrame({ level: 0x84, fields: presented(room.credentials()) });
    expect(await answerTo(await room.open(), bytes)).toBe(accepted);
  });

  it("of MQTT 3.1 is taken as well", async () => {
    const bytes = connectFrame({ name: "MQIsdp", level: 3, fields: presented(room.credentials()) });
    expect(await answerTo(await room.open(), bytes)).toBe(accepted);
  });

  it.each([
    ["MQTT-3.1.2-3: the reserved flag", 0xc3],
    ["MQTT-3.1.2-13: a QoS of the will and no will", 0xca],
    ["MQTT-3.1.2-15: a retained will and no will", 0xe2],
    ["MQTT-3.1.2-22: a password without a user name", 0x42],
  ])("with %s closes the connection without CONNACK", async (_name, flags) => {
    const bytes = connectFrame({ flags, fields: presented(room.credentials()) });
    expect(await answerTo(await room.open(), bytes)).toBe("closed");
  });

  it("MQTT-3.1.2-14: with a will of QoS 3 closes the connection without CONNACK", async () => {
    const { clientId, username, password } = room.credentials();
    const bytes = connectFrame({ flags: 0xde, fields: fields(clientId, "w", "bye", username, password) });
    expect(await answerTo(await room.open(), bytes)).toBe("closed");
  });

  const incomplete: [string, number, (id: string, user: string, password: Buffer) => Buffer][] = [
    ["MQTT-3.1.3-3: no client id", 0xc2, () => Buffer.alloc(0)],
    ["MQTT-3.1.2-9: a will without topic and message", 0xc6, (id, user, password) => fields(id, user, password)],
    [
      "MQTT-3.1.2-11: a will that no flag speaks of",
      0xc2,
      (id, user, password) => fields(id, "w", "bye", user, password),
    ],
    ["MQTT-3.1.2-19: no user name", 0xc2, (id) => fields(id)],
    ["MQTT-3.1.2-21: no password", 0xc2, (id, user) => fields(id, user)],
    ["MQTT-3.1.2-18: a user name that no flag speaks of", 0x02, (id, user) => fields(id, user)],
    ["MQTT-3.1.2-20: a password that no flag speaks of", 0x82, (id, user, password) => fields(id, user, password)],
    [
      "MQTT-3.1.4-1, MQTT-3.2.2-6: a byte behind its end",
      0xc2,
      (id, user, password) => Buffer.concat([fields(id, user, password), Buffer.of(0)]),
    ],
  ];
  it.each(incomplete)("with %s closes the connection without CONNACK", async (_name, flags, write) => {
    const { clientId, username, password } = room.credentials();
    const bytes = connectFrame({ flags, fields: write(clientId, username, password) });
    expect(await answerTo(await room.open(), bytes)).toBe("closed");
  });

  it("MQTT-3.1.3-1: is read in the order client id, will topic, will message, user name, password", async () => {
    const topic = room.newTopic();
    const reader = await room.enter();
    await reader.subscribe([topic], 1);
    const { clientId, username, password } = room.credentials();
    const wire = await room.open();
    const bytes = connectFrame({ flags: 0xce, fields: fields(clientId, topic, "bye", username, password) });
    expect(await answerTo(wire, bytes)).toBe(accepted);
    wire.drop();
    expect(await receive(reader)).toMatchObject({ topic, payload: "bye", qos: 1 });
  });
});

describe("a client id", () => {
  it("MQTT-3.1.3-6, MQTT-3.1.3-7: that is empty is replaced by one of its own, for a clean session", async () => {
    const credentials = room.credentials();
    const wires = [];
    for (let count = 0; count < 2; count++) {
      const wire = await room.open();
      expect((await wire.connect({ ...credentials, clientId: "" })).returnCode).toBe(accepted);
      wires.push(wire);
    }
    // the second did not take the first one's place
    for (const wire of wires) await wire.settled();
    expect(wires.map(({ isClosed }) => isClosed)).toEqual([false, false]);
  });

  it("MQTT-3.1.3-8: that is empty, for a session that is to be kept, is refused and closed", async () => {
    const wire = await room.open();
    const bytes = connectFrame({ flags: 0xc0, fields: presented({ ...room.credentials(), clientId: "" }) });
    expect(await answerTo(wire, bytes)).toBe(5);
    await wire.closed;
  });

  it("MQTT-3.1.3-5, MQTT-3.1.3-9: that is not the client's own is refused and closed, whatever it looks like", async () => {
    const wire = await room.open();
    expect((await wire.connect({ ...room.credentials(), clientId: "abcXYZ019" })).returnCode).toBe(5);
    await wire.closed;
  });
});

describe("CONNACK", () => {
  it("MQTT-3.2.2-4, MQTT-3.2.2-5: with another code than 0 says nothing of a session, and closes", async () => {
    const credentials = room.credentials();
    const owner = await room.enter({ ...credentials, clean: false });
    await owner.subscribe([room.newTopic()], 1);
    await owner.leave();
    const wire = await room.open();
    const connack = await wire.connect({ ...credentials, password: Buffer.from("no token"), clean: false });
    expect([connack.returnCode === accepted, connack.sessionPresent]).toEqual([false, false]);
    await wire.closed;
  });

  it("MQTT-3.1.4-5: with another code than 0 means that nothing sent after CONNECT is worked on", async () => {
    const topic = room.newTopic();
    const reader = await room.enter();
    await reader.subscribe([topic], 1);
    const wire = await room.open();
    const wrong = connectFrame({ fields: presented({ ...room.credentials(), password: Buffer.from("no token") }) });
    wire.sendBytes(Buffer.concat([wrong, publishFrame(topic, "no", { qos: 1 }), publishFrame(topic, "no")]));
    await wire.closed;
    await reader.publish(topic, "end", { qos: 1 });
    expect(await payloadsUntil(reader, "end")).toEqual([]);
  });

  it("with code 0 means that what was sent after CONNECT, without waiting, is", async () => {
    const topic = room.newTopic();
    const reader = await room.enter();
    await reader.subscribe([topic], 1);
    const wire = await room.open();
    const right = connectFrame({ fields: presented(room.credentials()) });
    wire.sendBytes(Buffer.concat([right, publishFrame(topic, "at once", { qos: 1 }), pingreq]));
    expect((await wire.next<IConnackPacket>("connack")).returnCode).toBe(accepted);
    await wire.next("puback");
    await wire.next("pingresp");
    expect((await receive(reader)).payload).toBe("at once");
  });
});

describe("PINGREQ", () => {
  it("MQTT-3.12.4-1: is answered each time", async () => {
    const wire = await room.enter();
    for (let count = 0; count < 3; count++) await wire.settled();
    expect(wire.isClosed).toBe(false);
  });
});

describe("keep alive", () => {
  it("MQTT-3.1.2-24: closes a connection on which nothing comes, and publishes the will", async () => {
    const topic = room.newTopic();
    const reader = await room.enter();
    await reader.subscribe([topic], 1);
    const silent = await room.enter({
      keepalive: 1,
      will: { topic, payload: Buffer.from("gone"), qos: 1, retain: false },
    });
    await silent.closed;
    expect((await receive(reader)).payload).toBe("gone");
  });

  it.each<[string, (wire: Awaited<ReturnType<Room["enter"]>>) => void]>([
    ["PINGREQ", (wire) => wire.send({ cmd: "pingreq" })],
    ["PUBLISH", (wire) => wire.sendBytes(publishFrame("elsewhere", ""))],
  ])("MQTT-3.1.2-24: is begun anew by each %s", async (_name, speak) => {
    // one that has stood still for so long has not spoken in time
    await undisturbed(500, async () => {
      const speaking = await room.enter({ keepalive: 1 });
      const silent = await room.enter({ keepalive: 1 });
      const timer = setInterval(() => speak(speaking), 200);
      await silent.closed;
      clearInterval(timer);
      expect(speaking.isClosed).toBe(false);
      await speaking.settled();
      expect(speaking.isClosed).toBe(false);
    });
  });

  it("of 0 closes nothing", async () => {
    const unhurried = await room.enter({ keepalive: 0 });
    const silent = await room.enter({ keepalive: 1 });
    await silent.closed;
    await unhurried.settled();
    expect(unhurried.isClosed).toBe(false);
  });
});

describe("DISCONNECT", () => {
  it("closes the connection, and nothing that follows is worked on", async () => {
    const topic = room.newTopic();
    const reader = await room.enter();
    await reader.subscribe([topic], 1);
    const wire = await room.enter();
    const [before, after] = [publishFrame(topic, "before", { qos: 1 }), publishFrame(topic, "after", { qos: 1 })];
    expect(await verdict(wire, Buffer.concat([before, disconnect, after]))).toBe("closed");
    await reader.publish(topic, "end", { qos: 1 });
    expect(await payloadsUntil(reader, "end")).toEqual(["before"]);
  });
});
