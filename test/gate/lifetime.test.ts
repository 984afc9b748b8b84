/** The life of a session: authz-info, renewal, news, expiry, and what trust takes back. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { KeyObject } from "node:crypto";
import { jwkThumbprint, readPublicKey } from "../../shared/cose-key.ts";
import { createSigner } from "../../shared/es256.ts";
import { undisturbed, watchStalls } from "../undisturbed.ts";
import { makePrivateKey } from "./certificates.ts";
import { AUDIENCE, BEARER_AUDIENCE, KID, nowSeconds, openFixture, userName } from "./fixture.ts";
import type { Fixture, TokenWish } from "./fixture.ts";
import type { Wire } from "./wire.ts";

let f: Fixture;
let witness: Wire;
beforeAll(async () => {
  f = await openFixture();
  witness = await f.enter(f.device(), { allow: ["pubsub:#"] });
});
afterAll(() => f.close());

const cnfOf = (privateKey: KeyObject) => ({ kind: "key", key: readPublicKey(privateKey) }) as const;
const dpopOf = (privateKey: KeyObject) =>
  ({ kind: "thumbprint", jkt: jwkThumbprint(readPublicKey(privateKey)) }) as const;
const NEWS = "$postern/session";

async function news(wire: Wire): Promise<Record<string, unknown>> {
  const message = await wire.message();
  expect(message.topic).toBe(NEWS);
  return JSON.parse(message.payload) as Record<string, unknown>;
}

/** Publishes a token for the device on its own session. */
async function renew(wire: Wire, device: { id: string; privateKey: KeyObject }, wish: TokenWish = {}): Promise<void> {
  const token = f.cwt(device.id, { cnf: cnfOf(device.privateKey), ...wish });
  await wire.publish("authz-info", Buffer.from(token), { qos: 1 });
}

describe("an anonymous client", () => {
  it.each(["tls", "wss"] as const)(
    "puts a token over %s, and the device connects with its certificate",
    async (transport) => {
      const device = f.device();
      const stranger = await f.open({ transport });
      expect((await stranger.connect({})).returnCode).toBe(0);
      const token = f.cwt(device.id, { cnf: cnfOf(device.privateKey), allow: ["pub:from/token"] });
      await stranger.publish("authz-info", Buffer.from(token), { qos: 1 });
      await stranger.leave();

      const wire = await f.open({ ...(await f.certificate(device)), transport });
      expect((await wire.connect({ clientId: device.id })).returnCode).toBe(0);
      await wire.publish("from/token", "", { qos: 1 });
    },
  );

  it("may do nothing else", async () => {
    const stranger = await f.open();
    await stranger.connect({ clientId: "acme.x", clean: false });
    expect(await stranger.subscribe(["#", "authz-info"])).toEqual([128, 128]);
    expect(await stranger.subscribe(["a"], 1)).toEqual([128]);
    await stranger.publish("a");
    await stranger.closed;
    expect(f.lastReason("publish")).toBe("publish.topic");
  });

  it.each([
    ["garbage", () => Buffer.from([1, 2, 3]), "token.malformed"],
    ["a token that is too large", () => Buffer.alloc(20_000, 0xd8), "token.too-large"],
    ["an expired token", () => f.cwt("acme.x", { cnf: cnfOf(makePrivateKey()), ttl: -1 }), "token.expired"],
    ["an unbound token", () => f.cwt("acme.x", { aud: BEARER_AUDIENCE }), "token.unbound"],
    ["a token bound by DPoP", () => f.jwt(f.device().id, { cnf: dpopOf(makePrivateKey()) }), "proof.key"],
    ["a token of nobody", () => f.cwt("acme.nobody", { cnf: cnfOf(makePrivateKey()) }), "client.unknown"],
  ])("is cut off for %s", async (_name, token, reason) => {
    const stranger = await f.open();
    await stranger.connect({});
    stranger.send({
      cmd: "publish",
      topic: "authz-info",
      payload: Buffer.from(token()),
      qos: 1,
      messageId: 1,
      retain: false,
      dup: false,
    });
    await stranger.closed;
    expect(stranger.all("puback")).toEqual([]);
    expect(f.lastReason("authz-info")).toBe(reason);
  });

  it("cannot put an older token back", async () => {
    const device = f.device();
    const put = async (wish: TokenWish): Promise<void> => {
      const stranger = await f.open();
      await stranger.connect({});
      await renew(stranger, device, wish);
      await stranger.leave();
    };
    await put({ allow: ["pub:new"] });
    await put({ allow: ["pub:old"], iat: nowSeconds() - 60 });
    const wire = await f.open(await f.certificate(device));
    await wire.connect({ clientId: device.id });
    await expect(wire.publish("new", "", { qos: 1 })).resolves.toBeUndefined();
  });

  it("is one of few, in number, in time and in tokens", async () => {
    const small = await openFixture({
      strangers: 3,
      strangersPerAddress: 2,
      strangerSeconds: 3,
      strangerTokensPerMinute: 1,
    });
    const [first, second, third] = [await small.open(), await small.open(), await small.open()];
    expect((await first.connect({})).returnCode).toBe(0);
    expect((await second.connect({})).returnCode).toBe(0);
    expect((await third.connect({})).returnCode).toBe(5);
    expect(small.lastReason("connect")).toBe("limit.reached");
    const device = small.device();
    const token = Buffer.from(small.cwt(device.id, { cnf: cnfOf(device.privateKey) }));
    await first.publish("authz-info", token, { qos: 1 });
    await second.publish("authz-info", token);
    await second.closed;
    expect(small.lastReason("authz-info")).toBe("rate.limited");
    await first.closed;
    const fourth = await small.open();
    expect((await fourth.connect({})).returnCode).toBe(0);
    await small.close();
  });
});

