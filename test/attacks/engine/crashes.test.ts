/** The broker is killed at the worst moment and started again on the same data. No pair: it would be cut off as well. */
import type { IPublishPacket } from "mqtt-packet";
import { expect } from "vitest";
import type { Wire } from "../../gate/wire.ts";
import type { Arena } from "./arena.ts";
import { publishFrame, repeat } from "./frames.ts";
import { describeAttacks, type Row } from "./table.ts";

/** Stored sessions that a row opens, each of its own client. */
function sessionOf(arena: Arena, allow: readonly string[]) {
  const sub = arena.client();
  return { sub, enter: () => arena.enter({ sub, allow }, { clean: false }) };
}

/** A stored session that subscribes at QoS 1 and is away, and a publisher. */
async function enterReader(arena: Arena) {
  const reader = sessionOf(arena, [`sub:${arena.at}/#`]);
  const first = await reader.enter();
  expect(await first.subscribe([`${arena.at}/#`], 1)).toEqual([1]);
  await first.leave();
  return { reader, publisher: await arena.enter({ allow: [`pub:${arena.at}/#`] }) };
}

/** Takes messages until this one; answers all that came. */
async function takeUntil(wire: Wire, last: string): Promise<string[]> {
  const seen: string[] = [];
  while (seen.at(-1) !== last) seen.push((await wire.message()).payload);
  return seen;
}

async function publishLast(arena: Arena): Promise<void> {
  const publisher = await arena.enter({ allow: [`pub:${arena.at}/#`] });
  await publisher.publish(`${arena.at}/x`, "last", { qos: 1 });
}

const numbers = (count: number): string[] => Array.from({ length: count }, (_, i) => String(i));

