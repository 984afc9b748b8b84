import { createHash, generateKeyPairSync, type JsonWebKey } from "node:crypto";
import { describe, expect, it } from "vitest";
import { toJwk, type PublicJwk } from "../../shared/cose-key.ts";
import type { Reason } from "../../shared/refusal.ts";
import { listAudit } from "../../broker/registry/audit.ts";
import { recordCertificate, revokeCertificate } from "../../broker/registry/certificates.ts";
import { createClient, deleteClient } from "../../broker/registry/clients.ts";
import { setOwnAuthority } from "../../broker/registry/device-authorities.ts";
import { listKeys, liveKeys, MAX_KEYS, replaceKeys } from "../../broker/registry/public-keys.ts";
import { listSecrets, type SecretOwner } from "../../broker/registry/secrets.ts";
import { makeAuthority } from "../gate/certificates.ts";
import { newKey, NOW, openFarm, refusal, type Fixture } from "./fixture.ts";

const job: SecretOwner = { project: "farm", client: "job" };
const telemetry: SecretOwner = { project: "farm", api: "telemetry" };

function makeJwk(changed: object = {}): PublicJwk {
  return { ...toJwk(newKey()), ...changed };
}

function openJob(): Fixture {
  const fixture = openFarm();
  createClient(fixture.r, { project: "farm", name: "job", kind: "service" });
  return fixture;
}

describe("public keys", () => {
  it("are kept with their names, in their order, for clients and for apis", () => {
    const { r } = openJob();
    for (const owner of [job, telemetry]) {
      const [a, b] = [makeJwk({ kid: "2026", use: "sig", alg: "ES256", key_ops: ["verify"] }), makeJwk()];
      const kept = replaceKeys(r, owner, [a, b], "developer:dev_1");
      expect(kept.map(({ key, kid, createdAt }) => [toJwk(key).x, kid, createdAt])).toEqual([
        [a.x, "2026", NOW],
        [b.x, null, NOW],
      ]);
      expect(listKeys(r, owner).map(({ kid }) => kid)).toEqual(["2026", null]);
      expect(liveKeys(r, owner).map(({ key }) => key.thumbprint)).toEqual(kept.map(({ key }) => key.thumbprint));
      const subject = owner === job ? "farm.job" : "farm/telemetry";
      expect(listAudit(r, { project: "farm", limit: 1 })[0]).toMatchObject({
        event: "keys.replaced",
        actor: "developer:dev_1",
        subject,
        facts: { keys: kept.map(({ key }) => key.thumbprint) },
      });
    }
  });

  it("are replaced as one set; one that stays keeps its time, and none may be left", () => {
    const { r, clock } = openJob();
    const [a, b, c] = [makeJwk(), makeJwk(), makeJwk()];
    replaceKeys(r, job, [a, b]);
    expect(liveKeys(r, job)).toHaveLength(2);
    clock.now = NOW + 9;
    const kept = replaceKeys(r, job, [c, b]);
    expect(kept.map(({ key, createdAt }) => [toJwk(key).x, createdAt])).toEqual([
      [c.x, NOW + 9],
      [b.x, NOW],
    ]);
    expect(liveKeys(r, job)).toHaveLength(2);
    expect(replaceKeys(r, job, [])).toEqual([]);
    expect(liveKeys(r, job)).toEqual([]);
  });

  it("stand in place of a secret where a client is made with them", () => {
    const { r } = openFarm();
    const keys = [makeJwk({ kid: "a" })];
    expect(createClient(r, { project: "farm", name: "job", kind: "service", keys }).secret).toBeUndefined();
    expect([listSecrets(r, job), liveKeys(r, job).map(({ kid }) => kid)]).toEqual([[], ["a"]]);
    expect(
      createClient(r, { project: "farm", name: "pi-9", kind: "device", keys: [makeJwk()] }).secret,
    ).toBeUndefined();
  });

  it("that are wrong make no client", () => {
    const { r } = openFarm();
    const bad = { project: "farm", name: "job", kind: "service", keys: [{ kty: "RSA" }] } as const;
    expect(() => createClient(r, bad)).toThrow(refusal("key.type", "keys.0"));
    expect(createClient(r, { ...bad, keys: [] }).secret).toMatch(/./);
  });

  it("go with their client", () => {
    const { r } = openJob();
    replaceKeys(r, job, [makeJwk()]);
    replaceKeys(r, telemetry, [makeJwk()]);
    deleteClient(r, "farm.job");
    expect([listKeys(r, job), liveKeys(r, job)]).toEqual([[], []]);
    expect(listKeys(r, telemetry)).toHaveLength(1);
  });

  it("may be those of somebody else as well", () => {
    const { r } = openJob();
    const jwk = makeJwk();
    replaceKeys(r, job, [jwk]);
    expect(replaceKeys(r, telemetry, [jwk])).toHaveLength(1);
  });

  it("are good no more, and not taken again, when a certificate for them was revoked", async () => {
    const { r } = openJob();
    const authority = await makeAuthority();
    setOwnAuthority(r, authority.x509);
    createClient(r, { project: "farm", name: "pi-1", kind: "device" });
    const key = newKey();
    replaceKeys(r, job, [toJwk(key), makeJwk()]);
    const dates = { notBefore: NOW, notAfter: NOW + 100, der: new Uint8Array([1]) };
    recordCertificate(r, { serial: "01", clientId: "farm.pi-1", key, ...dates });
    expect(liveKeys(r, job)).toHaveLength(2);
    r.change(() => revokeCertificate(r, "01"));
    expect(liveKeys(r, job)).toHaveLength(1);
    expect(() => replaceKeys(r, job, [makeJwk(), toJwk(key)])).toThrow(refusal("certificate.revoked", "keys.1"));
    expect(listKeys(r, job)).toHaveLength(2);
  });
});

