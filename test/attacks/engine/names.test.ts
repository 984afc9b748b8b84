/** Names, filters and client ids that are not as MQTT 3.1.1 wants them: refused, and nothing comes of them later. */
import type { ISubackPacket } from "mqtt-packet";
import { expect } from "vitest";
import type { Wire } from "../../gate/wire.ts";
import type { Arena } from "./arena.ts";
import { publishFrame, subscribeFrame, unsubscribeFrame } from "./frames.ts";
import { describeAttacks, type Row } from "./table.ts";
import { survives } from "./witness.ts";

type Text = string | Uint8Array;

const bytes = (hex: string): Buffer => Buffer.from(hex, "hex");
/** `x/` and then these bytes. */
const after = (prefix: string, hex: string): Buffer => Buffer.concat([Buffer.from(prefix), bytes(hex)]);

/** What nobody may write in a name or a filter; given the prefix that the sender is granted. */
const wrongText: [string, (at: string) => Text][] = [
  ["NUL", (at) => `${at}/a\u0000b`],
  ["a control character", (at) => `${at}/a\u0007b`],
  ["U+FFFF", (at) => `${at}/a\uffff`],
  ["U+FFFD", (at) => `${at}/a\ufffd`],
  ["a lone byte that is no UTF-8", (at) => after(`${at}/`, "ff")],
  ["UTF-8 that ends early", (at) => after(`${at}/`, "e282")],
  ["an overlong slash", (at) => after(`${at}/a`, "c0af62")],
  ["a surrogate", (at) => after(`${at}/`, "eda080")],
  ["64 KB", (at) => `${at}/${"x".repeat(65_000)}`],
  ["40 levels", (at) => `${at}${"/a".repeat(40)}`],
  ["4,000 levels", (at) => `${at}${"/a".repeat(4000)}`],
  ["nothing at all", () => ""],
];

/** A witness that hears everything below the prefix, and a publisher to end its waiting. */
async function enterWitness(arena: Arena) {
  const witness = await arena.enter({ allow: ["sub:#"] });
  await witness.subscribe(["#"]);
  const publisher = await arena.enter({ allow: [`pub:${arena.at}/#`] });
  const heard = async (): Promise<string[]> => {
    const last = `${arena.at}/last`;
    await publisher.publish(last, "", { qos: 1 });
    const topics: string[] = [];
    for (;;) {
      const { topic } = await witness.message();
      if (topic === last) return topics.filter((heard) => !heard.startsWith("acme/innocent"));
      topics.push(topic);
    }
  };
  return { publisher, heard };
}

/** What a SUBSCRIBE is answered: the codes, or that the connection is closed. */
async function ask(wire: Wire, filters: readonly Text[]): Promise<number[] | "closed"> {
  wire.sendBytes(subscribeFrame(filters, 1));
  return wire.next<ISubackPacket>("suback").then(
    ({ granted }) => granted as number[],
    () => "closed",
  );
}

const wrongFilters = ["+a", "a+", "a#", "#a", "++", "##", "+#", "#/a", "a/#/b", "a/+b/c"];
const wrongShares = [
  "$share",
  "$share/",
  "$share/g",
  "$share/g/",
  "$share//a",
  "$share/+/a",
  "$share/#/a",
  "$share/g#/a",
];

function wrongInEverything(name: string, make: (at: string) => Text): Row {
  return {
    name: `${name}: in a topic, a filter, a will and an UNSUBSCRIBE`,
    async attack(arena) {
      const { heard } = await enterWitness(arena);
      const allow = ["pubsub:#"];
      const wrong = make(arena.at);
      const publisher = await arena.enter({ allow });
      const isThere = await survives(publisher, publishFrame(wrong, { payload: "canary" }));
      const subscriber = await arena.enter({ allow });
      const answer = await ask(subscriber, [wrong]);
      if (answer !== "closed") expect(answer).toEqual([128]);
      const stranger = await arena.open();
      stranger.sendBytes(arena.connectBytes({ allow }, { will: { topic: wrong, payload: "canary" } }));
      const connack = await stranger.next("connack").catch(() => undefined);
      if (connack !== undefined) expect(connack).not.toMatchObject({ returnCode: 0 });
      stranger.drop();
      const leaver = await arena.enter({ allow });
      await survives(leaver, unsubscribeFrame([wrong]));
      expect(await heard()).toEqual([]);
      return `publisher ${isThere ? "stays" : "closed"}, filter ${String(answer)}, will refused`;
    },
  };
}