describe("renewal", () => {
  it("replaces the grants, moves the expiry, keeps the session and says so", async () => {
    const device = f.device();
    const wire = await f.enter(device, { allow: ["pub:old", "sub:old/#", "sub:both/#"], ttl: 300 });
    expect(await wire.subscribe([NEWS, "old/#", "both/#"], 1)).toEqual([1, 1, 1]);
    const exp = nowSeconds() + 500;
    await renew(wire, device, { allow: ["pub:new", "sub:both/#", "sub:new/#"], exp });
    expect(await news(wire)).toEqual({ event: "renewed", exp });
    expect(f.gate.sessions.by("client", device.id)[0]!.rights.expiresAt).toBe(exp);
    await wire.publish("new", "", { qos: 1 });
    await witness.publish("old/1", "", { qos: 1 });
    await witness.publish("both/1", "", { qos: 1 });
    expect((await wire.message()).topic).toBe("both/1");
    expect(await wire.subscribe(["new/#", "old/#"])).toEqual([0, 128]);
    await wire.publish("old");
    await wire.closed;
    expect(f.lastReason("publish")).toBe("publish.topic");
  });

  it("counts for what follows in the same breath", async () => {
    const device = f.device();
    const wire = await f.enter(device, { allow: [] });
    void renew(wire, device, { allow: ["pub:now"] });
    await expect(wire.publish("now", "", { qos: 1 })).resolves.toBeUndefined();
  });

  it("takes stored subscriptions away with the live ones", async () => {
    const device = f.device();
    const wire = await f.enter(device, { allow: ["sub:gone/#"] }, { clean: false });
    await wire.subscribe(["gone/#"], 1);
    await renew(wire, device, { allow: [] });
    await wire.leave();
    await witness.publish("gone/1", "", { qos: 1 });
    const again = await f.enter(device, { allow: ["sub:gone/#", "sub:after"] }, { clean: false });
    await witness.publish("gone/2", "", { qos: 1 });
    await again.subscribe(["after"], 1);
    await witness.publish("after", "", { qos: 1 });
    expect((await again.message()).topic).toBe("after");
  });

  it("of a bearer session takes another bearer token of the same client", async () => {
    const { id } = f.device();
    const wire = await f.open();
    const token = (allow: string[]) => Buffer.from(f.jwt(id, { aud: BEARER_AUDIENCE, allow }));
    await wire.connect({ clientId: id, username: "x", password: token([]) });
    await wire.publish("authz-info", token(["pub:renewed"]), { qos: 1 });
    await expect(wire.publish("renewed", "", { qos: 1 })).resolves.toBeUndefined();
  });

  it("gives a session of roles the token's rights", async () => {
    const device = f.device();
    const grants = [{ audience: AUDIENCE, grants: [{ filter: "by/#", pub: true, sub: false }] }];
    f.trust.learnClient({ id: device.id, enabled: true, grants });
    const wire = await f.open(await f.certificate(device));
    await wire.connect({ clientId: device.id });
    await wire.publish("by/roles", "", { qos: 1 });
    await renew(wire, device, { allow: ["pub:by/token"] });
    await expect(wire.publish("by/token", "", { qos: 1 })).resolves.toBeUndefined();
    await wire.publish("by/roles");
    await wire.closed;
    expect(f.lastReason("publish")).toBe("publish.topic");
  });

  const refusals: [string, string, (device: { id: string; privateKey: KeyObject }) => Uint8Array | string][] = [
    ["of another client", "token.subject", ({ privateKey }) => f.cwt(f.device().id, { cnf: cnfOf(privateKey) })],
    ["with another key", "token.key-changed", ({ id }) => f.cwt(id, { cnf: cnfOf(makePrivateKey()) })],
    ["bound by DPoP", "token.key-changed", ({ id, privateKey }) => f.jwt(id, { cnf: dpopOf(privateKey) })],
    ["without a key", "token.unbound", ({ id }) => f.cwt(id)],
    ["without a key where that would do", "token.key-changed", ({ id }) => f.cwt(id, { aud: BEARER_AUDIENCE })],
    ["that has expired", "token.expired", ({ id, privateKey }) => f.cwt(id, { cnf: cnfOf(privateKey), ttl: -5 })],
    [
      "for another audience",
      "token.audience",
      ({ id, privateKey }) => f.cwt(id, { cnf: cnfOf(privateKey), aud: "a.b" }),
    ],
    [
      "by another issuer",
      "token.signature",
      ({ id, privateKey }) => f.jwt(id, { cnf: cnfOf(privateKey), signer: createSigner(KID, makePrivateKey()) }),
    ],
  ];
  it.each(refusals)(
    "with a token %s is refused, told, not acknowledged, and ends the session",
    async (_name, reason, token) => {
      const device = f.device();
      const will = { topic: `t/${device.id}/will`, payload: Buffer.from("w"), qos: 1 as const, retain: false };
      const wire = await f.enter(device, {}, { will });
      await witness.subscribe([will.topic]);
      await wire.subscribe([NEWS]);
      wire.send({
        cmd: "publish",
        topic: "authz-info",
        payload: Buffer.from(token(device)),
        qos: 1,
        messageId: 3,
        retain: false,
        dup: false,
      });
      const told = await news(wire);
      await wire.closed;
      const line = f.log.findLast((entry) => entry.at === "authz-info");
      expect(line?.reason).toBe(reason);
      expect(told).toEqual({ event: "refused", says: expect.any(String) as string, id: line?.id });
      expect(wire.all("puback")).toEqual([]);
      expect((await witness.message()).topic).toBe(will.topic);
    },
  );
});

