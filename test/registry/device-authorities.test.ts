/** Authorities elsewhere: which are taken, and what their lists do to what a gate is told. */
import { X509Certificate } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { openCertificateAuthority } from "../../broker/authority/certificates/certificates.ts";
import { watchLists } from "../../broker/authority/certificates/watch-lists.ts";
import {
  addDeviceAuthority,
  getDeviceAuthority,
  isForeignRevoked,
  listDeviceAuthorities,
  ownAuthorityId,
  readAuthorityTrust,
  removeDeviceAuthority,
  setOwnAuthority,
} from "../../broker/registry/device-authorities.ts";
import { importList, type RevocationList } from "../../broker/registry/revocation-lists.ts";
import { readChanges } from "../../broker/registry/trust-changes.ts";
import { nameAuthority } from "../../shared/device-certificate.ts";
import { generatePrivateKey } from "../../shared/es256.ts";
import { testWith } from "../peers.ts";
import { openOpensslCa } from "../authority/openssl-ca.ts";
import { NOW, openFixture, refusal, type Fixture } from "./fixture.ts";

const day = 86_400;
let directory: string;
let ours: X509Certificate;
let plant: X509Certificate;
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "postern-authorities-"));
  const make = async (): Promise<X509Certificate> => {
    const own = mkdtempSync(join(directory, "ca-"));
    return (await openCertificateAuthority(own, () => NOW)).caCertificate;
  };
  ours = await make();
  plant = await make();
});
afterAll(() => rmSync(directory, { recursive: true }));

let at: Fixture;
let id: string;
beforeEach(() => {
  at = openFixture();
  id = nameAuthority(plant);
});
afterEach(() => at.r.close());

const add = (name = "plant", needsList?: boolean): unknown =>
  addDeviceAuthority(at.r, { name, ca: plant.toString(), needsList });
const listOf = (serials: readonly string[], changed: Partial<RevocationList> = {}): RevocationList => ({
  number: 7n,
  thisUpdate: NOW - 60,
  nextUpdate: NOW + day,
  serials: new Set(serials),
  ...changed,
});
const audited = (): unknown[] =>
  at.r.db.prepare(`SELECT event FROM audit WHERE event LIKE 'device-authority.%' ORDER BY seq`).pluck().all();
const noted = (): string[] => readChanges(at.r, "", 1000).changes.map(({ kind, name }) => `${kind} ${name}`);

describe("an authority elsewhere", () => {
  test("is told when it comes and when it goes", () => {
    add("plant", true);
    expect(at.told.authorities.get(id)).toMatchObject({ id, needsList: true });
    expect(at.told.authorities.get(id)?.certificate.raw).toEqual(plant.raw);
    expect(listDeviceAuthorities(at.r)).toEqual([getDeviceAuthority(at.r, "plant")]);
    expect(getDeviceAuthority(at.r, "plant")).toMatchObject({ id, needsList: true, list: null, createdAt: NOW });
    removeDeviceAuthority(at.r, "plant");
    expect(at.told.authorities.size).toBe(0);
    expect(readAuthorityTrust(at.r, id)).toBeUndefined();
    expect(() => getDeviceAuthority(at.r, "plant")).toThrow(refusal("registry.not-found"));
    expect(() => removeDeviceAuthority(at.r, "plant")).toThrow(refusal("registry.not-found"));
    expect(audited()).toEqual(["device-authority.added", "device-authority.removed"]);
    expect(noted()).toEqual([`authority ${id}`]);
  });

  test("asks for a list only where that was wished", () => {
    add();
    expect(readAuthorityTrust(at.r, id)).toEqual({
      id,
      certificate: expect.any(X509Certificate) as unknown,
      needsList: false,
    });
  });

  test("has a name and a key of its own", () => {
    setOwnAuthority(at.r, ours);
    add();
    expect(() => add("other")).toThrow(refusal("registry.conflict", "authority plant"));
    const own = { name: "other", ca: ours.toString() };
    expect(() => addDeviceAuthority(at.r, { ...own, name: "plant" })).toThrow(refusal("registry.conflict"));
    expect(() => addDeviceAuthority(at.r, own)).toThrow(refusal("registry.conflict", "authority postern"));
    removeDeviceAuthority(at.r, "plant");
    expect(() => add("postern")).toThrow(refusal("registry.conflict"));
  });

  test.each<[what: string, ca: () => string, fault: string]>([
    ["nothing", () => "", "not one certificate"],
    ["two certificates", () => plant.toString() + ours.toString(), "not one certificate"],
    ["a private key", () => newKeyPem(), "not one certificate"],
    ["a certificate with its key", () => `${plant.toString()}${newKeyPem()}`, "not one certificate"],
    ["what is none", () => "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", "not a certificate"],
  ])("is not made of %s", (_, ca, fault) => {
    expect(() => addDeviceAuthority(at.r, { name: "x", ca: ca() })).toThrow(refusal("registry.invalid", fault));
    expect(noted()).toEqual([]);
  });

  testWith(["openssl"], "is not made of an end entity, nor of a key that is not verified here", () => {
    const ca = openOpensslCa(join(directory, "entity"));
    const device = { name: "x", ca: ca.issue("plant.pi", "01") };
    expect(() => addDeviceAuthority(at.r, device)).toThrow(refusal("registry.invalid", "not the certificate of an"));
    const edwards = { name: "x", ca: openOpensslCa(join(directory, "edwards"), "ed25519").pem };
    expect(() => addDeviceAuthority(at.r, edwards)).toThrow(refusal("registry.invalid", "its key is not on"));
    const rsa = { name: "x", ca: openOpensslCa(join(directory, "rsa"), "rsa").pem };
    expect(addDeviceAuthority(at.r, rsa)).toMatchObject({ name: "x" });
  });

  test("does not take a name that is none", () => {
    expect(() => add("a b")).toThrow(refusal("registry.invalid", "a name is"));
  });

  test("is one of a hundred at most", () => {
    const put = at.r.db.prepare(
      `INSERT INTO device_authority (id, name, own, der, needs_list, created_at) VALUES (?, ?, 0, ?, 0, 0)`,
    );
    for (let index = 0; index < 100; index++) put.run(`id${index}`, `name${index}`, ours.raw);
    expect(() => add()).toThrow(refusal("registry.invalid", "100"));
  });
});

