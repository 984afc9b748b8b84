/** Much of everything: messages, pings, half-finished exchanges, sessions, subscriptions, retained topics. */
import type { ISubackPacket } from "mqtt-packet";
import { expect } from "vitest";
import { defaultLimits } from "../../../broker/mqtt/limits.ts";
import type { Arena } from "./arena.ts";
import { pingFrame, publishFrame, repeat, subscribeFrame } from "./frames.ts";
import type { Wire } from "../../gate/wire.ts";
import { describeAttacks, type Row } from "./table.ts";

/** A publisher and a subscriber of everything below this row's prefix. */
async function enterPair(arena: Arena) {
  const publisher = await arena.enter({ allow: [`pub:${arena.at}/#`] });
  const subscriber = await arena.enter({ allow: [`sub:${arena.at}/#`] });
  return { publisher, subscriber };
}

function burst(count: number): Row {
  return {
    name: `a burst of ${count} messages in one write to a topic without subscribers, after 200 to one with`,
    async attack(arena) {
      // topics as short as can be, so that as much as possible arrives at once
      const publisher = await arena.enter({ allow: ["pub:h", "pub:u"] });
      const subscriber = await arena.enter({ allow: ["sub:h"] });
      await subscriber.subscribe(["h"]);
      const [heard, unheard] = [publishFrame("h"), publishFrame("u")];
      publisher.sendBytes(Buffer.concat([repeat(200, () => heard), repeat(count, () => unheard)]));
      await publisher.settled();
      await publisher.publish("h", "last", { qos: 1 });
      for (let seen = 0; seen < 200; seen++) expect((await subscriber.message()).payload).toBe("");
      expect((await subscriber.message()).payload).toBe("last");
      return "all 200 delivered";
    },
  };
}

function manyFilters(count: number): Row {
  return {
    name: `${count} filters in one SUBSCRIBE of a session that is to be kept`,
    async attack(arena) {
      const wire = await arena.enter({ allow: [`sub:${arena.at}/#`] }, { clean: false });
      const filters = Array.from({ length: count }, (_, i) => `${arena.at}/${i}`);
      wire.sendBytes(subscribeFrame(filters, 1));
      const suback = await wire.next<ISubackPacket>("suback").catch(() => undefined);
      if (suback === undefined) return "closed";
      const granted = (suback.granted as number[]).filter((code) => code !== 128).length;
      expect(granted).toBeLessThanOrEqual(1000);
      return `${granted} granted`;
    },
  };
}

/** How many messages arrive until nothing comes any more. Answers them. */
async function countMessages(wire: Wire): Promise<number> {
  let count = 0;
  for (let quiet = 0; quiet < 3; quiet++) {
    await wire.settled();
    for (let i = wire.all("publish").length; i > 0; i--, count++, quiet = 0) await wire.message();
  }
  return count;
}

