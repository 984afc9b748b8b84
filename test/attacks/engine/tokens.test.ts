/** Tokens that end, are renewed, or should never have been let in. */
import { expect } from "vitest";
import { toBase64url } from "../../../shared/base64url.ts";
import { createSigner } from "../../../shared/es256.ts";
import { makePrivateKey } from "../../gate/certificates.ts";
import type { Wire } from "../../gate/wire.ts";
import { pingFrame, publishFrame } from "./frames.ts";
import { describeAttacks, type Row } from "./table.ts";
import { enterPair } from "./witness.ts";

/** Puts another token in place of the present one. */
async function renew(wire: Wire, token: Uint8Array): Promise<void> {
  await wire.publish("authz-info", Buffer.from(token), { qos: 1 });
}

const rows: Row[] = [
  {
    name: "a token that ends while its client publishes and is published to",
    async attack(arena) {
      const { publisher, heard } = await enterPair(arena);
      const wire = await arena.enter({ allow: [`pubsub:${arena.at}/#`], ttlSeconds: 4 });
      await wire.subscribe([`${arena.at}/to`]);
      let sent = 0;
      const sending = setInterval(
        () => wire.sendBytes(publishFrame(`${arena.at}/from`, { payload: String(++sent) })),
        5,
      );
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
      const first = await arena.enter({ sub, allow, ttlSeconds: 4 }, { clean: false });
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
      const forged = arena.token(sub, {
        allow: ["pubsub:#"],
        signer: createSigner(arena.grounds.signer.kid, makePrivateKey()),
      });
      const unknown = arena.token(sub, { allow: ["pubsub:#"], signer: createSigner("elsewhere", makePrivateKey()) });
      const bound = arena.token(sub, { allow: ["pubsub:#"], boundTo: makePrivateKey() });
      const flipped = Buffer.from(good);
      flipped[good.length - 1]! ^= 1;
      const tokens = [
        forged,
        unknown,
        bound,
        flipped,
        good.subarray(0, -1),
        Buffer.concat([good, Buffer.of(0)]),
        good.subarray(1),
      ];
      for (const [index, token] of tokens.entries()) {
        const wire = await arena.open();
        const { returnCode } = await wire.connect({
          clientId: sub,
          username: "x",
          password: Buffer.from(toBase64url(token)),
        });
        expect(returnCode, `token ${index}`).not.toBe(0);
        await wire.closed;
      }
      return `${tokens.length} of ${tokens.length} refused`;
    },
  },
  {
    name: "a renewal within the session, beside one that is not renewed",
    async attack(arena) {
      const [device, neighbour] = [arena.device(), arena.device()];
      const allow = [`pubsub:${topicOf(device)}/#`];
      const wire = await arena.enterDevice(device, { allow, ttlSeconds: 4 });
      await wire.subscribe([`${topicOf(device)}/#`], 1);
      await renew(wire, arena.token(device.id, { allow, boundTo: device.privateKey }));
      const other = await arena.enterDevice(neighbour, { allow: [`sub:${topicOf(neighbour)}/#`], ttlSeconds: 4 });
      await other.closed;
      await wire.publish(`${topicOf(device)}/x`, "still here", { qos: 1 });
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
        const wire = await arena.enterDevice(device, { allow: [`pub:${topicOf(device)}/own`] });
        const canary = publishFrame(`${arena.at}/canary`, { qos: 1, id: 9, payload: `canary ${index}` });
        wire.sendBytes(
          Buffer.concat([publishFrame("authz-info", { qos: 1, id: 8, payload: token }), canary, pingFrame]),
        );
        await wire.closed;
        expect(wire.all("puback"), `token ${index}`).toEqual([]);
      }
      expect(await heard()).toEqual([]);
      return "closed, nothing gained";
    },
  },
];

/** Where its role lets a device publish. */
function topicOf({ id }: { readonly id: string }): string {
  return id.replace(".", "/");
}

describeAttacks("tokens", rows);