describe("its list", () => {
  beforeEach(() => void add());

  test("takes the place of the one before, in one", () => {
    importList(at.r, "plant", listOf(["1", "2"]));
    expect(at.told.certificates).toEqual(new Set([`${id}:1`, `${id}:2`]));
    const next = listOf(["2", "3"], { number: 8n, nextUpdate: NOW + 2 * day });
    expect(importList(at.r, "plant", next)).toMatchObject({
      list: { number: "8", at: NOW - 60, endsAt: NOW + 2 * day, entries: 2 },
    });
    expect(at.told.certificates).toEqual(new Set([`${id}:2`, `${id}:3`]));
    expect(at.told.authorities.get(id)?.listEndsAt).toBe(NOW + 2 * day);
    expect(["1", "2", "3"].map((serial) => isForeignRevoked(at.r, `${id}:${serial}`))).toEqual([false, true, true]);
    expect(noted().toSorted()).toEqual(
      [`authority ${id}`, `certificate ${id}:1`, `certificate ${id}:2`, `certificate ${id}:3`].toSorted(),
    );
  });

  test("notes only what changed", () => {
    importList(at.r, "plant", listOf(["1", "2"]));
    const { cursor } = readChanges(at.r, "", 1000);
    importList(at.r, "plant", listOf(["2", "3"], { number: 8n }));
    expect(readChanges(at.r, cursor, 1000).changes.map(({ name }) => name)).toEqual([`${id}:1`, `${id}:3`, id]);
  });

  test("is in force before its authority is told, so that a list that is needed lets nobody in too early", () => {
    const order: string[] = [];
    at.told.revokeCertificates = () => void order.push("revoked");
    at.told.learnAuthority = () => void order.push("authority");
    importList(at.r, "plant", listOf(["1"]));
    expect(order).toEqual(["revoked", "authority"]);
  });

  test.each<[what: string, changed: Partial<RevocationList>, fault: string]>([
    ["a lower number", { number: 6n }, "below 7"],
    ["a lower number, said to be newer", { number: 6n, thisUpdate: NOW }, "below 7"],
    ["a higher number of an older time", { number: 8n, thisUpdate: NOW - 61 }, "older"],
    ["no number and an older time", { number: undefined, thisUpdate: NOW - 61 }, "older"],
  ])("is not replaced by one of %s", (_, changed, fault) => {
    importList(at.r, "plant", listOf(["1"]));
    const before = getDeviceAuthority(at.r, "plant");
    expect(() => importList(at.r, "plant", listOf(["2"], changed))).toThrow(refusal("registry.invalid", fault));
    expect(getDeviceAuthority(at.r, "plant").list).toEqual(before.list);
    expect(at.told.certificates).toEqual(new Set([`${id}:1`]));
    expect(isForeignRevoked(at.r, `${id}:2`)).toBe(false);
  });

  test.each<[what: string, changed: Partial<RevocationList>]>([
    ["itself", {}],
    ["one whose number is longer", { number: 10n }],
    ["a newer one without a number", { number: undefined, thisUpdate: NOW }],
    ["a newer one whose time is over", { number: 8n, nextUpdate: NOW - 1 }],
  ])("is replaced by %s", (_, changed) => {
    importList(at.r, "plant", listOf(["1"]));
    importList(at.r, "plant", listOf(["1", "2"], changed));
    expect(at.told.certificates.size).toBe(2);
  });

  test("goes with its authority, and does not come back with it", () => {
    importList(at.r, "plant", listOf(["1"]));
    removeDeviceAuthority(at.r, "plant");
    expect(at.told.certificates.size).toBe(0);
    expect(isForeignRevoked(at.r, `${id}:1`)).toBe(false);
    add();
    expect(getDeviceAuthority(at.r, "plant").list).toBeNull();
    expect(at.told.authorities.get(id)).not.toHaveProperty("listEndsAt");
  });

  test("is told again at the next start, before its authority", () => {
    const file = join(directory, "restart.db");
    const first = openFixture(file);
    setOwnAuthority(first.r, ours);
    addDeviceAuthority(first.r, { name: "plant", ca: plant.toString(), needsList: true });
    importList(first.r, "plant", listOf(["1", "ff"]));
    first.r.close();
    const { r, told } = openFixture(file);
    expect(told.certificates).toEqual(new Set([`${id}:1`, `${id}:ff`]));
    expect(told.authorities.get(id)).toMatchObject({ needsList: true, listEndsAt: NOW + day });
    expect(told.authorities.has(nameAuthority(ours))).toBe(true);
    r.close();
  });

  test("of an authority that is not there is nobody's", () => {
    expect(() => importList(at.r, "other", listOf(["1"]))).toThrow(refusal("registry.not-found"));
  });
});

