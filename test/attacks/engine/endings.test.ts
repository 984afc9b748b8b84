/** How a session ends, and what comes of it: refused messages, disabled clients, wills, certificates. */
import type { IPublishPacket } from "mqtt-packet";
import { expect } from "vitest";
import type { Wire } from "../../gate/wire.ts";
import { publishFrame, repeat } from "./frames.ts";
import { describeAttacks, type Row } from "./table.ts";
import { enterPair } from "./witness.ts";

const topicsOf = (wire: Wire): string[] => wire.all("publish").map((packet) => (packet as IPublishPacket).topic);

const rows: Row[] = [
  {
    name: "a refused message among allowed ones, in one write",
    async attack(arena) {
      const { heard } = await enterPair(arena);
      const wire = await arena.enter({ allow: [`pub:${arena.at}/own`] });
      const own = (id: number, payload: string) => publishFrame(`${arena.at}/own`, { qos: 1, id, payload });
      const refused = publishFrame(`${arena.at}/other`, { qos: 1, id: 2, payload: "canary" });
      wire.sendBytes(Buffer.concat([own(1, "before"), refused, own(3, "canary")]));
      await wire.closed;
      expect(await heard()).toEqual(["before"]);
      // the acknowledgement of the first may no longer get out, that of another must not
      expect(wire.all("puback").filter(({ messageId }) => messageId !== 1)).toEqual([]);
      return "what came before is delivered, nothing after";
    },
  },
  {
    name: "messages of a client that is disabled while it publishes",
    async attack(arena) {
      const { heard } = await enterPair(arena);
      const sub = arena.client();
      const wire = await arena.enter({ sub, allow: [`pub:${arena.at}/#`] });
      wire.sendBytes(repeat(500, (i) => publishFrame(`${arena.at}/x`, { payload: String(i) })));
      await arena.change(sub, { enabled: false });
      wire.sendBytes(repeat(500, () => publishFrame(`${arena.at}/x`, { payload: "canary" })));
      await wire.closed;
      const payloads = await heard();
      expect(payloads).not.toContain("canary");
      const again = await arena.open();
      again.sendBytes(arena.connectBytes({ sub, allow: ["pubsub:#"] }));
      expect(await again.next("connack")).not.toMatchObject({ returnCode: 0 });
      return `closed; ${payloads.length} of 500 before, none after`;
    },
  },
  {
    name: "DISCONNECT and then messages, in one write",
    async attack(arena) {
      const { heard } = await enterPair(arena);
      const wire = await arena.enter({ allow: [`pub:${arena.at}/#`] });
      const canary = repeat(50, () => publishFrame(`${arena.at}/x`, { payload: "canary" }));
      wire.sendBytes(Buffer.concat([Buffer.of(0xe0, 0), canary]));
      await wire.closed;
      expect(await heard()).toEqual([]);
      return "none delivered";
    },
  },
  {
    name: "the will of a client that is disabled",
    async attack(arena) {
      const { heard } = await enterPair(arena);
      const sub = arena.client();
      const will = { topic: `${arena.at}/will`, payload: Buffer.from("canary"), qos: 1, retain: true } as const;
      const wire = await arena.enter({ sub, allow: [`pub:${arena.at}/will`] }, { will });
      await arena.change(sub, { enabled: false });
      await wire.closed;
      expect(await heard()).toEqual([]);
      const late = await arena.enter({ allow: [`sub:${arena.at}/#`] });
      await late.subscribe([`${arena.at}/will`]);
      await late.settled();
      expect(topicsOf(late)).toEqual([]);
      return "not published, not retained";
    },
  },
  {
    name: "wills of clients that break off, whose token has ended, and that say goodbye",
    async attack(arena) {
      const { heard } = await enterPair(arena);
      const enter = (payload: string, ttlSeconds = 600) => {
        const will = { topic: `${arena.at}/will`, payload: Buffer.from(payload), qos: 1, retain: false } as const;
        return arena.enter({ allow: [`pub:${arena.at}/will`], ttlSeconds }, { will });
      };
      const broken = await enter("broken off");
      broken.drop();
      await broken.closed;
      const ended = await enter("ended", 4);
      await ended.closed;
      await (await enter("canary")).leave();
      expect(new Set(await heard())).toEqual(new Set(["broken off", "ended"]));
      return "published, published, not published";
    },
  },
  {
    name: "a device that is let in by its certificate alone, and is disabled; over TLS and over WebSocket",
    async attack(arena) {
      for (const transport of ["tls", "wss"] as const) {
        const { id, cert, key } = arena.device();
        const enter = async () => {
          const wire = await arena.open({ transport, cert, key });
          return { wire, code: (await wire.connect({ clientId: id })).returnCode };
        };
        const first = await enter();
        expect(first.code).toBe(0);
        await arena.change(id, { enabled: false });
        await first.wire.closed;
        expect((await enter()).code).not.toBe(0);
      }
      return "closed, and refused from then on";
    },
  },
  {
    name: "a role that is taken from a device while it is connected",
    async attack(arena) {
      const { id, cert, key } = arena.device();
      const own = `acme/${id.slice(5)}`;
      const wire = await arena.open({ transport: "tls", cert, key });
      await wire.connect({ clientId: id, clean: false });
      expect(await wire.subscribe([`${own}/a`], 1)).toEqual([1]);
      const publisher = await arena.enter({ allow: [`pub:${own}/#`] });
      await publisher.publish(`${own}/a`, "1", { qos: 1 });
      expect((await wire.message()).payload).toBe("1");
      await arena.change(id, { roles: [] });
      await publisher.publish(`${own}/a`, "canary", { qos: 1 });
      await wire.settled();
      expect(topicsOf(wire)).toEqual([]);
      wire.sendBytes(publishFrame(`${own}/a`, { qos: 1 }));
      await wire.closed;
      return "nothing delivered, the next message closes";
    },
  },
];

describeAttacks("endings", rows);
