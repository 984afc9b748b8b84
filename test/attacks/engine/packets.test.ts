/** Packets that are not as MQTT 3.1.1 wants them, too early, or twice; and many in one write with CONNECT. */
import { expect } from "vitest";
import {
  connectFrame,
  number,
  packet,
  pingFrame,
  publishFrame,
  repeat,
  subscribeFrame,
  text,
  unsubscribeFrame,
} from "./frames.ts";
import { describeAttacks, type Row } from "./table.ts";
import { enterPair, survives } from "./witness.ts";

const strangePackets: [string, (at: string) => Uint8Array][] = [
  ["a PUBLISH of QoS 1 with packet id 0", (at) => publishFrame(`${at}/id`, { qos: 1, id: 0 })],
  ["a PUBLISH of QoS 2 with packet id 0", (at) => publishFrame(`${at}/id`, { qos: 2, id: 0 })],
  ["a PUBLISH of QoS 3", (at) => publishFrame(`${at}/three`, { qos: 3 })],
  ["a PUBLISH of QoS 0 with DUP", (at) => publishFrame(`${at}/dup`, { dup: true })],
  ["a PUBLISH that ends within its topic", (at) => packet(0x30, number(500), Buffer.from(`${at}/short`))],
  ["a SUBSCRIBE with packet id 0", (at) => subscribeFrame([`${at}/x`], 0, 0)],
  ["a SUBSCRIBE without filters", () => packet(0x82, number(1))],
  ["a SUBSCRIBE of QoS 3", (at) => subscribeFrame([`${at}/x`], 3)],
  ["a SUBSCRIBE with wrong flags", (at) => packet(0x80, number(1), text(`${at}/x`), Buffer.of(0))],
  ["an UNSUBSCRIBE with packet id 0", (at) => unsubscribeFrame([`${at}/x`], 0)],
  ["an UNSUBSCRIBE without filters", () => packet(0xa2, number(1))],
  ["a PUBREL with wrong flags", () => packet(0x60, number(1))],
  ["a CONNACK", () => packet(0x20, Buffer.of(0, 0))],
  ["a SUBACK", () => packet(0x90, number(1), Buffer.of(0))],
  ["a PINGRESP", () => packet(0xd0)],
  ["a PINGREQ with a body", () => packet(0xc0, Buffer.of(1))],
  ["packet type 0", () => packet(0x00)],
  ["packet type 15", () => packet(0xf0)],
  ["a second CONNECT", () => connectFrame({ clientId: "acme.alice" })],
];

function sendStrange(name: string, make: (at: string) => Uint8Array): Row {
  return {
    name,
    async attack(arena) {
      const { heard } = await enterPair(arena);
      const wire = await arena.enter({ allow: [`pubsub:${arena.at}/#`] });
      expect(await survives(wire, make(arena.at))).toBe(false);
      expect(await heard()).toEqual([]);
      return "closed";
    },
  };
}

const rows: Row[] = [
  ...strangePackets.map(([name, make]) => sendStrange(name, make)),
  {
    name: "acknowledgements of what was never sent",
    async attack(arena) {
      const wire = await arena.enter({ allow: [] });
      const made = [0x40, 0x50, 0x62, 0x70].map((first) => repeat(200, (i) => packet(first, number(i + 1))));
      const isThere = await survives(wire, Buffer.concat(made));
      return isThere ? "passed over" : "closed";
    },
  },
  {
    name: "every packet before CONNECT",
    async attack(arena) {
      const { heard } = await enterPair(arena);
      const first = [publishFrame(`${arena.at}/early`), subscribeFrame([`${arena.at}/#`]), pingFrame, packet(0xe0)];
      for (const early of first) {
        const wire = await arena.open();
        wire.sendBytes(Buffer.concat([early, arena.connectBytes({ allow: ["pubsub:#"] })]));
        await wire.closed;
        expect(wire.all("connack")).toEqual([]);
      }
      expect(await heard()).toEqual([]);
      return "closed";
    },
  },
  {
    name: "a CONNECT and 60 messages in one write, let in",
    async attack(arena) {
      const { heard } = await enterPair(arena);
      const wire = await arena.open();
      const sent = repeat(60, (i) => publishFrame(`${arena.at}/${i}`, { payload: String(i) }));
      wire.sendBytes(Buffer.concat([arena.connectBytes({ allow: [`pub:${arena.at}/#`] }), sent, pingFrame]));
      await wire.next("pingresp");
      expect(await heard()).toEqual(Array.from({ length: 60 }, (_, i) => String(i)));
      return "60 of 60 delivered, in order";
    },
  },
  {
    name: "a CONNECT and 60 messages in one write, refused",
    async attack(arena) {
      const { heard } = await enterPair(arena);
      const sub = arena.client();
      const wire = await arena.open();
      const sent = repeat(60, (i) => publishFrame(`${arena.at}/${i}`, { qos: 1, id: i + 1 }));
      const connect = arena.connectBytes({ sub, allow: ["pub:#"], ttlSeconds: -60 });
      wire.sendBytes(Buffer.concat([connect, sent, pingFrame]));
      await wire.closed;
      expect(wire.all("puback")).toEqual([]);
      expect(await heard()).toEqual([]);
      return "none delivered, none acknowledged";
    },
  },
  {
    name: "a CONNECT of MQTT 5, of an unknown level, and of another protocol",
    async attack(arena) {
      const codes: string[] = [];
      for (const [protocol, level] of [
        ["MQTT", 5],
        ["MQTT", 77],
        ["HTTP", 4],
        ["MQIsdp", 4],
      ] as const) {
        const wire = await arena.open();
        wire.sendBytes(arena.connectBytes({ allow: [] }, { protocol, level }));
        const connack = await wire.next("connack").catch(() => undefined);
        if (connack !== undefined) expect(connack).not.toMatchObject({ returnCode: 0 });
        await wire.closed;
        if (level === 5) expect(connack).toMatchObject({ returnCode: 1 });
        codes.push(connack === undefined ? "closed" : `code ${(connack as { returnCode: number }).returnCode}`);
      }
      return codes.join(", ");
    },
  },
];

describeAttacks("packets", rows);