const rows: Row[] = [
  {
    name: "filters with a wildcard where none may stand, and then messages that they might match",
    async attack(arena) {
      const { publisher, heard } = await enterWitness(arena);
      const answers = new Set<string>();
      const allow = [`pubsub:${arena.at}/#`];
      const wires: Wire[] = [];
      for (const filter of wrongFilters) {
        const wire = await arena.enter({ allow });
        const answer = await ask(wire, [`${arena.at}/${filter}`]);
        if (answer !== "closed") expect([filter, ...answer]).toEqual([filter, 128]);
        answers.add(String(answer));
        wires.push(wire);
      }
      for (const topic of ["a", "ab", "xa", "ax", "a/b", "a/x/b", "a/xb/c", "x/a"]) {
        await publisher.publish(`${arena.at}/${topic}`, "canary", { qos: 1 });
      }
      await heard();
      for (const wire of wires) expect(wire.all("publish")).toEqual([]);
      return `answered ${[...answers].join(" or ")}`;
    },
  },
  {
    name: "shared subscriptions without group, without filter, or with a wildcard for a group",
    async attack(arena) {
      const answers = new Set<string>();
      for (const filter of wrongShares) {
        const wire = await arena.enter({ allow: ["pubsub:#"] });
        const answer = await ask(wire, [filter]);
        if (answer !== "closed") expect([filter, ...answer]).toEqual([filter, 128]);
        answers.add(String(answer));
      }
      return `answered ${[...answers].join(" or ")}`;
    },
  },
  ...wrongText.map(([name, make]) => wrongInEverything(name, make)),
  {
    name: "topics that are published with a wildcard",
    async attack(arena) {
      const { heard } = await enterWitness(arena);
      for (const topic of ["+", "#", "a/+", "a/#", "a+b"]) {
        const wire = await arena.enter({ allow: ["pub:#"] });
        await survives(wire, publishFrame(`${arena.at}/${topic}`, { payload: "canary" }));
      }
      expect(await heard()).toEqual([]);
      return "none delivered";
    },
  },
  {
    name: "client ids with the names of what every object has, with control characters, of 64 KB, and none to be kept",
    async attack(arena) {
      const sub = arena.client();
      const names = ["constructor", "__proto__", "toString", "hasOwnProperty"];
      const wrong = [
        ...names,
        `${sub}:\u0000`,
        `${sub}:\ufffd`,
        `${sub}:+`,
        `${sub}:a/b`,
        `${sub}:${"x".repeat(65_000)}`,
        sub.slice(0, -1),
      ];
      for (const clientId of [...wrong, ""]) {
        const wire = await arena.open();
        wire.sendBytes(arena.connectBytes({ sub, allow: [] }, { clientId, clean: clientId !== "" }));
        const connack = await wire.next("connack").catch(() => undefined);
        if (connack !== undefined) expect([clientId, connack]).not.toMatchObject([clientId, { returnCode: 0 }]);
        await wire.closed;
      }
      for (const name of names) {
        const allow = [`pubsub:${arena.at}`];
        const wire = await arena.enter({ sub, allow }, { clientId: `${sub}:${name}`, clean: false });
        expect(await wire.subscribe([arena.at], 1)).toEqual([1]);
        await wire.publish(arena.at, name, { qos: 1 });
        expect((await wire.message()).payload).toBe(name);
        wire.drop();
        await wire.closed;
      }
      return "refused; as suffixes of the own id they work";
    },
  },
  {
    name: "a will with a wildcard, on $SYS, on authz-info, and on a topic that is not granted",
    async attack(arena) {
      const { heard } = await enterWitness(arena);
      const at = arena.at;
      for (const topic of [`${at}/+/#`, "$SYS/x/new/clients", "$SYS/x", "$share/g/x", "authz-info", "acme/other"]) {
        for (const retain of [false, true]) {
          const wire = await arena.open();
          wire.sendBytes(
            arena.connectBytes({ allow: [`pub:${at}/#`] }, { will: { topic, payload: "canary", retain } }),
          );
          const connack = await wire.next("connack").catch(() => undefined);
          if (connack !== undefined) expect([topic, connack]).not.toMatchObject([topic, { returnCode: 0 }]);
          await wire.closed;
        }
      }
      expect(await heard()).toEqual([]);
      return "refused at CONNECT, none published";
    },
  },
  {
    name: "500 clients with a retained will of 60 KB each that break off",
    async attack(arena) {
      const sub = arena.client();
      const allow = [`pubsub:${arena.at}/#`];
      const payload = Buffer.alloc(60_000, "w");
      let refused = 0;
      const breakOff = async (index: number): Promise<void> => {
        const wire = await arena.open();
        const will = { topic: `${arena.at}/${index}`, payload, retain: true };
        wire.sendBytes(arena.connectBytes({ sub, allow }, { clientId: `${sub}:${index}`, will }));
        const connack = await wire.next("connack").catch(() => undefined);
        if ((connack as { returnCode?: number } | undefined)?.returnCode !== 0) refused++;
        wire.drop();
        await wire.closed;
      };
      for (let i = 0; i < 500; i += 20) await Promise.all(Array.from({ length: 20 }, (_, j) => breakOff(i + j)));
      return `${500 - refused} let in, ${refused} refused`;
    },
  },
  {
    name: "a message on $SYS/x/new/clients that names the innocent, plain, retained, and as $sys",
    async attack(arena) {
      for (const topic of ["$SYS/x/new/clients", "$SYS/x/new/unsubscribes", "$SYS/x/heartbeat", "$sys/x/new/clients"]) {
        for (const retain of [false, true]) {
          const wire = await arena.enter({ allow: ["pubsub:#", "pub:$SYS/#"] });
          expect(await survives(wire, publishFrame(topic, { retain, payload: "acme.bob" }))).toBe(false);
        }
      }
      return "closed";
    },
  },
  {
    name: "subscriptions to $SYS in all its spellings, while clients come and go",
    async attack(arena) {
      const wire = await arena.enter({ allow: ["sub:#", "sub:$SYS/#", "sub:+/#"] });
      const closed = ["$SYS/#", "$SYS/+/new/clients", "$SYS", "$share/g/$SYS/#", "$postern/#", "$postern/+", "$/#"];
      expect(await ask(wire, closed)).toEqual(closed.map(() => 128));
      expect(await wire.subscribe(["+/+/new/clients", "+/+/new/subscribes"], 1)).toEqual([1, 1]);
      const other = await arena.enter({ allow: ["sub:#"] });
      await other.subscribe([`${arena.at}/secret`]);
      await other.leave();
      await wire.settled();
      expect(wire.all("publish")).toEqual([]);
      return "refused, nothing heard";
    },
  },
];

describeAttacks("names and filters", rows);