describe("our own authority", () => {
  test("is on record, told, and not among the others", () => {
    expect(() => ownAuthorityId(at.r)).toThrow(TypeError);
    setOwnAuthority(at.r, ours);
    setOwnAuthority(at.r, ours);
    const own = nameAuthority(ours);
    expect(ownAuthorityId(at.r)).toBe(own);
    expect(readAuthorityTrust(at.r, own)).toMatchObject({ id: own, needsList: false });
    expect(listDeviceAuthorities(at.r)).toEqual([]);
    expect(() => getDeviceAuthority(at.r, "postern")).toThrow(refusal("registry.not-found"));
    expect(noted()).toEqual([`authority ${own}`]);
  });

  test("that has another key takes the place of the one before", () => {
    setOwnAuthority(at.r, ours);
    setOwnAuthority(at.r, plant);
    expect([...at.told.authorities.keys()]).toEqual([id]);
    expect(ownAuthorityId(at.r)).toBe(id);
  });

  test("cannot be one that was added", () => {
    add();
    expect(() => setOwnAuthority(at.r, plant)).toThrow(refusal("registry.conflict"));
  });
});

describe("a list that is missing or too old", () => {
  test("is said at start, when it happens and every hour, and not when there is a good one", () => {
    add("plant", true);
    const lines: Record<string, unknown>[] = [];
    const log = pino({}, { write: (line) => lines.push(JSON.parse(line) as Record<string, unknown>) });
    const said = (): unknown[] =>
      lines.splice(0).map(({ level, authority, msg, certificates }) => ({ level, authority, msg, certificates }));
    const watch = watchLists(at.r, log);
    const missing = { level: 50, authority: "plant", msg: "no list of revoked certificates", certificates: "refused" };
    expect(said()).toEqual([missing]);
    expect(watch.read()).toEqual(new Map([["plant", true]]));
    at.clock.now += 3_599;
    watch.check();
    expect(said()).toEqual([]);
    at.clock.now += 1;
    watch.check();
    expect(said()).toEqual([missing]);

    importList(at.r, "plant", listOf([]));
    watch.check();
    expect([said(), watch.read().get("plant")]).toEqual([[], false]);
    at.clock.now = NOW + day;
    watch.check();
    expect(said()).toEqual([{ ...missing, msg: "the list of revoked certificates is too old" }]);
    expect(watch.read().get("plant")).toBe(true);
    removeDeviceAuthority(at.r, "plant");
    watch.check();
    expect([said(), watch.read().size]).toEqual([[], 0]);
    watch.close();
  });

  test("says what it means where no list is needed", () => {
    add();
    const lines: Record<string, unknown>[] = [];
    watchLists(at.r, pino({}, { write: (line) => lines.push(JSON.parse(line) as Record<string, unknown>) })).close();
    expect(lines).toEqual([expect.objectContaining({ certificates: "accepted" })]);
  });
});

function newKeyPem(): string {
  return generatePrivateKey().export({ type: "pkcs8", format: "pem" }).toString();
}
