/** MQTT 3.1.1, section 4.7: which filter matches which topic, live, retained and for who is away. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Wire } from "../gate/wire.ts";
import { subscribeFrame, unsubscribeFrame } from "./frames.ts";
import { openRoom, payloadsUntil, receive, verdict } from "./room.ts";
import type { Room } from "./room.ts";

let room: Room;
let sender: Wire;
beforeAll(async () => {
  room = await openRoom();
  sender = await room.enter();
});
afterAll(() => room.close());

/** Filters with the topics that they match and those that they do not. */
const cases: [filter: string, matched: string[], others: string[]][] = [
  [
    "sport/tennis/player1/#",
    ["sport/tennis/player1", "sport/tennis/player1/ranking", "sport/tennis/player1/a/b"],
    ["sport/tennis", "sport/tennis/player10"],
  ],
  ["sport/#", ["sport", "sport/", "sport/tennis", "sport//a"], ["sports", "/sport"]],
  ["#", ["a", "/", "/a", "a/b/c", "a//b"], []],
  ["+", ["finance", "a"], ["/finance", "finance/", "a/b", "/"]],
  ["/+", ["/finance", "/"], ["finance", "/finance/a", "//"]],
  ["+/+", ["/finance", "a/b", "/", "a/"], ["finance", "a/b/c"]],
  ["+/tennis/#", ["sport/tennis", "/tennis", "sport/tennis/a", "sport/tennis/"], ["tennis", "tennis/a", "a/b/tennis"]],
  ["sport/tennis/+", ["sport/tennis/player1", "sport/tennis/"], ["sport/tennis", "sport/tennis/player1/ranking"]],
  ["sport/+", ["sport/", "sport/a"], ["sport", "sport/a/b"]],
  ["sport/+/player1", ["sport/tennis/player1", "sport//player1"], ["sport/player1", "sport/a/b/player1"]],
  ["/finance", ["/finance"], ["finance", "/finance/", "//finance"]],
  ["finance/", ["finance/"], ["finance", "finance//"]],
  ["a//b", ["a//b"], ["a/b", "a/c/b"]],
  ["/", ["/"], ["//", "a", "/a"]],
  ["//", ["//"], ["/", "a//"]],
  ["+/#", ["a", "/", "a/b", "/a"], []],
  ["+/+/#", ["a/b", "/", "a/b/c", "//"], ["a"]],
  ["ACCOUNTS", ["ACCOUNTS"], ["Accounts", "accounts"]],
  ["Accounts payable", ["Accounts payable"], ["Accounts", "Accounts  payable"]],
  ["\u00e9", ["\u00e9"], ["e\u0301"]],
  ["constructor/__proto__", ["constructor/__proto__"], ["constructor", "__proto__"]],
];

describe.each([true, false])("of a client with clean session %s, a filter", (clean) => {
  it.each(cases)(
    "MQTT-3.3.2-3, MQTT-3.8.3-2, MQTT-4.7.1-2, MQTT-4.7.1-3, MQTT-4.7.3-4: %j matches %j and not %j",
    async (filter, matched, others) => {
      const end = room.newTopic();
      const wire = await room.enter({ clean });
      await wire.subscribe([filter, end], 1);
      for (const topic of [...matched, ...others]) await sender.publish(topic, topic, { qos: 1 });
      await sender.publish(end, "end", { qos: 1 });
      const received = await payloadsUntil(wire, "end");
      expect(received).toEqual(matched);
    },
  );
});

describe("of a client that was away, a filter", () => {
  it.each(cases)("%j matches %j and not %j", async (filter, matched, others) => {
    const end = room.newTopic();
    const credentials = room.credentials();
    const wire = await room.enter({ ...credentials, clean: false });
    await wire.subscribe([filter, end], 1);
    await wire.leave();
    for (const topic of [...matched, ...others]) await sender.publish(topic, topic, { qos: 1 });
    await sender.publish(end, "end", { qos: 1 });
    const back = await room.enter({ ...credentials, clean: false });
    expect(await payloadsUntil(back, "end")).toEqual(matched);
    await back.leave();
    // nobody comes back to it
    await (await room.enter(credentials)).leave();
  });
});

describe("for retained messages, a filter", () => {
  it.each(cases)("%j matches %j and not %j", async (filter, matched, others) => {
    const own = await openRoom();
    try {
      const wire = await own.enter();
      for (const topic of [...matched, ...others]) await wire.publish(topic, topic, { qos: 1, retain: true });
      await wire.subscribe([filter], 1);
      const received: string[] = [];
      for (let count = 0; count < matched.length; count++) {
        received.push((await receive(wire)).topic);
      }
      await wire.settled();
      expect([received.sort(), wire.all("publish")]).toEqual([[...matched].sort(), []]);
    } finally {
      await own.close();
    }
  });
});

describe("a topic that begins with $", () => {
  it("MQTT-4.7.2-1: is matched by no filter that begins with a wildcard", async () => {
    const end = room.newTopic();
    const wire = await room.enter();
    await wire.subscribe(["#", "+/#", "+/session", "+/+", "$postern/session"], 0);
    // a subscription that is refused is news on $postern/session
    expect(await wire.subscribe(["$SYS/#"], 0)).toEqual([128]);
    expect(await wire.next("publish")).toMatchObject({ topic: "$postern/session" });
    await sender.publish(end, "end", { qos: 1 });
    expect(await payloadsUntil(wire, "end")).toEqual([]);
  });

  it.each(["$SYS/a", "$share/g/a", "$a"])("cannot be published by a client: %s", async (topic) => {
    const wire = await room.enter();
    wire.send({ cmd: "publish", topic, payload: "", qos: 1, messageId: 1, retain: false, dup: false });
    await wire.closed;
    expect(wire.all("puback")).toEqual([]);
  });
});

describe("a filter with a wildcard in the wrong place", () => {
  it.each(["sport/tennis#", "sport/tennis/#/ranking", "sport+", "+sport", "a/+b/c", "##", "++", "#/", "/#/", "a/#b"])(
    "MQTT-4.7.1-2, MQTT-4.7.1-3: closes the connection: %s",
    async (filter) => {
      expect(await verdict(await room.enter(), subscribeFrame([[filter, 0]]))).toBe("closed");
      expect(await verdict(await room.enter(), unsubscribeFrame([filter]))).toBe("closed");
    },
  );
});

describe("a long name", () => {
  it("MQTT-4.7.3-3: of up to 512 bytes and 32 levels is taken", async () => {
    const wire = await room.enter();
    for (const name of ["x".repeat(512), Array.from({ length: 32 }, () => "x").join("/")]) {
      expect(await wire.subscribe([name], 1)).toEqual([1]);
      await wire.publish(name, "end", { qos: 1 });
      expect(await payloadsUntil(wire, "end")).toEqual([]);
    }
  });

  it("of more is refused as a filter, and closes the connection as a topic", async () => {
    for (const name of ["x".repeat(513), Array.from({ length: 33 }, () => "x").join("/")]) {
      const wire = await room.enter();
      expect(await wire.subscribe([name, "right"], 1)).toEqual([128, 1]);
      wire.send({ cmd: "publish", topic: name, payload: "", qos: 1, messageId: 1, retain: false, dup: false });
      await wire.closed;
      expect(wire.all("puback")).toEqual([]);
    }
  });
});
