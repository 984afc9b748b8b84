/** What the holder of somebody else's token, or of a token that names somebody else's key, may try. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { randomBytes } from "node:crypto";
import { readPublicKey } from "../../shared/cose-key.ts";
import { AUDIENCE, openFixture, userName } from "../gate/fixture.ts";
import type { Fixture } from "../gate/fixture.ts";
import { isClientIdOf } from "../../shared/names.ts";

let f: Fixture;
beforeAll(async () => {
  f = await openFixture();
});
afterAll(() => f.close());

describe("a token on authz-info that is bound to another client's key", () => {
  it("does not keep that client's certificate out", async () => {
    const victim = f.device();
    const thief = f.device();
    f.trust.learnClient({
      id: victim.id,
      enabled: true,
      grants: [{ audience: AUDIENCE, grants: [{ filter: "x", pub: true, sub: true }] }],
    });
    const stranger = await f.open();
    await stranger.connect({});
    // an issuer that binds to a key on request alone (RFC 9201) may sign this
    const cnf = { kind: "key", key: readPublicKey(victim.privateKey) } as const;
    await stranger.publish("authz-info", Buffer.from(f.cwt(thief.id, { cnf })), { qos: 1 });
    const wire = await f.open(await f.certificate(victim));
    expect((await wire.connect({ clientId: victim.id })).returnCode).toBe(0);
  });
});

describe("a renewal", () => {
  it.each([
    ["of a bearer session by a bound token of the client", { cnf: true, aud: "acme.telemetry" }],
    ["by a token of an api of kind http", { cnf: false, aud: "acme.web" }],
    ["by a bearer token where the api takes none", { cnf: false, aud: "acme.telemetry" }],
  ])("%s ends the session", async (_name, { cnf, aud }) => {
    const device = f.device();
    const wire = await f.open();
    const token = f.jwt(device.id, { aud: "acme.open" });
    expect((await wire.connect({ clientId: device.id, username: "x", password: Buffer.from(token) })).returnCode).toBe(
      0,
    );
    const bound = cnf ? { cnf: { kind: "key", key: readPublicKey(device.privateKey) } as const } : {};
    await wire.publish("authz-info", Buffer.from(f.jwt(device.id, { aud, ...bound })));
    await wire.closed;
  });

  it("by a bearer token does not loosen a session that proved its key", async () => {
    const device = f.device();
    const wire = await f.enter(device);
    await wire.publish("authz-info", Buffer.from(f.jwt(device.id, { aud: "acme.open" })));
    await wire.closed;
    expect(f.lastReason("authz-info")).toBe("token.key-changed");
  });

  it("lets no subscription through that was sent in the same breath and is covered by the old token only", async () => {
    const device = f.device();
    const wire = await f.enter(device, { allow: ["sub:old/#"] });
    const cnf = { kind: "key", key: readPublicKey(device.privateKey) } as const;
    void wire.publish("authz-info", Buffer.from(f.cwt(device.id, { cnf, allow: ["sub:new/#"] })));
    expect(await wire.subscribe(["old/1", "new/1"])).toEqual([128, 0]);
  });
});

describe("the user name", () => {
  it.each([
    [
      "a stolen token and 64 bytes of it as password",
      (token: Uint8Array) => [userName(token), Buffer.from(token).subarray(0, 64)],
    ],
    ["a stolen token and itself as password", (token: Uint8Array) => [userName(token), Buffer.from(token)]],
    [
      "a stolen token and its text as password",
      (token: Uint8Array) => [userName(token), Buffer.from(userName(token).slice(3))],
    ],
    ["a stolen token as password alone", (token: Uint8Array) => ["", Buffer.from(userName(token).slice(3))]],
    ["a stolen token and zeros", (token: Uint8Array) => [userName(token), Buffer.alloc(64)]],
    [
      "a stolen token and its own signature",
      (token: Uint8Array) => [userName(token), Buffer.from(token).subarray(-64)],
    ],
    ["a stolen token and nothing", (token: Uint8Array) => [userName(token), Buffer.alloc(0)]],
  ] as const)("with %s lets nobody in", async (_name, make) => {
    const device = f.device();
    const cnf = { kind: "key", key: readPublicKey(device.privateKey) } as const;
    const [username, password] = make(f.cwt(device.id, { cnf })) as [string, Buffer];
    for (const transport of ["tls", "tcp", "wss"] as const) {
      const wire = await f.open({ transport });
      expect((await wire.connect({ clientId: device.id, username, password })).returnCode).not.toBe(0);
    }
    // nor with a certificate of one's own
    const thief = await f.open(await f.certificate(f.device()));
    expect((await thief.connect({ clientId: device.id, username, password })).returnCode).not.toBe(0);
  });
});

describe("a client id", () => {
  it("belongs to one subject, also where an issuer's subjects hold colons", () => {
    const subjects = ["urn:dev", "urn:dev:1"];
    expect(subjects.filter((subject) => isClientIdOf("urn:dev:1", subject))).toHaveLength(1);
  });

  it.each(["acme.d:", "acme.d:a:b", "acme.d:a/b", "acme.d:\u0000", "acme.d ", "acme.D", "acme.d\u0000", "acme.dd"])(
    "is not taken for the client's own: %j",
    (id) => expect(isClientIdOf(id, "acme.d")).toBe(false),
  );
});

describe("random names", () => {
  it("of an anonymous client are never one that it chose, so that it takes nothing over", async () => {
    const first = await f.open();
    const chosen = `anonymous:${randomBytes(4).toString("hex")}`;
    await first.connect({ clientId: chosen, clean: false });
    const second = await f.open();
    await second.connect({ clientId: chosen, clean: false });
    await first.settled();
    await second.settled();
    expect(f.gate.sessions.by("stranger", "*").map(({ admission }) => admission.clientId)).not.toContain(chosen);
  });
});
