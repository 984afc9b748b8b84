/** What a broker elsewhere is told beside the list of revoked tokens. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { addDeviceAuthority, ownAuthorityId, removeDeviceAuthority } from "../../broker/registry/device-authorities.ts";
import { createClient, deleteClient, setClientEnabled } from "../../broker/registry/clients.ts";
import { revokeAll } from "../../broker/registry/revocations.ts";
import { createRole } from "../../broker/registry/roles.ts";
import { publishedKeys } from "../../broker/registry/signing-keys.ts";
import { nameCertificate } from "../../shared/device-certificate.ts";
import { formatPermission, parsePermission } from "../../shared/scope.ts";
import type { TrlAnswer, TrustEntry, TrustPart } from "../../shared/trl.ts";
import { makeAuthority } from "../gate/certificates.ts";
import { ISSUER, makeDevice, type Call, type Device } from "./fixture.ts";
import { ADMIN, makeBroker, openTrlFixture, problem, read, revoke, type TrlFixture } from "./trl-fixture.ts";

const path = "/revoke/trl";
let at: TrlFixture;
let edge: Device;
beforeAll(async () => {
  at = await openTrlFixture();
  edge = await makeBroker(at, "edge");
});
afterAll(() => at.close());

async function follow(cursor: string, query = "diff=0", call: Call = { as: edge }): Promise<TrlAnswer> {
  return read(await at.call(`${path}?${query}&trust=${cursor}`, call));
}

/** Every part from a cursor on. */
async function followAll(cursor: string): Promise<{ readonly entries: TrustEntry[]; readonly parts: TrustPart[] }> {
  const parts: TrustPart[] = [];
  for (let next = cursor, more = true; more;) {
    const { trust } = await follow(next);
    parts.push(trust!);
    ({ more, cursor: next } = trust!);
  }
  return { parts, entries: parts.flatMap(({ entries }) => entries) };
}

describe("from the beginning", () => {
  test("it is told everything that a gate must know", async () => {
    const { trust } = await follow("");
    expect([trust!.isReset, trust!.more]).toEqual([true, false]);
    const [key] = publishedKeys(at.registry);
    const find = (kind: string, name: string): TrustEntry | undefined =>
      trust!.entries.find((entry) => entry.kind === kind && Object.values(entry)[1] === name);
    expect(find("key", key!.kid)).toMatchObject({ key: { thumbprint: key!.key.thumbprint } });
    expect(find("api", "plant.tele")).toMatchObject({
      api: { kind: "mqtt", bearer: false, topics: ["p/#"], purge: "client" },
    });
    expect(find("api", "plant.web")).toMatchObject({ api: { kind: "http", topics: [] } });
    const pi = find("client", "plant.pi");
    expect(pi).toMatchObject({ client: { enabled: true, tokensAfter: 0, grants: [{ audience: "plant.tele" }] } });
    const { grants } = pi?.kind === "client" ? pi.client!.grants[0]! : { grants: [] };
    expect(grants.map(formatPermission)).toEqual(["sub:p/all", "sub:p/pi/dn", "pub:p/pi/up"]);
    const own = ownAuthorityId(at.registry);
    expect(find("authority", own)).toMatchObject({
      authority: { der: at.ca.caCertificate.raw, needsList: false },
    });
  });

  test.each(["none", "x.1", "AAAAAAAAAAAA.1", "AAAAAAAAAAAA.-1", "%00"])(
    "it is told so when its cursor is none of ours: %s",
    async (cursor) => {
      const [known, unknown] = [await follow(""), await follow(cursor)];
      expect(unknown.trust!.isReset).toBe(true);
      expect(unknown.trust!.entries.length).toBe(known.trust!.entries.length);
    },
  );

  test("it is the same with a full query", async () => {
    const full = read(await at.call(`${path}?trust=`, { as: edge }));
    expect(full.fullSet).toBeDefined();
    expect(full.trust).toEqual((await follow("")).trust);
  });
});

