/** What is taken back: the sessions that end, what is told of them, and who is refused from then on. */

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { TakenBack } from "../../broker/gate/taken-back.ts";
import { createSigner } from "../../shared/es256.ts";
import { makePrivateKey } from "./certificates.ts";
import { BEARER_AUDIENCE, nowSeconds, openFixture, userName } from "./fixture.ts";
import type { Fixture } from "./fixture.ts";
import { cnfOf, everything, hashesOf, openHolders, otherHashOf, will } from "./holders.ts";
import type { Holder, Holders, Way } from "./holders.ts";
import type { Wire } from "./wire.ts";

let h: Holders;
let f: Fixture;
beforeAll(async () => {
  h = await openHolders();
  ({ f } = h);
});
afterAll(() => f.close());

describe("a live session", () => {
  const rows: [string, Way, string, "credential" | "client", (holder: Holder) => void][] = [
    ["its token is revoked", "proof", "token.revoked", "credential", (one) => f.trust.revokeTokens(hashesOf(one.cwt))],
    [
      "its token is one of many that are revoked",
      "certificate and token",
      "token.revoked",
      "credential",
      (one) => f.trust.revokeTokens(Buffer.concat([hashesOf(one.cwt), ...manyHashes])),
    ],
    [
      "its token is on a list that replaces another",
      "proof",
      "token.revoked",
      "credential",
      (one) => f.trust.replaceTokens(hashesOf(one.cwt)),
    ],
    [
      "its JWT is revoked as it was given out",
      "bearer",
      "token.revoked",
      "credential",
      (one) => f.trust.revokeTokens(hashesOf(one.jwt)),
    ],
    [
      "its JWT is revoked in the other spelling",
      "bearer",
      "token.revoked",
      "credential",
      (one) => f.trust.revokeTokens(otherHashOf(one.jwt)),
    ],
    [
      "its certificate is revoked",
      "certificate",
      "certificate.revoked",
      "credential",
      (one) => f.trust.revokeCertificates([h.nameOf(one.identity)]),
    ],
    [
      "the certificate beside its token is revoked",
      "certificate and token",
      "certificate.revoked",
      "credential",
      (one) => f.trust.revokeCertificates([h.nameOf(one.identity)]),
    ],
    ["its client is disabled", "certificate", "client.disabled", "client", ({ id }) => h.learn({ id, enabled: false })],
    ["its client is deleted", "proof", "client.unknown", "client", ({ id }) => f.trust.forgetClient(id)],
    [
      "its client was disabled and is enabled again",
      "proof",
      "token.revoked",
      "client",
      ({ id }) => h.learn({ id, tokensAfter: 700 }),
    ],
    [
      "tokens of its client up to one before its own were taken back",
      "proof",
      "client.disabled",
      "client",
      ({ id }) => h.learn({ id, tokensAfter: 699 }),
    ],
    [
      "its client was disabled and is enabled again, and it stands on its certificate",
      "certificate",
      "client.disabled",
      "client",
      ({ id }) => h.learn({ id, tokensAfter: 700 }),
    ],
  ];
  const manyHashes = Array.from({ length: 1000 }, (_, index) => {
    const hash = Buffer.alloc(33, 1);
    hash.writeUInt32BE(index, 1);
    return hash;
  });

  it.each(rows)("ends at once, without its will, when %s", async (_name, way, reason, kind, takeBack) => {
    const holder = await h.hold();
    const wire = await h.connect(way, holder, { will });
    const session = h.sessionOf(holder);
    const events: TakenBack[] = [];
    const stop = f.gate.onTakenBack((event) => events.push(event));
    f.counted.length = 0;

    takeBack(holder);
    // in the same turn: nothing passes, and who keeps things of the client has been told
    expect([session.may("pub", "t"), session.may("sub", "t"), session.mayFireWill()]).toEqual([false, false, false]);
    expect(events).toEqual([
      {
        kind,
        subject: holder.id,
        ...(kind === "credential" && { clientId: holder.id }),
        purges: expect.any(Function) as unknown,
      },
    ]);
    expect(f.counted).toEqual([reason]);
    expect(f.log.findLast((line) => line.msg === "session taken back")).toMatchObject({ clientId: holder.id, reason });
    await wire.closed;
    expect(await h.heard()).toEqual([]);
    stop();
  });

  it("stays when its token was renewed before it is revoked, and loses the will that this had allowed", async () => {
    const holder = await h.hold();
    const wire = await h.connect("proof", holder, { will });
    await wire.publish("authz-info", Buffer.from(f.cwt(holder.id, { cnf: cnfOf(holder.privateKey) })), { qos: 1 });
    f.trust.revokeTokens(hashesOf(holder.cwt));
    await wire.settled();
    const { conn } = h.sessionOf(holder).connection;
    const closed = new Promise<void>((resolve) => conn.once("close", resolve));
    wire.drop();
    await closed;
    expect(await h.heard()).toEqual([]);
    expect(f.lastReason("will")).toBe("token.revoked");
  });

  it("of another client, another token or another certificate stays", async () => {
    const [one, other] = [await h.hold(), await h.hold()];
    const wires = [await h.connect("proof", one), await h.connect("certificate", other)];
    f.trust.revokeTokens(hashesOf(other.cwt, f.cwt(one.id)));
    f.trust.revokeCertificates([h.nameOf(one.identity), `0000000000000000:${other.identity.x509.serialNumber}`]);
    for (const wire of wires) await expect(wire.publish("still/here", "", { qos: 1 })).resolves.toBeUndefined();
  });

  it("ends with the tokens of its project before a time, and only then", async () => {
    const own = await openFixture();
    const devices = [own.device(), own.device(), own.device()] as const;
    const old = await own.enter(devices[0], { iat: nowSeconds() - 100 });
    const fresh = await own.enter(devices[1], { iat: nowSeconds() });
    own.trust.learnClient({ id: devices[2].id, enabled: true, grants: everything });
    const certified = await own.open(await own.certificate(devices[2]));
    await certified.connect({ clientId: devices[2].id });
    own.trust.learnTokensSince("other", nowSeconds());
    await old.settled();
    own.trust.learnTokensSince("acme", nowSeconds() - 50);
    await old.closed;
    expect(own.counted).toEqual(["token.revoked"]);
    await fresh.settled();
    await certified.settled();
    await expect(own.enter(devices[0], { iat: nowSeconds() - 51 })).rejects.toThrow("connack 4: token.revoked");
    await own.close();
  });

  it("ends with the authority of its certificate, which is not remembered either", async () => {
    const own = await openFixture();
    const device = own.device();
    own.trust.learnClient({ id: device.id, enabled: true, grants: everything });
    const identity = await own.certificate(device);
    const other = own.device();
    const [wire, stays] = [await own.open(identity), await own.enter(other)];
    await wire.connect({ clientId: device.id });
    const known = own.trust.deviceAuthorities[0]!;
    // a list that is late ends nobody, and lets nobody in
    own.trust.learnAuthority({ ...known, needsList: true, listEndsAt: nowSeconds() - 1 });
    await wire.settled();
    const late = await own.open(identity);
    expect((await late.connect({ clientId: device.id })).returnCode).toBe(5);
    expect(own.lastReason("connect")).toBe("certificate.list");

    own.trust.forgetAuthority(known.id);
    await wire.closed;
    expect(own.counted).toEqual(["certificate.untrusted"]);
    await stays.settled();
    const again = await own.open(identity);
    expect((await again.connect({ clientId: device.id })).returnCode).toBe(5);
    expect(own.lastReason("connect")).toBe("certificate.untrusted");
    own.trust.learnAuthority(known);
    const back = await own.open(identity);
    expect((await back.connect({ clientId: device.id })).returnCode).toBe(0);
    await own.close();
  });

  it("ends with all the others, in one turn, however many", async () => {
    const signer = createSigner("many", makePrivateKey());
    f.trust.learnKey("many", signer.publicKey);
    const count = 250;
    const wires: Wire[] = [];
    for (let index = 0; index < count; index++) {
      const { id } = f.device();
      const wire = await f.open({ transport: "tcp" });
      const password = Buffer.from(f.jwt(id, { aud: BEARER_AUDIENCE, signer }));
      expect((await wire.connect({ clientId: id, username: "x", password })).returnCode).toBe(0);
      wires.push(wire);
    }
    const sessions = f.gate.sessions.by("kid", "many");
    const told: TakenBack[] = [];
    const stop = f.gate.onTakenBack((event) => told.push(event));
    f.counted.length = 0;
    const mayStill = (): boolean[] => sessions.map((session) => session.may("pub", `t/${session.admission.subject}/x`));
    expect(mayStill()).toEqual(Array(count).fill(true));
    f.trust.forgetKey("many");
    expect(mayStill()).toEqual(Array(count).fill(false));
    expect([told.length, f.counted.length]).toEqual([count, count]);
    // taken back once more while they are being closed, they end once
    f.trust.forgetApi(BEARER_AUDIENCE);
    f.trust.learnApi({ audience: BEARER_AUDIENCE, kind: "mqtt", bearer: true });
    expect(told.length).toBe(count);
    await Promise.all(wires.map((wire) => wire.closed));
    expect(
      f.log.filter((line) => line.reason === "token.key-unknown" && line.msg === "session taken back").length,
    ).toBe(count);
    stop();
  });
});