describe("news", () => {
  it("of a refused publish comes before the connection ends, with the id of the log line", async () => {
    const wire = await f.enter(f.device(), { allow: ["pub:mine"] });
    await wire.subscribe([NEWS]);
    wire.send({ cmd: "publish", topic: "others", payload: "", qos: 1, messageId: 4, retain: false, dup: false });
    wire.send({ cmd: "publish", topic: "mine", payload: "", qos: 1, messageId: 5, retain: false, dup: false });
    const told = await news(wire);
    await wire.closed;
    const line = f.log.findLast((entry) => entry.reason === "publish.topic");
    expect(told).toEqual({ event: "refused", says: "not authorized", id: line?.id });
    expect(wire.all("puback")).toEqual([]);
  });

  it("of a refused filter leaves the connection alone", async () => {
    const wire = await f.enter(f.device(), { allow: ["sub:mine"] });
    await wire.subscribe([NEWS]);
    expect(await wire.subscribe(["others", "mine"])).toEqual([128, 0]);
    const line = f.log.findLast((entry) => entry.reason === "subscribe.filter");
    expect(await news(wire)).toEqual({ event: "refused", says: "not authorized", id: line?.id });
  });

  it("of the end comes before it, to its own client alone, and nobody can forge it", async () => {
    const device = f.device();
    const other = await f.enter(f.device());
    await other.subscribe([NEWS]);
    await undisturbed(1000, async () => {
      const exp = nowSeconds() + 6;
      const wire = await f.enter(device, { exp });
      expect(await wire.subscribe([NEWS])).toEqual([0]);
      expect(await news(wire)).toEqual({ event: "expiring", exp });
      expect(Date.now()).toBeLessThan(exp * 1000);
      await wire.closed;
    });
    await other.settled();
    expect(other.all("publish")).toEqual([]);
  });

  it("does not make the broker drop routed messages as duplicates", async () => {
    const device = f.device();
    const wire = await f.enter(device, { allow: ["sub:flow/#"] });
    await wire.subscribe([NEWS, "flow/#"]);
    for (let i = 0; i < 20; i++) {
      void witness.publish(`flow/${i}`);
      if (i % 5 === 0) await renew(wire, device, { allow: ["sub:flow/#"] });
    }
    const topics: string[] = [];
    while (topics.length < 20) {
      const { topic } = await wire.message();
      if (topic !== NEWS) topics.push(topic);
    }
    expect(topics).toEqual(Array.from({ length: 20 }, (_, i) => `flow/${i}`));
  });
});