describe("a key is refused", () => {
  const pair = (curve: string): JsonWebKey =>
    generateKeyPairSync("ec", { namedCurve: curve }).publicKey.export({ format: "jwk" });
  const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 }).publicKey.export({ format: "jwk" });
  const okp = generateKeyPairSync("ed25519").publicKey.export({ format: "jwk" });
  const whole = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ format: "jwk" });
  const zero = Buffer.alloc(32).toString("base64url");
  const one = createHash("sha256").update("x").digest("base64url");

  it.each<[string, unknown, Reason]>([
    ["null", null, "key.malformed"],
    ["a text", "key", "key.malformed"],
    ["a list", [], "key.type"],
    ["an empty object", {}, "key.type"],
    ["RSA", rsa, "key.type"],
    ["Ed25519", okp, "key.type"],
    ["a shared secret", { kty: "oct", k: one }, "key.type"],
    ["P-384", pair("P-384"), "key.curve"],
    ["secp256k1", pair("secp256k1"), "key.curve"],
    ["a private key", whole, "key.private"],
    ["a private key of another spelling", makeJwk({ d: "" }), "key.private"],
    ["for another algorithm", makeJwk({ alg: "HS256" }), "key.algorithm"],
    ["for no algorithm", makeJwk({ alg: "none" }), "key.algorithm"],
    ["for encryption", makeJwk({ use: "enc" }), "key.algorithm"],
    ["for signing alone", makeJwk({ key_ops: ["sign"] }), "key.algorithm"],
    ["with a text for its operations", makeJwk({ key_ops: "verify" }), "key.algorithm"],
    ["without y", { ...makeJwk(), y: undefined }, "key.malformed"],
    ["with a number for x", makeJwk({ x: 1 }), "key.malformed"],
    ["with a short x", makeJwk({ x: "AA" }), "key.malformed"],
    ["with a padded x", makeJwk({ x: `${one}=` }), "base64url.malformed"],
    ["not on the curve", makeJwk({ x: one, y: one }), "key.point"],
    ["of the point zero", makeJwk({ x: zero, y: zero }), "key.point"],
    ["with a number for its name", makeJwk({ kid: 1 }), "registry.invalid"],
    ["with an empty name", makeJwk({ kid: "" }), "registry.invalid"],
    ["with a long name", makeJwk({ kid: "k".repeat(256) }), "registry.invalid"],
    ["with a control character in its name", makeJwk({ kid: "a\nb" }), "registry.invalid"],
  ])("%s", (_, jwk, reason) => {
    const { r } = openJob();
    const kept = replaceKeys(r, job, [makeJwk({ kid: "old" })]);
    expect(() => replaceKeys(r, job, [makeJwk(), jwk])).toThrow(refusal(reason, "keys.1: "));
    expect(listKeys(r, job)).toEqual(kept);
  });

  it("when it stands there twice, or its name does, or there are too many", () => {
    const { r } = openJob();
    const jwk = makeJwk();
    expect(() => replaceKeys(r, job, [jwk, { ...jwk, kid: "b" }])).toThrow(refusal("registry.invalid", "keys.1"));
    const named = (): PublicJwk => makeJwk({ kid: "a" });
    expect(() => replaceKeys(r, job, [named(), named()])).toThrow(refusal("registry.invalid", "keys.1"));
    const many = Array.from({ length: MAX_KEYS + 1 }, () => makeJwk());
    expect(() => replaceKeys(r, job, many)).toThrow(refusal("registry.invalid", "keys: at most 8"));
    expect(listKeys(r, job)).toEqual([]);
    expect(replaceKeys(r, job, many.slice(1))).toHaveLength(MAX_KEYS);
  });
});
