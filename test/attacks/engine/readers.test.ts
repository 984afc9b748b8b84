/** Subscribers that stop reading, read and do not acknowledge, or never read at all: they hurt themselves alone. */
import { expect } from "vitest";
import type { QoS } from "mqtt-packet";
import type { Wire } from "../../gate/wire.ts";
import { innocentTopic, type Arena } from "./arena.ts";
import { publishFrame, repeat, subscribeFrame } from "./frames.ts";
import { describeAttacks, type Row } from "./table.ts";

/** Subscribes to the row's topic and to the innocent pair's, so that the pair publishes to whom stops reading as well. */
async function enterSubscriber(arena: Arena, qos: QoS, clean = true): Promise<Wire> {
  const wire = await arena.enter({ allow: [`sub:${arena.at}/#`, `sub:${innocentTopic}`] }, { clean });
  expect(await wire.subscribe([`${arena.at}/#`, innocentTopic], qos)).toEqual([qos, qos]);
  return wire;
}

/** Takes messages until this one, and says how many came before it. */
async function countUntil(wire: Wire, last: string): Promise<number> {
  for (let count = 0; ; count++) if ((await wire.message()).payload === last) return count;
}

function stopsReading(qos: QoS, clean: boolean): Row {
  const session = clean ? "" : ", in a session that is to be kept,";
  return {
    name: `a subscriber at QoS ${qos}${session} that stops reading while 32 MB are published to it`,
    // on Node 24 the heap grows by 70 to 95 MiB before it is collected, and stays there
    memory: 128,
    async attack(arena) {
      const allow = [`pubsub:${arena.at}/#`];
      const stuck = await enterSubscriber(arena, qos, clean);
      stuck.pause();
      const bystander = await arena.enter({ allow }, { keepalive: 4 });
      await bystander.subscribe([`${arena.at}/quiet`], 1);
      // it has nothing else to say
      const pinging = setInterval(() => bystander.send({ cmd: "pingreq" }), 1000);
      try {
        const publishers = await Promise.all(Array.from({ length: 8 }, () => arena.enter({ allow }, { keepalive: 4 })));
        const payload = Buffer.alloc(64_000);
        const count = 64;
        await Promise.all(
          publishers.map(async (publisher) => {
            publisher.sendBytes(repeat(count, (i) => publishFrame(`${arena.at}/loud`, { qos, id: i + 1, payload })));
            const acknowledgements = qos === 0 ? 0 : count;
            for (let i = 0; i < acknowledgements; i++) await publisher.next("puback");
            await publisher.settled();
          }),
        );
        await publishers[0]!.publish(`${arena.at}/quiet`, "last", { qos: 1 });
        expect(await countUntil(bystander, "last")).toBe(0);
      } finally {
        clearInterval(pinging);
      }
      return "all publishers served";
    },
  };
}

const rows: Row[] = [
  stopsReading(0, true),
  stopsReading(1, true),
  stopsReading(1, false),
  {
    name: "a subscriber that stops reading, beside one of the same topic that reads, at QoS 1",
    async attack(arena) {
      const allow = [`pubsub:${arena.at}`];
      const stuck = await enterSubscriber(arena, 1);
      stuck.pause();
      const reader = await arena.enter({ allow });
      await reader.subscribe([arena.at], 1);
      const counting = countUntil(reader, "last");
      const publisher = await arena.enter({ allow });
      const payload = Buffer.alloc(32_000);
      for (let i = 0; i < 300; i++) await publisher.publish(arena.at, payload, { qos: 1 });
      await publisher.publish(arena.at, "last", { qos: 1 });
      expect(await counting).toBe(300);
      return "300 of 300 to the one that reads";
    },
  },
  {
    name: "a subscriber that reads and acknowledges nothing, beside one that does",
    async attack(arena) {
      const allow = [`pubsub:${arena.at}`];
      const mute = await enterSubscriber(arena, 1);
      const reader = await arena.enter({ allow });
      await reader.subscribe([arena.at], 1);
      const counting = countUntil(reader, "last");
      const publisher = await arena.enter({ allow });
      // no faster than a reader on a busy machine can follow: what waits for it has a limit as well
      for (let batch = 0; batch < 10; batch++) {
        publisher.sendBytes(repeat(200, (i) => publishFrame(arena.at, { qos: 1, id: i + 1, payload: "x" })));
        for (let i = 0; i < 200; i++) await publisher.next("puback");
      }
      await publisher.publish(arena.at, "last", { qos: 1 });
      expect(await counting).toBe(2000);
      const isThere = await mute.settled().then(
        () => "is there",
        () => "is closed",
      );
      return `2000 of 2000 to the one that answers; the other has ${mute.all("publish").length} and ${isThere}`;
    },
  },
  {
    name: "a publisher that reads none of its 20,000 acknowledgements",
    async attack(arena) {
      const publisher = await arena.enter({ allow: [`pub:${arena.at}`] });
      publisher.pause();
      publisher.sendBytes(repeat(20_000, (i) => publishFrame(arena.at, { qos: 1, id: i + 1 })));
      const other = await arena.enter({ allow: [`pub:${arena.at}`] });
      for (let i = 0; i < 50; i++) await other.publish(arena.at, "", { qos: 1 });
      publisher.resume();
      for (let i = 0; i < 20_000; i++) await publisher.next("puback");
      return "acknowledged once it reads";
    },
  },
  {
    name: "20 subscribers that stop reading at once",
    memory: 96,
    async attack(arena) {
      const allow = [`pubsub:${arena.at}`];
      const stuck = await Promise.all(Array.from({ length: 20 }, () => enterSubscriber(arena, 0)));
      for (const wire of stuck) wire.pause();
      const publisher = await arena.enter({ allow });
      publisher.sendBytes(repeat(300, () => publishFrame(arena.at, { payload: Buffer.alloc(32_000) })));
      await publisher.settled();
      return "the publisher is served";
    },
  },
  {
    name: "100 subscribers that ask for 500 retained messages and break off, or leave, or lose their rights meanwhile",
    async attack(arena) {
      const sub = arena.client();
      const allow = [`pubsub:${arena.at}/#`];
      const publisher = await arena.enter({ allow });
      const payload = Buffer.alloc(2000);
      publisher.sendBytes(repeat(500, (i) => publishFrame(`${arena.at}/${i}`, { retain: true, payload })));
      await publisher.settled();
      const ask = subscribeFrame([`${arena.at}/#`], 1);
      const none = arena.token(sub, { allow: [] });
      const ways: ((wire: Wire) => unknown)[] = [
        (wire) => wire.drop(),
        (wire) => wire.leave(),
        (wire) => wire.sendBytes(publishFrame("authz-info", { payload: none })),
        (wire) => wire.sendBytes(Buffer.of(0)),
      ];
      const clean = [true, false];
      for (let i = 0; i < 100; i++) {
        const wire = await arena.enter({ sub, allow }, { clientId: `${sub}:${i % 10}`, clean: clean[i % 2]! });
        wire.sendBytes(ask);
        await ways[i % ways.length]!(wire);
      }
      const last = await arena.enter({ allow });
      await last.subscribe([`${arena.at}/499`]);
      expect((await last.message()).topic).toBe(`${arena.at}/499`);
      return "the next one is served";
    },
  },
];

describeAttacks("slow readers", rows);
