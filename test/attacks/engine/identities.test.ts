/** Whose session it is: foreign client ids, takeovers, races, and strangers. */
import type { IPublishPacket } from "mqtt-packet";
import { expect } from "vitest";
import type { Wire } from "../../gate/wire.ts";
import type { Arena } from "./arena.ts";
import { connectFrame, pingFrame, publishFrame, repeat, subscribeFrame } from "./frames.ts";
import { describeAttacks, type Row } from "./table.ts";

/** Whether a client is still served. */
const isServed = (wire: Wire): Promise<boolean> =>
  wire.settled().then(
    () => true,
    () => false,
  );

/** Resolves when so many of these connections are closed. */
async function closedOf(wires: readonly Wire[], count: number): Promise<void> {
  const open = new Set(wires);
  while (open.size > wires.length - count) {
    open.delete(await Promise.race([...open].map((wire) => wire.closed.then(() => wire))));
  }
}

/** CONNECTs under this client id that must be refused: another client's token, an expired one, none, and garbage. */
async function tryAs(arena: Arena, owner: string): Promise<void> {
  const other = arena.client();
  const attempts = [
    { ...arena.bearer(other, { allow: ["pubsub:#"] }) },
    { ...arena.bearer(owner, { allow: ["pubsub:#"], ttlSeconds: -60 }) },
    { username: "x", password: Buffer.alloc(200, "A") },
    { username: "x" },
    {},
  ];
  for (const credential of attempts) {
    for (const clean of [true, false]) {
      const wire = await arena.open();
      wire.sendBytes(Buffer.concat([connectFrame({ clientId: owner, clean, ...credential }), pingFrame]));
      const connack = await wire.next("connack").catch(() => undefined);
      if (connack !== undefined) expect(connack).not.toMatchObject({ returnCode: 0 });
      await wire.closed;
    }
  }
}

