/** Rights that are taken away or were never there: filters, waiting messages, retained ones, groups. */
import type { IPublishPacket } from "mqtt-packet";
import { expect } from "vitest";
import type { Wire } from "../../gate/wire.ts";
import { publishFrame } from "./frames.ts";
import { describeAttacks, type Row } from "./table.ts";
import { enterPair } from "./witness.ts";

const topicsOf = (wire: Wire): string[] => wire.all("publish").map((packet) => (packet as IPublishPacket).topic);

const rows: Row[] = [
  {
    name: "a renewal that takes a topic away, in one write with messages to that topic",
    async attack(arena) {
      const { heard } = await enterPair(arena);
      const sub = arena.client();
      const wire = await arena.enter({ sub, allow: [`pub:${arena.at}/a`, `pub:${arena.at}/b`] });
      const narrower = arena.token(sub, { allow: [`pub:${arena.at}/a`] });
      wire.sendBytes(
        Buffer.concat([
          publishFrame(`${arena.at}/b`, { payload: "before" }),
          publishFrame("authz-info", { payload: narrower }),
          publishFrame(`${arena.at}/a`, { payload: "still allowed" }),
          publishFrame(`${arena.at}/b`, { payload: "canary" }),
          publishFrame(`${arena.at}/a`, { payload: "canary" }),
        ]),
      );
      await wire.closed;
      expect(await heard()).toEqual(["before", "still allowed"]);
      return "what came before is delivered, nothing after";
    },
  },
  {
    name: "10 of 100 waiting messages whose topic is taken away by a new token",
    async attack(arena) {
      const { publisher } = await enterPair(arena);
      const sub = arena.client();
      const topics = [`${arena.at}/a`, `${arena.at}/b`];
      const first = await arena.enter({ sub, allow: topics.map((topic) => `sub:${topic}`) }, { clean: false });
      expect(await first.subscribe(topics, 1)).toEqual([1, 1]);
      await first.leave();
      for (let i = 0; i < 100; i++) await publisher.publish(topics[i % 10 === 0 ? 1 : 0]!, String(i), { qos: 1 });
      const back = await arena.enter({ sub, allow: [`sub:${topics[0]}`] }, { clean: false });
      for (let i = 0; i < 90; i++) expect((await back.message()).topic).toBe(topics[0]);
      await back.settled();
      for (const topic of topics) await publisher.publish(topic, "later", { qos: 1 });
      expect(await back.message()).toMatchObject({ topic: topics[0], payload: "later" });
      await back.settled();
      expect(topicsOf(back)).toEqual([]);
      return "90 of 90, none of the other 10";
    },
  },
  {
    name: "the same while the client is connected and slow to acknowledge",
    async attack(arena) {
      const { publisher } = await enterPair(arena);
      const sub = arena.client();
      const topics = [`${arena.at}/a`, `${arena.at}/b`];
      const wire = await arena.enter({ sub, allow: topics.map((topic) => `sub:${topic}`) }, { clean: false });
      await wire.subscribe(topics, 1);
      for (let i = 0; i < 400; i++) await publisher.publish(topics[i % 10 === 0 ? 1 : 0]!, String(i), { qos: 1 });
      await wire.settled();
      const early = new Set(wire.all("publish").map((packet) => (packet as IPublishPacket).payload.toString()));
      wire.sendBytes(
        publishFrame("authz-info", { qos: 1, id: 1, payload: arena.token(sub, { allow: [`sub:${topics[0]}`] }) }),
      );
      await wire.next("puback");
      await publisher.publish(topics[0]!, "last", { qos: 1 });
      const seen: string[] = [];
      for (let payload = ""; payload !== "last"; seen.push(payload)) {
        const message = await wire.message();
        ({ payload } = message);
        if (!early.has(payload)) expect(message.topic).toBe(topics[0]);
      }
      const allowed = seen.filter((payload) => Number(payload) % 10 !== 0 && payload !== "last");
      expect(new Set(allowed).size).toBe(360);
      return `360 of 360; ${early.size} were on their way before`;
    },
  },
  {
    name: "a refused and a granted filter in one SUBSCRIBE, on a session that is to be kept",
    async attack(arena) {
      const { publisher } = await enterPair(arena);
      const sub = arena.client();
      const allow = [`sub:${arena.at}/granted`];
      const filters = [`${arena.at}/granted`, `${arena.at}/refused`, `$share/g/${arena.at}/refused`];
      const first = await arena.enter({ sub, allow }, { clean: false });
      expect(await first.subscribe(filters, 1)).toEqual([1, 128, 128]);
      await publisher.publish(`${arena.at}/refused`, "canary", { qos: 1 });
      await first.leave();
      await publisher.publish(`${arena.at}/refused`, "canary", { qos: 1 });
      await publisher.publish(`${arena.at}/granted`, "waits", { qos: 1 });
      // not even when the rights would allow it later: it was refused
      const back = await arena.enter({ sub, allow: [`sub:${arena.at}/#`] }, { clean: false });
      expect((await back.message()).payload).toBe("waits");
      await publisher.publish(`${arena.at}/refused`, "canary", { qos: 1 });
      await back.settled();
      expect([...topicsOf(first), ...topicsOf(back)]).toEqual([]);
      return "nothing of the refused one, now or later";
    },
  },
  {
    name: "stored filters whose rights are gone when their client comes back",
    async attack(arena) {
      const { publisher } = await enterPair(arena);
      const sub = arena.client();
      const first = await arena.enter({ sub, allow: [`sub:${arena.at}/#`] }, { clean: false });
      await first.subscribe([`${arena.at}/gone`, `$share/g/${arena.at}/gone`, `${arena.at}/kept`], 1);
      await first.leave();
      await publisher.publish(`${arena.at}/gone`, "canary", { qos: 1 });
      const allow = [`sub:${arena.at}/kept`];
      const second = await arena.enter({ sub, allow }, { clean: false });
      await publisher.publish(`${arena.at}/gone`, "canary", { qos: 1 });
      await publisher.publish(`${arena.at}/kept`, "1", { qos: 1 });
      expect((await second.message()).payload).toBe("1");
      await second.leave();
      await publisher.publish(`${arena.at}/gone`, "canary", { qos: 1 });
      const third = await arena.enter({ sub, allow: [`sub:${arena.at}/#`] }, { clean: false });
      await publisher.publish(`${arena.at}/kept`, "2", { qos: 1 });
      expect((await third.message()).payload).toBe("2");
      await third.settled();
      expect([...topicsOf(second), ...topicsOf(third)]).toEqual([]);
      return "nothing delivered, the filter is not kept";
    },
  },
  {
    name: "retained messages of topics that are not granted, by every way to ask for them",
    async attack(arena) {
      const { publisher } = await enterPair(arena);
      await publisher.publish(`${arena.at}/secret`, "canary", { qos: 1, retain: true });
      await publisher.publish(`${arena.at}/open`, "open", { qos: 1, retain: true });
      const wire = await arena.enter({ allow: [`sub:${arena.at}/open`] });
      const filters = [
        `${arena.at}/secret`,
        `${arena.at}/+`,
        `${arena.at}/#`,
        "#",
        "+/+/+",
        `$share/g/${arena.at}/secret`,
      ];
      expect(await wire.subscribe(filters, 1)).toEqual(filters.map(() => 128));
      expect(await wire.subscribe([`${arena.at}/open`], 1)).toEqual([1]);
      expect((await wire.message()).payload).toBe("open");
      await wire.settled();
      expect(topicsOf(wire)).toEqual([]);
      return "none delivered";
    },
  },
  {
    name: "retained messages and removals by a client that may not publish there",
    async attack(arena) {
      const { publisher } = await enterPair(arena);
      await publisher.publish(`${arena.at}/r`, "right", { qos: 1, retain: true });
      for (const payload of ["canary", ""]) {
        const wire = await arena.enter({ allow: [`sub:${arena.at}/r`, `pub:${arena.at}/other`] });
        wire.sendBytes(publishFrame(`${arena.at}/r`, { qos: 1, retain: true, payload }));
        await wire.closed;
        expect(wire.all("puback")).toEqual([]);
      }
      const reader = await arena.enter({ allow: [`sub:${arena.at}/r`] });
      await reader.subscribe([`${arena.at}/r`]);
      expect((await reader.message()).payload).toBe("right");
      return "the right one is still there";
    },
  },
  {
    name: "the members of a group, some of which may not read what it shares",
    async attack(arena) {
      const { publisher } = await enterPair(arena);
      const share = `$share/g/${arena.at}/work`;
      const members = await Promise.all([0, 1].map(() => arena.enter({ allow: [`sub:${arena.at}/work`] })));
      for (const member of members) {
        const [code] = await member.subscribe([share], 1);
        if (code === 128) return "shared subscriptions are refused";
      }
      const stranger = await arena.enter({ allow: [`sub:${arena.at}/other`] });
      expect(await stranger.subscribe([share], 1)).toEqual([128]);
      for (let i = 0; i < 100; i++) await publisher.publish(`${arena.at}/work`, String(i), { qos: 1 });
      const seen: string[] = [];
      for (const member of members) {
        await member.settled();
        for (let left = member.all("publish").length; left > 0; left--) seen.push((await member.message()).payload);
      }
      expect(seen.toSorted((a, b) => Number(a) - Number(b))).toEqual(Array.from({ length: 100 }, (_, i) => String(i)));
      expect(topicsOf(stranger)).toEqual([]);
      return "each message to one member, none to the stranger";
    },
  },
];

describeAttacks("rights", rows);