describe("whoever keeps things of clients", () => {
  it("is told of a client without a session, and only when something was taken back", () => {
    const events: string[] = [];
    const stop = f.gate.onTakenBack(({ kind, subject }) => events.push(`${kind} ${subject}`));
    const { id } = f.device("away");
    h.learn({ id, tokensAfter: 3 });
    h.learn({ id, tokensAfter: 3, grants: [] });
    expect(events).toEqual(["client acme.away"]);
    h.learn({ id, tokensAfter: 3, enabled: false });
    f.trust.forgetClient(id);
    expect(events).toEqual(Array(3).fill("client acme.away"));
    expect(f.gate.isTakenBack(`${id}:x`)).toBe(true);
    f.trust.learnClient({ id, enabled: true, tokensAfter: 9 });
    expect(f.gate.isTakenBack(id)).toBe(false);
    stop();
    f.trust.forgetClient(id);
    expect(events.length).toBe(3);
  });

  it("does not keep the others from hearing, or sessions from ending, when it fails", async () => {
    const holder = await h.hold();
    const wire = await h.connect("proof", holder);
    const events: TakenBack[] = [];
    const stops = [
      f.gate.onTakenBack(() => {
        throw new Error("a full disk");
      }),
      f.gate.onTakenBack((event) => events.push(event)),
    ];
    f.trust.revokeTokens(hashesOf(holder.cwt));
    await wire.closed;
    expect(events.length).toBe(1);
    expect(f.log.findLast((line) => line.level === 50)?.msg).toBe("what was taken back was not cleared away");
    for (const stop of stops) stop();
  });
});

