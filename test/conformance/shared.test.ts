/** Shared subscriptions (MQTT 5, section 4.8.2) for clients of MQTT 3.1.1: of the members of a group, one gets a message. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { QoS } from "mqtt-packet";
import type { Wire } from "../gate/wire.ts";
import { subscribeFrame, unsubscribeFrame } from "./frames.ts";
import { openRoom, payloadsUntil, receive, receiveUntil, verdict } from "./room.ts";
import type { Credentials, Room } from "./room.ts";

let room: Room;
let sender: Wire;
beforeAll(async () => {
  room = await openRoom();
  sender = await room.enter();
});
afterAll(() => room.close());

/** Members of a group, each with an end of its own. */
async function members(
  filter: string,
  count: number,
  { qos = 1, clean = true }: { qos?: QoS; clean?: boolean } = {},
): Promise<Wire[]> {
  const wires: Wire[] = [];
  for (let index = 0; index < count; index++) {
    const wire = await room.enter({ clean });
    expect(await wire.subscribe([filter, "everyone/end"], qos)).toEqual([qos, qos]);
    wires.push(wire);
  }
  return wires;
}

async function publishAll(topic: string, count: number, qos: QoS = 1): Promise<string[]> {
  const payloads = Array.from({ length: count }, (_, index) => `${index}`);
  for (const payload of payloads) await sender.publish(topic, payload, { qos });
  return payloads;
}

/** What each has got by now. */
async function gotten(wires: readonly Wire[], qos: QoS = 1): Promise<string[][]> {
  await sender.publish("everyone/end", "end", { qos });
  return Promise.all(wires.map((wire) => payloadsUntil(wire, "end")));
}

const numerically = (a: string, b: string): number => Number(a) - Number(b);

describe("a group", () => {
  const levels: QoS[] = [0, 1, 2];
  it.each(levels.flatMap((qos) => [true, false].map((clean): [QoS, boolean] => [qos, clean])))(
    "of live members shares messages of QoS %i out in turn (clean %s)",
    async (qos, clean) => {
      const topic = room.newTopic();
      const wires = await members(`$share/g/${topic}/#`, 3, { qos, clean });
      const payloads = await publishAll(`${topic}/a`, 30, qos);
      const got = await gotten(wires, qos);
      expect(got.map(({ length }) => length)).toEqual([10, 10, 10]);
      expect(got.flat().sort(numerically)).toEqual(payloads);
    },
  );

  it("shares out at the lower QoS of message and member", async () => {
    const topic = room.newTopic();
    const [low] = await members(`$share/g/${topic}`, 1, { qos: 0 });
    await sender.publish(topic, "two", { qos: 2 });
    expect(await receive(low!)).toMatchObject({ topic, payload: "two", qos: 0 });
  });

  it("is another one under another name, or with another filter", async () => {
    const topic = room.newTopic();
    const [one] = await members(`$share/g1/${topic}`, 1);
    const [two] = await members(`$share/g2/${topic}`, 1);
    const [three] = await members(`$share/g1/+/${topic}`, 1);
    const [four] = await members(`$share/g1/#`, 1);
    const payloads = await publishAll(topic, 4);
    const [ones, twos, threes, fours] = await gotten([one!, two!, three!, four!]);
    expect([ones, twos, threes]).toEqual([payloads, payloads, []]);
    expect(fours!.filter((payload) => payload !== "end")).toEqual(payloads);
    await four!.leave();
  });

  it("takes nothing from whoever subscribes to the filter itself", async () => {
    const topic = room.newTopic();
    const wires = await members(`$share/g/${topic}`, 2);
    const [plain] = await members(topic, 1);
    const payloads = await publishAll(topic, 10);
    const [a, b, own] = await gotten([...wires, plain!]);
    expect(own).toEqual(payloads);
    expect([...a!, ...b!].sort(numerically)).toEqual(payloads);
  });

  it("gets wills as well", async () => {
    const topic = room.newTopic();
    const wires = await members(`$share/g/${topic}`, 2);
    const mortal = await room.enter({ will: { topic, payload: Buffer.from("bye"), qos: 1, retain: false } });
    const witness = await room.enter();
    await witness.subscribe([topic], 1);
    mortal.drop();
    await receive(witness);
    expect((await gotten(wires)).flat()).toEqual(["bye"]);
  });

  it("gets no retained messages when a member joins", async () => {
    const topic = room.newTopic();
    await sender.publish(topic, "retained", { qos: 1, retain: true });
    const wires = await members(`$share/g/${topic}`, 1);
    expect(await gotten(wires)).toEqual([[]]);
  });

  it("goes by clients: one that is in it under the same filter again is in it once", async () => {
    const topic = room.newTopic();
    const [one, two] = await members(`$share/g/${topic}`, 2);
    for (const qos of [1, 2, 1] as const) await one!.subscribe([`$share/g/${topic}`], qos);
    await publishAll(topic, 10);
    const got = await gotten([one!, two!]);
    expect(got.map(({ length }) => length)).toEqual([5, 5]);
  });

  it("hides what begins with $ from a wildcard", async () => {
    const wire = await room.enter();
    expect(await wire.subscribe(["$share/g/+/session", "$postern/session"], 0)).toEqual([0, 0]);
    // a subscription that is refused is news on $postern/session
    expect(await wire.subscribe(["$share/g/$postern/session"], 0)).toEqual([128]);
    expect(await wire.next("publish")).toMatchObject({ topic: "$postern/session" });
    await wire.settled();
    expect(wire.all("publish")).toEqual([]);
  });
});