describe("expiry", () => {
  it("ends an idle session and a busy one within a second, and their wills are published", async () => {
    const exp = nowSeconds() + 4;
    const devices = [f.device(), f.device()];
    await witness.subscribe(["t/+/will"]);
    const wires = await Promise.all(
      devices.map((device) => {
        const will = { topic: `t/${device.id}/will`, payload: Buffer.from("w"), qos: 0 as const, retain: false };
        return f.enter(device, { exp, allow: ["pubsub:t/#"] }, { will });
      }),
    );
    const [idle, busy] = wires as [Wire, Wire];
    await idle.subscribe(["t/ping"]);
    const stalls = watchStalls();
    const ends = wires.map((wire) => wire.closed.then(() => Date.now() / 1000));
    let published = 0;
    while (!busy.isClosed) {
      busy.send({ cmd: "publish", topic: "t/ping", payload: String(++published), qos: 0, retain: false, dup: false });
      await new Promise(setImmediate);
    }
    for (const end of await Promise.all(ends)) {
      expect(end).toBeGreaterThanOrEqual(exp);
      expect(end).toBeLessThan(exp + 1 + stalls.longestMs() / 1000);
    }
    stalls.close();
    const wills = [(await witness.message()).topic, (await witness.message()).topic];
    expect(wills.sort()).toEqual(devices.map(({ id }) => `t/${id}/will`).sort());
    expect(f.log.filter((line) => line.reason === "session.expired").length).toBeGreaterThanOrEqual(2);
  });

  it("of a session with a certificate is that of the certificate where it ends first", async () => {
    const device = f.device();
    const notAfter = new Date((nowSeconds() + 4) * 1000);
    const { cert, key } = await f.authority.device(device.id, { privateKey: device.privateKey, notAfter });
    const wire = await f.open({ cert, key });
    await wire.connect({ clientId: device.id });
    const stalls = watchStalls();
    await wire.closed;
    expect(Date.now()).toBeLessThan(notAfter.getTime() + 1000 + stalls.longestMs());
    stalls.close();
  });
});