describe("from a cursor on", () => {
  let cursor: string;
  beforeEach(async () => {
    ({ cursor } = (await followAll("")).parts.at(-1)!);
  });

  test("it is told nothing twice", async () => {
    expect((await follow(cursor)).trust).toEqual({ isReset: false, cursor, more: false, entries: [] });
  });

  test("a client that changed is told as it is now, once", async () => {
    setClientEnabled(at.registry, "plant.board", false);
    setClientEnabled(at.registry, "plant.board", true);
    createRole(at.registry, { project: "plant", api: "open", name: "late", permissions: [parsePermission("pub:o/x")] });
    const { entries } = await followAll(cursor);
    expect(entries).toMatchObject([{ kind: "client", id: "plant.board", client: { enabled: true } }]);
  });

  test("a client that was deleted is told as gone", async () => {
    createClient(at.registry, { project: "plant", name: "brief", kind: "device" });
    deleteClient(at.registry, "plant.brief");
    expect((await followAll(cursor)).entries).toEqual([{ kind: "client", id: "plant.brief", client: undefined }]);
  });

  test("a revoked key, certificate and project are told", async () => {
    const [key] = publishedKeys(at.registry);
    const device = await makeDevice(at, "plant.pi");
    const wish = {
      keys: [key!.kid],
      certificates: [device.serial],
      projects: [{ project: "plant", before: at.clock.now }],
    };
    revokeAll(at.registry, wish, { issuer: ISSUER });
    const { entries } = await followAll(cursor);
    const name = nameCertificate({ authority: ownAuthorityId(at.registry), serial: device.serial });
    expect(entries).toContainEqual({ kind: "key", kid: key!.kid, key: undefined });
    expect(entries).toContainEqual({ kind: "certificate", name, isRevoked: true });
    expect(entries).toContainEqual({ kind: "project", slug: "plant", tokensSince: at.clock.now });
    expect(entries.filter(({ kind }) => kind === "key")).toHaveLength(2);
  });

  test("an authority elsewhere is told, and when it goes", async () => {
    const { x509 } = await makeAuthority();
    const other = { name: "other", ca: x509.toString(), needsList: true };
    const { id } = addDeviceAuthority(at.registry, other);
    const { entries, parts } = await followAll(cursor);
    expect(entries).toMatchObject([{ kind: "authority", id, authority: { needsList: true, der: x509.raw } }]);
    removeDeviceAuthority(at.registry, "other");
    const after = await followAll(parts.at(-1)!.cursor);
    expect(after.entries).toEqual([{ kind: "authority", id, authority: undefined }]);
  });

  test("much is told in parts of five hundred", async () => {
    for (let i = 0; i < 501; i++) createClient(at.registry, { project: "plant", name: `c${i}`, kind: "device" });
    const { parts } = await followAll(cursor);
    expect(parts.map(({ entries, more }) => [entries.length, more])).toEqual([
      [500, true],
      [1, false],
    ]);
  });

  test("much in one entry ends the part behind it, and is not lost", async () => {
    const roles = Array.from({ length: 4 }, (_, index) => `r${index}`);
    for (const name of roles) {
      const filters = Array.from({ length: 64 }, (_, index) => `p/${"x".repeat(500)}/${name}-${index}`);
      const permissions = filters.map((filter) => parsePermission(`pub:${filter}`));
      createRole(at.registry, { project: "plant", api: "tele", name, permissions });
    }
    const names = Array.from({ length: 9 }, (_, index) => `x${index}`);
    for (const name of names) createClient(at.registry, { project: "plant", name, kind: "device", roles });
    const { entries, parts } = await followAll(cursor);
    expect(entries.map((entry) => entry.kind === "client" && entry.id)).toEqual(names.map((name) => `plant.${name}`));
    expect(parts.map((part) => [part.entries.length, part.more])).toEqual([
      [8, true],
      [1, false],
    ]);
  });
});

describe("the parameter", () => {
  test("counts for an administrator too", async () => {
    expect((await follow("", "diff=0", { headers: ADMIN })).trust!.isReset).toBe(true);
  });

  test("is ignored in the request of a client, whatever it says", async () => {
    for (const query of ["trust=", "trust=1&trust=2"]) {
      const answer = await at.call(`${path}?diff=0&${query}`, { as: at.pi });
      expect([answer.status, read(answer).trust]).toEqual([200, undefined]);
    }
  });

  test("stands there once", async () => {
    const answer = await at.call(`${path}?diff=0&trust=&trust=`, { as: edge });
    expect([answer.status, problem(answer)]).toEqual([400, { error: "list.parameter" }]);
  });

  test("leaves no entity tag: the cursors say what is known", async () => {
    revoke(at, ["pi-9"]);
    const answer = await at.call(`${path}?diff=0&trust=`, { as: edge, headers: { "if-none-match": "*" } });
    expect([answer.status, answer.headers.etag]).toEqual([200, undefined]);
  });
});