describe("members", () => {
  it("come and go, and each message goes to one that is there", async () => {
    const topic = room.newTopic();
    const filter = `$share/g/${topic}`;
    const [one, two] = await members(filter, 2);
    await publishAll(topic, 4);
    const before = await gotten([one!, two!]);
    expect(before.map(({ length }) => length)).toEqual([2, 2]);
    await two!.leave();
    await publishAll(topic, 4);
    expect((await gotten([one!]))[0]).toHaveLength(4);
    const [three] = await members(filter, 1);
    await publishAll(topic, 4);
    const after = await gotten([one!, three!]);
    expect(after.map(({ length }) => length)).toEqual([2, 2]);
  });

  it("that break away lose nothing that was not given to them", async () => {
    const topic = room.newTopic();
    const [one, two] = await members(`$share/g/${topic}`, 2);
    const { conn } = room.fixture.gate.sessions.all().at(-1)!.connection;
    // the broker has noticed, too
    const noticed = new Promise<void>((resolve) => conn.once("close", resolve));
    two!.drop();
    await noticed;
    const payloads = await publishAll(topic, 6);
    expect((await gotten([one!]))[0]).toEqual(payloads);
  });

  it("that unsubscribe get no more, and the group ends with the last", async () => {
    const topic = room.newTopic();
    const filter = `$share/g/${topic}`;
    const [one, two] = await members(filter, 2);
    one!.sendBytes(unsubscribeFrame([filter]));
    await one!.next("unsuback");
    const payloads = await publishAll(topic, 4);
    expect(await gotten([one!, two!])).toEqual([[], payloads]);
    two!.sendBytes(unsubscribeFrame([filter]));
    await two!.next("unsuback");
    await publishAll(topic, 4);
    expect(await gotten([one!, two!])).toEqual([[], []]);
  });

  it("unsubscribe by the whole filter, and not by the one behind it", async () => {
    const topic = room.newTopic();
    const [one] = await members(`$share/g/${topic}`, 1);
    one!.sendBytes(unsubscribeFrame([topic, `$share/other/${topic}`]));
    await one!.next("unsuback");
    const payloads = await publishAll(topic, 2);
    expect(await gotten([one!])).toEqual([payloads]);
  });
});

