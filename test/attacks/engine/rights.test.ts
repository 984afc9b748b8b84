/** Rights that end, change or never were there: tokens, certificates, wills, retained and waiting messages. */
import type { IPublishPacket } from "mqtt-packet";
import { expect } from "vitest";
import { createSigner } from "../../../shared/es256.ts";
import { toBase64url } from "../../../shared/base64url.ts";
import { makePrivateKey } from "../../gate/certificates.ts";
import type { Wire } from "../../gate/wire.ts";
import type { Arena } from "./arena.ts";
import { pingFrame, publishFrame, repeat } from "./frames.ts";
import { describeAttacks, type Row } from "./table.ts";

/** A witness at QoS 1 and a publisher of everything below the row's prefix. */
async function enterPair(arena: Arena) {
  const publisher = await arena.enter({ allow: [`pub:${arena.at}/#`] });
  const witness = await arena.enter({ allow: [`sub:${arena.at}/#`] });
  await witness.subscribe([`${arena.at}/#`], 1);
  /** What has arrived, told by a last message. */
  const heard = async (): Promise<string[]> => {
    await publisher.publish(`${arena.at}/last`, "", { qos: 1 });
    const payloads: string[] = [];
    for (;;) {
      const { topic, payload } = await witness.message();
      if (topic === `${arena.at}/last`) return payloads;
      payloads.push(payload);
    }
  };
  return { publisher, witness, heard };
}

/** Puts another token in place of the present one. */
async function renew(wire: Wire, token: Uint8Array): Promise<void> {
  await wire.publish("authz-info", Buffer.from(token), { qos: 1 });
}

const topicsOf = (wire: Wire): string[] => wire.all("publish").map((packet) => (packet as IPublishPacket).topic);