const rows: Row[] = [
  {
    name: "killed as soon as the last of 100 messages is acknowledged",
    async attack(arena) {
      const { reader, publisher } = await enterReader(arena);
      for (const payload of numbers(100)) await publisher.publish(`${arena.at}/x`, payload, { qos: 1 });
      await arena.restart("SIGKILL");
      const back = await reader.enter();
      await publishLast(arena);
      expect(await takeUntil(back, "last")).toEqual([...numbers(100), "last"]);
      return "100 of 100 there, in order";
    },
  },
  {
    name: "killed when 300 of 900 messages in one write are acknowledged",
    async attack(arena) {
      const { reader, publisher } = await enterReader(arena);
      const make = (i: number) => publishFrame(`${arena.at}/x`, { qos: 1, id: i + 1, payload: String(i) });
      publisher.sendBytes(repeat(900, make));
      for (let i = 0; i < 300; i++) await publisher.next("puback");
      await arena.restart("SIGKILL");
      const acknowledged = 300 + publisher.all("puback").length;
      const back = await reader.enter();
      await publishLast(arena);
      const seen = await takeUntil(back, "last");
      expect(seen.slice(0, acknowledged)).toEqual(numbers(acknowledged));
      return `${acknowledged} were acknowledged, ${seen.length - 1} are there`;
    },
  },
  {
    name: "killed between PUBREC and PUBREL, then the same message again",
    async attack(arena) {
      const { reader } = await enterReader(arena);
      const sender = sessionOf(arena, [`pub:${arena.at}/#`]);
      const first = await sender.enter();
      first.sendBytes(publishFrame(`${arena.at}/x`, { qos: 2, id: 5, payload: "once" }));
      await first.next("pubrec");
      await arena.restart("SIGKILL");
      const second = await sender.enter();
      second.sendBytes(publishFrame(`${arena.at}/x`, { qos: 2, id: 5, dup: true, payload: "once" }));
      await second.next("pubrec");
      second.send({ cmd: "pubrel", messageId: 5 });
      await second.next("pubcomp");
      const back = await reader.enter();
      await publishLast(arena);
      expect(await takeUntil(back, "last")).toEqual(["once", "last"]);
      return "delivered once";
    },
  },
  {
    name: "killed after PUBREC of a message of QoS 2, which its sender then releases",
    async attack(arena) {
      const { reader } = await enterReader(arena);
      const sender = sessionOf(arena, [`pub:${arena.at}/#`]);
      const first = await sender.enter();
      first.sendBytes(publishFrame(`${arena.at}/x`, { qos: 2, id: 6, payload: "once" }));
      await first.next("pubrec");
      await arena.restart("SIGKILL");
      const second = await sender.enter();
      second.send({ cmd: "pubrel", messageId: 6 });
      await second.next("pubcomp");
      const back = await reader.enter();
      await publishLast(arena);
      expect(await takeUntil(back, "last")).toEqual(["once", "last"]);
      return "delivered once";
    },
  },
  {
    name: "killed when a retained message is acknowledged, and when its removal is",
    async attack(arena) {
      const allow = [`pubsub:${arena.at}/#`];
      const first = await arena.enter({ allow });
      await first.publish(`${arena.at}/kept`, "kept", { qos: 1, retain: true });
      await first.publish(`${arena.at}/gone`, "canary", { qos: 1, retain: true });
      await first.publish(`${arena.at}/gone`, "", { qos: 1, retain: true });
      await arena.restart("SIGKILL");
      const second = await arena.enter({ allow });
      await second.subscribe([`${arena.at}/#`]);
      expect(await second.message()).toMatchObject({ payload: "kept", retain: true });
      await second.publish(`${arena.at}/x`, "last", { qos: 1 });
      expect((await second.message()).payload).toBe("last");
      return "one is there, the other not";
    },
  },
  {
    name: "killed when a SUBSCRIBE of which half is refused is answered",
    async attack(arena) {
      const sub = arena.client();
      const first = await arena.enter({ sub, allow: [`sub:${arena.at}/a`] }, { clean: false });
      expect(await first.subscribe([`${arena.at}/a`, `${arena.at}/b`], 1)).toEqual([1, 128]);
      await arena.restart("SIGKILL");
      const publisher = await arena.enter({ allow: [`pub:${arena.at}/#`] });
      await publisher.publish(`${arena.at}/b`, "canary", { qos: 1 });
      await publisher.publish(`${arena.at}/a`, "waits", { qos: 1 });
      const second = await arena.enter({ sub, allow: [`sub:${arena.at}/#`] }, { clean: false });
      expect((await second.message()).payload).toBe("waits");
      await second.settled();
      expect(second.all("publish")).toEqual([]);
      return "the granted half is kept, the other left no trace";
    },
  },
  {
    name: "killed when an UNSUBSCRIBE is answered, and when a clean CONNECT is",
    async attack(arena) {
      const reader = sessionOf(arena, [`sub:${arena.at}/#`]);
      const first = await reader.enter();
      await first.subscribe([`${arena.at}/x`, `${arena.at}/y`], 1);
      first.send({ cmd: "unsubscribe", messageId: 3, unsubscriptions: [`${arena.at}/y`] });
      await first.next("unsuback");
      const cleaned = sessionOf(arena, [`sub:${arena.at}/#`]);
      const stored = await cleaned.enter();
      await stored.subscribe([`${arena.at}/y`], 1);
      await stored.leave();
      await arena.enter({ sub: cleaned.sub, allow: [] }, { clean: true });
      await arena.restart("SIGKILL");
      const publisher = await arena.enter({ allow: [`pub:${arena.at}/#`] });
      await publisher.publish(`${arena.at}/y`, "canary", { qos: 1 });
      await publisher.publish(`${arena.at}/x`, "last", { qos: 1 });
      expect(await takeUntil(await reader.enter(), "last")).toEqual(["last"]);
      const back = await cleaned.enter();
      await back.settled();
      expect(back.all("publish")).toEqual([]);
      return "both are gone";
    },
  },
  {
    name: "killed while a message is on its way and not acknowledged",
    async attack(arena) {
      const { reader, publisher } = await enterReader(arena);
      const first = await reader.enter();
      await publisher.publish(`${arena.at}/x`, "sent", { qos: 1 });
      expect(await first.next<IPublishPacket>("publish")).toMatchObject({ dup: false });
      const broken = await reader.enter();
      expect(await broken.next<IPublishPacket>("publish"), "after a break").toMatchObject({ dup: true });
      await arena.restart("SIGKILL");
      const second = await reader.enter();
      expect(await second.next<IPublishPacket>("publish"), "after the kill").toMatchObject({ dup: true });
      return "sent again, with DUP";
    },
  },
  {
    name: "killed five times while messages are published and read",
    async attack(arena) {
      const { reader } = await enterReader(arena);
      const acknowledged: string[] = [];
      const seen = new Set<string>();
      for (let round = 0; round < 5; round++) {
        const back = await reader.enter();
        const reading = (async () => {
          for (;;) seen.add((await back.message()).payload);
        })().catch(() => undefined);
        const publisher = await arena.enter({ allow: [`pub:${arena.at}/#`] });
        for (let i = 0; i < 60; i++) {
          await publisher.publish(`${arena.at}/x`, `${round}/${i}`, { qos: 1 });
          acknowledged.push(`${round}/${i}`);
        }
        await arena.restart("SIGKILL");
        await reading;
      }
      const back = await reader.enter();
      await publishLast(arena);
      for (const payload of await takeUntil(back, "last")) seen.add(payload);
      expect(acknowledged.filter((payload) => !seen.has(payload))).toEqual([]);
      return "300 of 300 arrived";
    },
  },
  {
    name: "killed when a client is disabled that has a will, beside one that is not",
    async attack(arena) {
      const { reader } = await enterReader(arena);
      const will = (payload: string) => {
        return { topic: `${arena.at}/will`, payload: Buffer.from(payload), qos: 1, retain: false } as const;
      };
      const disabled = arena.client();
      const allow = [`pub:${arena.at}/will`];
      const wire = await arena.enter({ sub: disabled, allow }, { will: will("canary") });
      await arena.enter({ allow }, { will: will("due") });
      await arena.change(disabled, { enabled: false });
      await wire.closed;
      await arena.restart("SIGKILL");
      const back = await reader.enter();
      expect(await takeUntil(back, "due")).toEqual(["due"]);
      await publishLast(arena);
      expect(await takeUntil(back, "last")).toEqual(["last"]);
      const again = await arena.open();
      const { returnCode } = await again.connect({ clientId: disabled, ...arena.bearer(disabled, { allow }) });
      expect(returnCode).not.toBe(0);
      return "only the other's will, and the client stays out";
    },
  },
  {
    name: "killed when a device is disabled; its certificate over TLS and over WebSocket",
    async attack(arena) {
      const { id, cert, key } = arena.device();
      await arena.change(id, { enabled: false });
      await arena.restart("SIGKILL");
      for (const transport of ["tls", "wss"] as const) {
        const wire = await arena.open({ transport, cert, key });
        expect((await wire.connect({ clientId: id })).returnCode).not.toBe(0);
      }
      return "refused";
    },
  },
  {
    name: "ended in an orderly way while messages wait",
    async attack(arena) {
      const { reader, publisher } = await enterReader(arena);
      for (const payload of numbers(20)) await publisher.publish(`${arena.at}/x`, payload, { qos: 1 });
      await arena.restart("SIGTERM");
      const back = await reader.enter();
      await publishLast(arena);
      expect(await takeUntil(back, "last")).toEqual([...numbers(20), "last"]);
      return "20 of 20 there";
    },
  },
];

describeAttacks("the broker is killed", rows, { hasPair: false });