describe("members with a stored session", () => {
  async function storedMembers(filter: string, count: number): Promise<[Credentials, Wire][]> {
    const all: [Credentials, Wire][] = [];
    for (let index = 0; index < count; index++) {
      const credentials = room.credentials();
      const wire = await room.enter({ ...credentials, clean: false });
      await wire.subscribe([filter, "everyone/end"], 1);
      all.push([credentials, wire]);
    }
    return all;
  }

  it("that are away are passed over while another is there", async () => {
    const topic = room.newTopic();
    const [[credentials, away], [, there]] = (await storedMembers(`$share/g/${topic}`, 2)) as [
      [Credentials, Wire],
      [Credentials, Wire],
    ];
    await away.leave();
    const payloads = await publishAll(topic, 6);
    expect(await gotten([there])).toEqual([payloads]);
    const back = await room.enter({ ...credentials, clean: false });
    // its own end of before, and nothing else
    expect(await payloadsUntil(back, "end")).toEqual([]);
    expect((await gotten([back])).flat()).toEqual([]);
  });

  it("that are all away have what came meanwhile, each message one of them", async () => {
    const topic = room.newTopic();
    const all = await storedMembers(`$share/g/${topic}`, 2);
    for (const [, wire] of all) await wire.leave();
    const payloads = await publishAll(topic, 6);
    await sender.publish("everyone/end", "end", { qos: 1 });
    const got: string[] = [];
    for (const [credentials] of all) {
      const back = await room.enter({ ...credentials, clean: false });
      const own = await payloadsUntil(back, "end");
      expect(own).toHaveLength(3);
      got.push(...own);
    }
    expect(got.sort(numerically)).toEqual(payloads);
  });

  it("keep what was given to them and not acknowledged until they are back", async () => {
    const topic = room.newTopic();
    const [[credentials, wire]] = (await storedMembers(`$share/g/${topic}`, 1)) as [[Credentials, Wire]];
    await sender.publish(topic, "given", { qos: 1 });
    await wire.next("publish");
    wire.drop();
    const back = await room.enter({ ...credentials, clean: false });
    expect(await receive(back)).toMatchObject({ payload: "given", dup: true });
  });

  it("are members again when they are back, without subscribing", async () => {
    const topic = room.newTopic();
    const all = await storedMembers(`$share/g/${topic}`, 2);
    const backs: Wire[] = [];
    for (const [credentials, wire] of all) {
      await wire.leave();
      backs.push(await room.enter({ ...credentials, clean: false }));
    }
    await publishAll(topic, 6);
    expect((await gotten(backs)).map(({ length }) => length)).toEqual([3, 3]);
  });

  it("share with members that have none", async () => {
    const topic = room.newTopic();
    const [[, stored]] = (await storedMembers(`$share/g/${topic}`, 1)) as [[Credentials, Wire]];
    const [clean] = await members(`$share/g/${topic}`, 1);
    const payloads = await publishAll(topic, 10);
    const got = await gotten([stored, clean!]);
    expect(got.map(({ length }) => length)).toEqual([5, 5]);
    expect(got.flat().sort(numerically)).toEqual(payloads);
  });
});

describe("a shared filter", () => {
  it("is allowed where the filter behind it is, and stands for nothing else", async () => {
    const topic = room.newTopic();
    const wire = await room.enter({ allow: [`sub:${topic}/+`] });
    const filters = [
      `$share/g/${topic}/a`,
      `$share/g/${topic}/+`,
      `$share/g/${topic}/#`,
      "$share/g/#",
      `$share/${topic}/a`,
    ];
    expect(await wire.subscribe(filters, 1)).toEqual([1, 1, 128, 128, 128]);
    await sender.publish(`${topic}/b/c`, "no", { qos: 1 });
    await sender.publish(`${topic}/b`, "end", { qos: 1 });
    expect(await receiveUntil(wire, "end")).toEqual([]);
  });

  it.each([
    "$share/",
    "$share/g",
    "$share/g/",
    "$share//a",
    "$share/+/a",
    "$share/#/a",
    "$share/g#/a",
    "$share/g/a#",
    "$share/g/#/a",
  ])("that is malformed closes the connection: %s", async (filter) => {
    expect(await verdict(await room.enter(), subscribeFrame([[filter, 0]]))).toBe("closed");
  });

  it("that only begins like one is a filter like any other that begins with $", async () => {
    const wire = await room.enter();
    expect(await wire.subscribe(["$shared/g/a", "$SHARE/g/a", "$share"], 0)).toEqual([128, 128, 128]);
  });
});