describe("nobody comes in", () => {
  const rows: [string, Way, string, number, (holder: Holder) => void][] = [
    ["with a revoked token", "proof", "token.revoked", 4, (one) => f.trust.revokeTokens(hashesOf(one.cwt))],
    [
      "with a token that is verified, remembered and revoked",
      "certificate and token",
      "token.revoked",
      4,
      (one) => f.trust.revokeTokens(hashesOf(one.cwt)),
    ],
    [
      "with a JWT that was revoked in the other spelling",
      "bearer",
      "token.revoked",
      4,
      (one) => f.trust.revokeTokens(otherHashOf(one.jwt)),
    ],
    [
      "with a token of before its client was disabled",
      "proof",
      "token.revoked",
      4,
      ({ id }) => h.learn({ id, tokensAfter: 700 }),
    ],
    [
      "with a revoked certificate",
      "certificate",
      "certificate.revoked",
      5,
      (one) => f.trust.revokeCertificates([h.nameOf(one.identity)]),
    ],
    [
      "with a good token and a revoked certificate",
      "certificate and token",
      "certificate.revoked",
      5,
      (one) => f.trust.revokeCertificates([h.nameOf(one.identity)]),
    ],
  ];
  it.each(rows)("%s", async (_name, way, reason, code, takeBack) => {
    const holder = await h.hold();
    const first = await h.connect(way, holder);
    await first.leave();
    takeBack(holder);
    await expect(h.connect(way, holder)).rejects.toThrow(`connack ${code}: ${reason}`);
  });

  it("with a JWT as it is, that was revoked as base64url of its text", async () => {
    const holder = await h.hold();
    f.trust.revokeTokens(otherHashOf(holder.jwt));
    for (const [username, password] of [
      ["x", holder.jwt],
      [userName(holder.jwt), Buffer.alloc(0)],
    ] as const) {
      const wire = await f.open(holder.identity);
      await wire.connect({ clientId: holder.id, username, password: Buffer.from(password) });
      expect(f.lastReason("connect")).toBe("token.revoked");
    }
  });

  it.each(["TLSv1.2", "TLSv1.3"] as const)(
    "by resuming %s with a certificate that was revoked since",
    async (maxVersion) => {
      const holder = await h.hold();
      const first = await f.open({ ...holder.identity, maxVersion });
      expect((await first.connect({ clientId: holder.id })).returnCode).toBe(0);
      await first.settled();
      const session = first.ticket;
      await first.leave();
      const second = await f.open({ ...holder.identity, maxVersion, session });
      expect(second.isResumed).toBe(true);
      expect((await second.connect({ clientId: holder.id })).returnCode).toBe(0);
      f.trust.revokeCertificates([h.nameOf(holder.identity)]);
      await second.closed;
      const third = await f.open({ ...holder.identity, maxVersion, session: second.ticket ?? session });
      expect(third.isResumed).toBe(true);
      expect((await third.connect({ clientId: holder.id })).returnCode).toBe(5);
      expect(f.lastReason("connect")).toBe("certificate.revoked");
    },
  );

  it("while too little is heard of what was taken back, strangers neither; who is there stays", async () => {
    let isStale = false;
    const own = await openFixture({}, { isStale: () => isStale });
    const device = own.device();
    const stays = await own.enter(device);
    isStale = true;
    await expect(own.enter(own.device())).rejects.toThrow("connack 5: trust.stale");
    const stranger = await own.open();
    expect((await stranger.connect({})).returnCode).toBe(5);
    expect(own.lastReason("connect")).toBe("trust.stale");
    const renewed = own.cwt(device.id, { cnf: cnfOf(device.privateKey) });
    await stays.publish("authz-info", Buffer.from(renewed), { qos: 1 });
    isStale = false;
    await own.enter(own.device());
    await own.close();
  });
});