describe("trust", () => {
  const will = { topic: "taken/back", payload: Buffer.from("w"), qos: 0 as const, retain: false };
  const changes: [string, string, (device: { id: string }) => void][] = [
    ["a client is disabled", "client.disabled", ({ id }) => f.trust.learnClient({ id, enabled: false, grants: [] })],
    ["a client is deleted", "client.unknown", ({ id }) => f.trust.forgetClient(id)],
    ["an api is deleted", "token.audience", () => f.trust.forgetApi("acme.doomed")],
    ["a signing key is taken back", "token.key-unknown", () => f.trust.forgetKey("kx")],
  ];
  it.each(changes)("ends the session at once and without its will when %s", async (_name, reason, change) => {
    const device = f.device();
    const signer = createSigner("kx", makePrivateKey());
    f.trust.learnKey("kx", signer.publicKey);
    f.trust.learnApi({ audience: "acme.doomed", kind: "mqtt", bearer: false });
    const wire = await f.enter(device, { aud: "acme.doomed", signer, allow: ["pub:#"] }, { will });
    await witness.subscribe(["taken/#"]);
    const stalls = watchStalls();
    const before = Date.now();
    change(device);
    await wire.closed;
    expect(Date.now() - before).toBeLessThan(1000 + stalls.longestMs());
    stalls.close();
    expect(f.log.findLast((line) => line.msg === "session taken back")?.reason).toBe(reason);
    await witness.publish("taken/end");
    expect((await witness.message()).topic).toBe("taken/end");

    const again = await f.open();
    const username = userName(f.cwt(device.id, { aud: "acme.doomed", signer, cnf: cnfOf(device.privateKey) }));
    const connack = await again.connect({ clientId: device.id, username, password: again.prove(device.privateKey) });
    expect([f.lastReason("connect"), connack.returnCode]).toEqual([reason, 4]);
  });

  it("does not remember a token longer than its key", async () => {
    const device = f.device();
    const signer = createSigner("ky", makePrivateKey());
    f.trust.learnKey("ky", signer.publicKey);
    const username = userName(f.cwt(device.id, { signer, cnf: cnfOf(device.privateKey) }));
    const first = await f.open();
    await first.connect({ clientId: device.id, username, password: first.prove(device.privateKey) });
    f.trust.learnKey("ky", createSigner("ky", makePrivateKey()).publicKey);
    const second = await f.open();
    await second.connect({ clientId: device.id, username, password: second.prove(device.privateKey) });
    expect(f.lastReason("connect")).toBe("cose.signature");
  });

  it("gives sessions of roles their new rights, and takes subscriptions that these do not cover", async () => {
    const device = f.device();
    const tell = (...filters: string[]): void =>
      f.trust.learnClient({
        id: device.id,
        enabled: true,
        grants: [{ audience: AUDIENCE, grants: filters.map((filter) => ({ filter, pub: true, sub: true })) }],
      });
    tell("r/1/#", "r/2/#");
    const wire = await f.open(await f.certificate(device));
    await wire.connect({ clientId: device.id });
    await wire.subscribe(["r/1/#", "r/2/#"], 1);
    tell("r/2/#", "r/3/#");
    for (const topic of ["r/1/a", "r/2/a"]) await witness.publish(topic, "", { qos: 1 });
    expect((await wire.message()).topic).toBe("r/2/a");
    expect(await wire.subscribe(["r/1/#", "r/3/#"])).toEqual([128, 0]);
    await wire.publish("r/3/a", "", { qos: 1 });
    await wire.publish("r/1/a");
    await wire.closed;
  });
});