const rows: Row[] = [
  {
    name: "CONNECTs under the client id of a client that is connected, by others",
    async attack(arena) {
      const owner = arena.client();
      const wire = await arena.enter({ sub: owner, allow: [`pubsub:${arena.at}`] });
      await wire.subscribe([arena.at], 1);
      await tryAs(arena, owner);
      await wire.publish(arena.at, "mine", { qos: 1 });
      expect((await wire.message()).payload).toBe("mine");
      return "refused; the owner noticed nothing";
    },
  },
  {
    name: "the same while the owner has an exchange of QoS 2 in flight",
    async attack(arena) {
      const owner = arena.client();
      const allow = [`pubsub:${arena.at}`];
      const witness = await arena.enter({ allow });
      await witness.subscribe([arena.at]);
      const first = await arena.enter({ sub: owner, allow }, { clean: false });
      first.sendBytes(publishFrame(arena.at, { qos: 2, id: 7, payload: "once" }));
      await first.next("pubrec");
      await tryAs(arena, owner);
      first.drop();
      await first.closed;
      await tryAs(arena, owner);
      const second = await arena.enter({ sub: owner, allow }, { clean: false });
      second.sendBytes(publishFrame(arena.at, { qos: 2, id: 7, dup: true, payload: "once" }));
      await second.next("pubrec");
      second.send({ cmd: "pubrel", messageId: 7 });
      await second.next("pubcomp");
      await second.publish(arena.at, "last", { qos: 1 });
      expect((await witness.message()).payload).toBe("once");
      expect((await witness.message()).payload).toBe("last");
      return "delivered once";
    },
  },
  {
    name: "the same while the owner is away and messages wait for it",
    async attack(arena) {
      const owner = arena.client();
      const allow = [`pubsub:${arena.at}`];
      const first = await arena.enter({ sub: owner, allow }, { clean: false });
      await first.subscribe([arena.at], 1);
      await first.leave();
      const publisher = await arena.enter({ allow });
      for (let i = 0; i < 10; i++) await publisher.publish(arena.at, String(i), { qos: 1 });
      await tryAs(arena, owner);
      const second = await arena.enter({ sub: owner, allow }, { clean: false });
      for (let i = 0; i < 10; i++) expect((await second.message()).payload).toBe(String(i));
      return "10 of 10 delivered to the owner";
    },
  },
  {
    name: "client ids that begin like one's own",
    async attack(arena) {
      const sub = "acme.m1";
      const foreign = ["acme.m10", "acme.m", "acme.m1.x", "acme", "acme.M1", "acme.m1 ", "acme.m1/", ":acme.m1"];
      for (const clientId of foreign) {
        const wire = await arena.open();
        const { returnCode } = await wire.connect({ clientId, ...arena.bearer(sub, { allow: [] }) });
        expect([clientId, returnCode]).not.toEqual([clientId, 0]);
        await wire.closed;
      }
      return `${foreign.length} refused`;
    },
  },
  {
    name: "tokens for subjects that are no client ids",
    async attack(arena) {
      const subjects = [
        "acme.+",
        "acme.#",
        "acme.a/b",
        "acme.#/x",
        "+",
        "#",
        "acme.m1:x",
        "acme.${client}",
        "acme.nobody",
        "",
      ];
      for (const sub of subjects) {
        const wire = await arena.open();
        wire.sendBytes(arena.connectBytes({ sub, allow: ["pubsub:#"] }));
        const connack = await wire.next("connack").catch(() => undefined);
        if (connack !== undefined) expect([sub, connack]).not.toMatchObject([sub, { returnCode: 0 }]);
        await wire.closed;
      }
      return `${subjects.length} refused`;
    },
  },
  {
    name: "clients whose names would widen the permissions of a role",
    async attack(arena) {
      const names = ["+", "#", "a/b", "a/#", "+/+", "${client}", "a\u0000", "a b", ".", "..", ""];
      for (const name of names) {
        const body = { name, kind: "device", roles: ["sensor"] };
        const status = await arena.ask("POST", "/v1/projects/acme/clients", body);
        expect([name, Math.floor(status / 100)]).toEqual([name, 4]);
      }
      const device = arena.device();
      const wire = await arena.open({ transport: "tls", cert: device.cert, key: device.key });
      expect(await wire.connect({ clientId: device.id })).toMatchObject({ returnCode: 0 });
      const own = `acme/${device.id.slice(5)}`;
      const wider = [`${own}/#`, "acme/+/x", "acme/#", "#", `${own}x/#`, "acme/${name}/#", `${own}/../d1/#`];
      // the last is within its own, where dots mean nothing
      expect(await wire.subscribe(wider)).toEqual([0, 128, 128, 128, 128, 128, 0]);
      return "names refused, the role is not wider than its client";
    },
  },
  {
    name: "four CONNECTs of one client id at once, 25 times",
    async attack(arena) {
      const sub = arena.client();
      const allow = [`pubsub:${arena.at}`];
      let last: Wire | undefined;
      for (let round = 0; round < 25; round++) {
        const wires = await Promise.all(Array.from({ length: 4 }, () => arena.open()));
        for (const wire of wires) wire.sendBytes(arena.connectBytes({ sub, allow }));
        await closedOf(wires, 3);
        const served = await Promise.all(wires.map(isServed));
        expect(served.filter((one) => one)).toHaveLength(1);
        if (last !== undefined) await last.closed;
        last = wires[served.indexOf(true)]!;
      }
      await last!.subscribe([arena.at]);
      await last!.publish(arena.at, "x", { qos: 1 });
      expect((await last!.message()).payload).toBe("x");
      return "one left each time";
    },
  },
  {
    name: "300 takeovers of a session that messages are sent to",
    async attack(arena) {
      const sub = arena.client();
      const allow = [`pubsub:${arena.at}`];
      const first = await arena.enter({ sub, allow }, { clean: false });
      await first.subscribe([arena.at], 1);
      const publisher = await arena.enter({ allow });
      publisher.sendBytes(repeat(300, (i) => publishFrame(arena.at, { qos: 1, id: i + 1, payload: String(i) })));
      const seen = new Set<string>();
      const wires = [first];
      for (let i = 0; i < 300; i++) wires.push(await arena.enter({ sub, allow }, { clean: false }));
      await publisher.publish(arena.at, "last", { qos: 1 });
      const last = wires.at(-1)!;
      while (!seen.has("last")) seen.add((await last.message()).payload);
      for (const wire of wires) {
        for (const packet of wire.all("publish")) seen.add((packet as IPublishPacket).payload.toString());
      }
      expect(seen.size).toBe(301);
      return "none of 300 messages lost";
    },
  },
  {
    name: "strangers over TLS that subscribe, publish and leave wills",
    async attack(arena) {
      const witness = await arena.enter({ allow: ["sub:#"] });
      await witness.subscribe([`${arena.at}/#`]);
      const noToken = publishFrame("authz-info", { payload: "x".repeat(100) });
      for (const bytes of [publishFrame(`${arena.at}/canary`), noToken]) {
        const wire = await arena.open({ transport: "tls" });
        wire.sendBytes(Buffer.concat([connectFrame({ clientId: "acme.alice" }), bytes]));
        await wire.closed;
      }
      const listener = await arena.open({ transport: "tls" });
      listener.sendBytes(
        Buffer.concat([connectFrame({ clientId: "acme.alice", clean: false }), subscribeFrame(["#"])]),
      );
      expect(await listener.next("suback")).toMatchObject({ granted: [128] });
      const mourner = await arena.open({ transport: "tls" });
      mourner.sendBytes(connectFrame({ clientId: "x", will: { topic: `${arena.at}/canary` } }));
      expect(await mourner.next("connack")).not.toMatchObject({ returnCode: 0 });
      const publisher = await arena.enter({ allow: ["pub:#"] });
      await publisher.publish(`${arena.at}/last`, "", { qos: 1 });
      expect((await witness.message()).topic).toBe(`${arena.at}/last`);
      expect(listener.all("publish")).toEqual([]);
      return "nothing sent, nothing heard";
    },
  },
  {
    name: "100 strangers over TLS at once",
    async attack(arena) {
      const codes = await Promise.all(
        Array.from({ length: 100 }, async (_, i) => {
          const wire = await arena.open({ transport: "tls" });
          return (await wire.connect({ clientId: `s${i}` })).returnCode;
        }),
      );
      const admitted = codes.filter((code) => code === 0).length;
      expect(admitted).toBeLessThanOrEqual(20);
      return `${admitted} let in for a moment, ${100 - admitted} refused`;
    },
  },
];

describeAttacks("identities", rows);