const rows: Row[] = [
  {
    name: "a token that ends while its client publishes and is published to",
    async attack(arena) {
      const { publisher, heard } = await enterPair(arena);
      const wire = await arena.enter({ allow: [`pubsub:${arena.at}/#`], ttlSeconds: 2 });
      await wire.subscribe([`${arena.at}/to`]);
      let sent = 0;
      const sending = setInterval(() => wire.sendBytes(publishFrame(`${arena.at}/from`, { payload: String(++sent) })), 5);
      await wire.closed;
      clearInterval(sending);
      const before = await heard();
      await publisher.publish(`${arena.at}/to`, "canary", { qos: 1 });
      expect(wire.all("publish")).toEqual([]);
      expect(before.length).toBeGreaterThan(0);
      expect((await heard()).filter((payload) => payload !== "canary")).toEqual([]);
      return "closed; nothing went either way afterwards";
    },
  },
  {
    name: "a token that has ended, on a stored session that messages wait for",
    async attack(arena) {
      const { publisher } = await enterPair(arena);
      const sub = arena.client();
      const allow = [`sub:${arena.at}/#`];
      const first = await arena.enter({ sub, allow, ttlSeconds: 2 }, { clean: false });
      await first.subscribe([`${arena.at}/to`], 1);
      await first.closed;
      await publisher.publish(`${arena.at}/to`, "waits", { qos: 1 });
      const late = await arena.open();
      late.sendBytes(Buffer.concat([arena.connectBytes({ sub, allow, ttlSeconds: -5 }, { clean: false }), pingFrame]));
      expect(await late.next("connack")).not.toMatchObject({ returnCode: 0 });
      await late.closed;
      expect(late.all("publish")).toEqual([]);
      const back = await arena.enter({ sub, allow }, { clean: false });
      expect((await back.message()).payload).toBe("waits");
      return "refused with the old token, delivered with a new one";
    },
  },
  {
    name: "the same ended token in 300 CONNECTs, one after the other and at once",
    async attack(arena) {
      const sub = arena.client();
      const bytes = arena.connectBytes({ sub, allow: ["pubsub:#"], ttlSeconds: -60 });
      const attempt = async (): Promise<number | undefined> => {
        const wire = await arena.open();
        wire.sendBytes(bytes);
        const connack = await wire.next("connack").catch(() => undefined);
        await wire.closed;
        return (connack as { returnCode: number } | undefined)?.returnCode;
      };
      const codes = new Set<number | undefined>();
      for (let i = 0; i < 100; i++) codes.add(await attempt());
      for (const code of await Promise.all(Array.from({ length: 200 }, attempt))) codes.add(code);
      expect(codes.has(0)).toBe(false);
      return `refused with code ${[...codes].join(", ")}`;
    },
  },
  {
    name: "tokens that are signed by nobody, by another, for another, or cut",
    async attack(arena) {
      const sub = arena.client();
      const good = arena.token(sub, { allow: ["pubsub:#"] });
      const forged = arena.token(sub, { allow: ["pubsub:#"], signer: createSigner(arena.grounds.signer.kid, makePrivateKey()) });
      const unknown = arena.token(sub, { allow: ["pubsub:#"], signer: createSigner("elsewhere", makePrivateKey()) });
      const bound = arena.token(sub, { allow: ["pubsub:#"], boundTo: makePrivateKey() });
      const flipped = Buffer.from(good);
      flipped[good.length - 1]! ^= 1;
      const tokens = [forged, unknown, bound, flipped, good.subarray(0, -1), Buffer.concat([good, Buffer.of(0)]), good.subarray(1)];
      for (const [index, token] of tokens.entries()) {
        const wire = await arena.open();
        const { returnCode } = await wire.connect({ clientId: sub, username: "x", password: Buffer.from(toBase64url(token)) });
        expect(returnCode, `token ${index}`).not.toBe(0);
        await wire.closed;
      }
      return `${tokens.length} of ${tokens.length} refused`;
    },
  },
  {
    name: "a renewal within the session, beside one that is not renewed",
    async attack(arena) {
      const device = arena.device();
      const allow = [`pubsub:${arena.at}/#`];
      const wire = await arena.enterDevice(device, { allow, ttlSeconds: 2 });
      await wire.subscribe([`${arena.at}/#`], 1);
      await renew(wire, arena.token(device.id, { allow, boundTo: device.privateKey }));
      const other = await arena.enterDevice(arena.device(), { allow, ttlSeconds: 2 });
      await other.closed;
      await wire.publish(`${arena.at}/x`, "still here", { qos: 1 });
      expect((await wire.message()).payload).toBe("still here");
      return "the renewed one stays, the other is closed";
    },
  },
  {
    name: "renewals with the token of another client, for another key, ended, or none at all",
    async attack(arena) {
      const device = arena.device();
      const other = arena.device();
      const wish = { allow: ["pubsub:#"] };
      const tokens = [
        arena.token(other.id, { ...wish, boundTo: other.privateKey }),
        arena.token(device.id, { ...wish, boundTo: other.privateKey }),
        arena.token(device.id, { ...wish, boundTo: device.privateKey, ttlSeconds: -60 }),
        arena.token(device.id, wish),
        Buffer.from("none"),
        Buffer.alloc(0),
      ];
      const { heard } = await enterPair(arena);
      for (const [index, token] of tokens.entries()) {
        const wire = await arena.enterDevice(device, { allow: [`pub:${arena.at}/own`] });
        const canary = publishFrame(`${arena.at}/canary`, { qos: 1, id: 9, payload: `canary ${index}` });
        wire.sendBytes(Buffer.concat([publishFrame("authz-info", { qos: 1, id: 8, payload: token }), canary, pingFrame]));
        await wire.closed;
        expect(wire.all("puback"), `token ${index}`).toEqual([]);
      }
      expect(await heard()).toEqual([]);
      return "closed, nothing gained";
    },
  },
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
      wire.sendBytes(publishFrame("authz-info", { qos: 1, id: 1, payload: arena.token(sub, { allow: [`sub:${topics[0]}`] }) }));
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
      const filters = [`${arena.at}/secret`, `${arena.at}/+`, `${arena.at}/#`, "#", "+/+/+", `$share/g/${arena.at}/secret`];
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
      const ended = await enter("ended", 2);
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