describe("authz-info", () => {
  it("drops what was put there and revoked since: the roles of the certificate are what is left", async () => {
    const holder = await h.hold();
    const stranger = await f.open();
    await stranger.connect({});
    const narrow = f.cwt(holder.id, { cnf: cnfOf(holder.privateKey), allow: ["pub:narrow"] });
    await stranger.publish("authz-info", Buffer.from(narrow), { qos: 1 });
    const first = await h.connect("certificate", holder);
    expect(h.sessionOf(holder).rights.kind).toBe("token");
    f.trust.revokeTokens(hashesOf(narrow));
    await first.closed;
    const second = await h.connect("certificate", holder);
    expect(h.sessionOf(holder).rights.kind).toBe("roles");
    await second.leave();
    // off the list again, it is not found either
    f.trust.releaseTokens(hashesOf(narrow));
    await h.connect("certificate", holder);
    expect(h.sessionOf(holder).rights.kind).toBe("roles");
  });

  it("of an embedded gate's kind, without roles, leaves a certificate with nothing", async () => {
    const holder = await h.hold();
    f.trust.learnClient({ id: holder.id, enabled: true });
    const stranger = await f.open();
    await stranger.connect({});
    await stranger.publish("authz-info", Buffer.from(holder.cwt), { qos: 1 });
    f.trust.revokeTokens(hashesOf(holder.cwt));
    await expect(h.connect("certificate", holder)).rejects.toThrow("client.grants");
  });

  const puts: [string, string, (holder: Holder) => Promise<Wire>][] = [
    ["an anonymous client", "token.revoked", async () => f.open().then(async (wire) => (await wire.connect({}), wire))],
    ["a session that it would renew", "token.revoked", (holder) => f.enter(holder, { allow: ["pub:t"] })],
  ];
  it.each(puts)("does not take a revoked token from %s", async (_name, reason, open) => {
    const holder = await h.hold();
    const wire = await open(holder);
    f.trust.revokeTokens(hashesOf(holder.cwt));
    wire.send({
      cmd: "publish",
      topic: "authz-info",
      payload: Buffer.from(holder.cwt),
      qos: 1,
      messageId: 1,
      retain: false,
      dup: false,
    });
    await wire.closed;
    expect([wire.all("puback"), f.lastReason("authz-info")]).toEqual([[], reason]);
  });
});