const rows: Row[] = [
  burst(3000),
  burst(20_000),
  {
    name: "50 publishers with 400 messages each at once, to one subscriber that reads",
    async attack(arena) {
      const { subscriber } = await enterPair(arena);
      await subscriber.subscribe([`${arena.at}/#`]);
      const allow = [`pub:${arena.at}/#`];
      const publishers = await Promise.all(Array.from({ length: 50 }, () => arena.enter({ allow })));
      for (const [i, publisher] of publishers.entries()) {
        publisher.sendBytes(repeat(400, () => publishFrame(`${arena.at}/${i}`, { payload: Buffer.alloc(100) })));
      }
      await Promise.all(publishers.map((publisher) => publisher.settled()));
      await subscriber.settled();
      return `${subscriber.all("publish").length} of 20000 delivered, at QoS 0`;
    },
  },
  {
    name: "100,000 PINGREQ in one write",
    async attack(arena) {
      const wire = await arena.enter({ allow: [] });
      wire.sendBytes(repeat(100_000, () => pingFrame));
      for (let seen = 0; seen < 2000; seen++) await wire.next("pingresp");
      return "answered one after the other";
    },
  },
  {
    name: "1,500 PUBLISH of QoS 2 with 10 KB each that are never released",
    memory: 96,
    async attack(arena) {
      const { publisher } = await enterPair(arena);
      const payload = Buffer.alloc(10_000);
      publisher.sendBytes(repeat(1500, (i) => publishFrame(`${arena.at}/two`, { qos: 2, id: i + 1, payload })));
      publisher.sendBytes(pingFrame);
      await publisher.next("pingresp").catch(() => undefined);
      const taken = publisher.all("pubrec").length;
      expect(taken).toBeLessThanOrEqual(defaultLimits.receipts);
      return `${taken} taken, then ${publisher.isClosed ? "closed" : "held"}`;
    },
  },
  {
    name: "the same by five stored sessions that leave and come back",
    memory: 128,
    async attack(arena) {
      const payload = Buffer.alloc(10_000);
      let back = 0;
      for (let session = 0; session < 5; session++) {
        const sub = arena.client();
        const entrant = { sub, allow: [`pub:${arena.at}/#`] };
        const wire = await arena.enter(entrant, { clean: false });
        wire.sendBytes(repeat(300, (i) => publishFrame(`${arena.at}/two`, { qos: 2, id: i + 1, payload })));
        wire.sendBytes(pingFrame);
        await wire.next("pingresp").catch(() => undefined);
        wire.drop();
        await wire.closed;
        await arena.enter(entrant, { clean: false });
        back++;
      }
      return `${back} came back`;
    },
  },
  {
    name: "5,000 messages of 1 KB for a stored session whose client is away",
    async attack(arena) {
      const sub = arena.client();
      const allow = [`sub:${arena.at}/#`];
      const away = await arena.enter({ sub, allow }, { clean: false });
      await away.subscribe([`${arena.at}/#`], 1);
      await away.leave();
      const { publisher } = await enterPair(arena);
      const payload = Buffer.alloc(1024);
      publisher.sendBytes(repeat(5000, (i) => publishFrame(`${arena.at}/q`, { qos: 1, id: i + 1, payload })));
      for (let seen = 0; seen < 5000; seen++) await publisher.next("puback");
      const back = await arena.enter({ sub, allow }, { clean: false });
      await publisher.publish(`${arena.at}/last`, "", { qos: 1 });
      const count = await countMessages(back);
      expect(count).toBeGreaterThan(0);
      // the one that is published when the client is back need not wait
      expect(count).toBeLessThanOrEqual(defaultLimits.queueMessages + 1);
      return `${count} kept`;
    },
  },
  {
    name: "a new stored session with each of 300 CONNECTs of one client",
    async attack(arena) {
      const sub = arena.client();
      const credentials = { ...arena.bearer(sub, { allow: [`sub:${arena.at}`] }), clean: false };
      const connect = async (index: number): Promise<{ code: number; isThere: boolean }> => {
        const wire = await arena.open();
        const { returnCode, sessionPresent } = await wire.connect({ clientId: `${sub}:${index}`, ...credentials });
        if (returnCode === 0) await wire.subscribe([arena.at], 1);
        wire.drop();
        await wire.closed;
        return { code: returnCode!, isThere: sessionPresent };
      };
      let refused = 0;
      let kept = 0;
      for (let i = 0; i < 300; i++) refused += (await connect(i)).code === 0 ? 0 : 1;
      for (let i = 0; i < 300; i++) kept += (await connect(i)).isThere ? 1 : 0;
      expect(kept).toBeLessThanOrEqual(defaultLimits.sessionsPerClient);
      return `${kept} kept, ${refused} refused`;
    },
  },
  {
    name: "10,500 retained topics of one client",
    async attack(arena) {
      const { publisher, subscriber } = await enterPair(arena);
      publisher.sendBytes(repeat(10_500, (i) => publishFrame(`${arena.at}/r/${i}`, { retain: true, payload: "x" })));
      await publisher.settled();
      await subscriber.subscribe([`${arena.at}/r/#`]);
      const count = await countMessages(subscriber);
      expect(count).toBeGreaterThan(0);
      expect(count).toBeLessThanOrEqual(defaultLimits.retainedPerClient);
      return `${count} delivered`;
    },
  },
  {
    name: "100,000 retained topics of 20 clients, then 20 exact filters and one of everything",
    memory: 256,
    async attack(arena) {
      const allow = [`pubsub:${arena.at}/#`];
      const publishers = await Promise.all(Array.from({ length: 20 }, () => arena.enter({ allow })));
      for (const [p, publisher] of publishers.entries()) {
        const make = (i: number) => publishFrame(`${arena.at}/${p}/${i}`, { retain: true, payload: `${p}/${i}` });
        publisher.sendBytes(repeat(5000, make));
      }
      await Promise.all(publishers.map((publisher) => publisher.settled()));
      const reader = await arena.enter({ allow });
      await reader.subscribe(Array.from({ length: 20 }, (_, p) => `${arena.at}/${p}/777`));
      const exact = new Set<string>();
      while (exact.size < 20) exact.add((await reader.message()).payload);
      const all = await arena.enter({ allow });
      await all.subscribe([`${arena.at}/#`]);
      const count = await countMessages(all);
      return `20 of 20 exact, ${count} of all`;
    },
  },
  {
    name: "100,000 subscriptions of one client",
    async attack(arena) {
      const wire = await arena.enter({ allow: [`sub:${arena.at}/#`] });
      let granted = 0;
      for (let i = 0; i < 200; i++) {
        const codes = await wire.subscribe(Array.from({ length: 500 }, (_, j) => `${arena.at}/${i}/${j}`));
        granted += codes.filter((code) => code !== 128).length;
      }
      expect(granted).toBeLessThanOrEqual(1000);
      return `${granted} granted`;
    },
  },
  manyFilters(1000),
  manyFilters(8000),
  {
    name: "filters of every a and + in 13 levels, as many as are granted, and messages that all of them match",
    async attack(arena) {
      const { publisher, subscriber } = await enterPair(arena);
      const words = Array.from({ length: 8192 }, (_, i) =>
        i.toString(2).padStart(13, "0").replaceAll("0", "a/").replaceAll("1", "+/").slice(0, -1),
      );
      let granted = 0;
      for (let i = 0; i < words.length; i += 900) {
        const codes = await subscriber.subscribe(words.slice(i, i + 900).map((word) => `${arena.at}/${word}`));
        granted += codes.filter((code) => code !== 128).length;
      }
      const topic = `${arena.at}/${words[0]}`;
      for (let i = 0; i < 100; i++) await publisher.publish(topic, String(i), { qos: 1 });
      for (let i = 0; i < 100; i++) expect((await subscriber.message()).payload).toBe(String(i));
      await subscriber.settled();
      expect(subscriber.all("publish")).toEqual([]);
      return `${granted} granted, one copy of each message`;
    },
  },
  {
    name: "2,000 refused messages in one write",
    async attack(arena) {
      const { publisher, subscriber } = await enterPair(arena);
      await subscriber.subscribe([`${arena.at}/#`]);
      const intruder = await arena.enter({ allow: [`pub:acme/elsewhere`] });
      intruder.sendBytes(repeat(2000, () => publishFrame(`${arena.at}/canary`, { payload: "refused" })));
      await intruder.closed;
      await publisher.publish(`${arena.at}/last`, "last", { qos: 1 });
      expect((await subscriber.message()).payload).toBe("last");
      return "closed, none delivered";
    },
  },
];

describeAttacks("floods", rows);
