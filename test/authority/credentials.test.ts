/** Credentials of clients and apis under `/v1`: secrets and public keys, and what a secret proves at the token endpoint. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createClient } from "../../broker/registry/clients.ts";
import { createProject } from "../../broker/registry/projects.ts";
import { createSecret } from "../../broker/registry/secrets.ts";
import { jwkThumbprint, toJwk } from "../../shared/cose-key.ts";
import type { Reason } from "../../shared/refusal.ts";
import { basic, furnish, makeKey, openFixture, type Answer, type Fixture } from "./fixture.ts";

const admin = { authorization: "Bearer admin-key" };
const FORM = "application/x-www-form-urlencoded";

let at: Fixture;
/** Of the service `plant.board`. */
let secret: string;

const open = async (): Promise<void> => {
  at = await openFixture({ clientFailuresPerMinute: 1_000 });
  ({ secret } = furnish(at.registry));
};

// oxlint-disable-next-line typescript/no-explicit-any
type Told = { readonly status: number; readonly body: any };

async function ask(method: string, path: string, body?: unknown): Promise<Told> {
  const text = body === undefined ? undefined : JSON.stringify(body);
  const type = body === undefined ? undefined : "application/json";
  const answer = await at.call(`/v1/projects/plant/${path}`, { method, type, body: text, headers: admin });
  return { status: answer.status, body: answer.body.length === 0 ? undefined : JSON.parse(answer.body.toString()) };
}

const form = (fields: Record<string, string>) => ({ type: FORM, body: new URLSearchParams(fields).toString() });

function tokenBySecret(password: string): Promise<Answer> {
  const body = form({ grant_type: "client_credentials", audience: "plant.open" });
  return at.call("/token", { ...body, headers: basic("plant.board", password) });
}

describe("secrets under /v1", () => {
  beforeEach(open);
  afterEach(() => at.close());

  test.each([
    ["clients/board", 1],
    ["apis/tele", 0],
  ])("of %s are made, listed and retired", async (owner, there) => {
    const made = await ask("POST", `${owner}/secrets`, { ttl_seconds: 600, idle_seconds: 90 });
    const { now } = at.clock;
    const { secret: text, ...shown } = made.body as { id: string; secret: string };
    expect([made.status, text]).toEqual([201, expect.stringMatching(/^[A-Za-z0-9_-]{43}$/)]);
    expect(shown).toEqual({
      id: shown.id,
      created_at: now,
      expires_at: now + 600,
      idle_seconds: 90,
      last_used_at: null,
      status: "valid",
    });
    const listed = await ask("GET", `${owner}/secrets`);
    expect(listed.body.items).toHaveLength(there + 1);
    expect(listed.body.items[0]).toEqual(shown);
    expect((await ask("DELETE", `${owner}/secrets/${shown.id}`)).status).toBe(204);
    expect((await ask("DELETE", `${owner}/secrets/${shown.id}`)).status).toBe(204);
    expect((await ask("GET", `${owner}/secrets`)).body.items[0]).toMatchObject({ id: shown.id, status: "retired" });
  });

  test("are rotated without a gap", async () => {
    const { body: next } = await ask("POST", "clients/board/secrets", {});
    expect((await tokenBySecret(secret)).status).toBe(200);
    expect((await tokenBySecret(next.secret)).status).toBe(200);
    const [newest, first] = (await ask("GET", "clients/board/secrets")).body.items;
    expect([newest.last_used_at, first.last_used_at]).toEqual([at.clock.now, at.clock.now]);
    await ask("DELETE", `clients/board/secrets/${first.id}`);
    const refused = await tokenBySecret(secret);
    expect([refused.status, at.reason()]).toEqual([401, "secret.retired"]);
    expect(JSON.parse(refused.body.toString()).error).toBe("invalid_client");
    expect((await tokenBySecret(next.secret)).status).toBe(200);
  });

  test("end by their expiry, and by resting beside a newer one", async () => {
    const { body: short } = await ask("POST", "clients/board/secrets", { ttl_seconds: 60 });
    at.clock.now += 60;
    expect((await tokenBySecret(short.secret)).status).toBe(401);
    expect(at.reason()).toBe("secret.expired");
    const { body: next } = await ask("POST", "clients/board/secrets", {});
    at.clock.now += 7 * 86_400;
    expect((await tokenBySecret(secret)).status).toBe(401);
    expect(at.reason()).toBe("secret.retired");
    expect((await tokenBySecret(next.secret)).status).toBe(200);
  });

  test("a client that is not there, a wrong secret and an ended one hear the same", async () => {
    const { body: made } = await ask("POST", "clients/board/secrets", { ttl_seconds: 60 });
    at.clock.now += 60;
    const body = form({ grant_type: "client_credentials" });
    const heard = [];
    for (const [user, password, reason] of [
      ["plant.board", "wrong", "client.secret"],
      ["plant.board", made.secret as string, "secret.expired"],
      ["plant.nobody", "wrong", "client.unknown"],
      ["plant.pi", "wrong", "client.secret"],
      ["plant/tele", "wrong", "client.unknown"],
      ["", "wrong", "client.unknown"],
      ["plant.board' OR '1'='1", "wrong", "client.unknown"],
    ] as const) {
      const { status, headers, body: said } = await at.call("/token", { ...body, headers: basic(user, password) });
      expect([user, at.reason()]).toEqual([user, reason]);
      const told = said.toString().replace(/\(id [\w-]+\)/, "");
      heard.push([status, told, headers["www-authenticate"], headers["content-length"]]);
    }
    expect(new Set(heard.map((one) => JSON.stringify(one))).size).toBe(1);
  });

  test.each<[string, string, unknown, number, Reason]>([
    ["POST", "clients/pi/secrets", {}, 422, "registry.invalid"],
    ["POST", "clients/board/secrets", undefined, 422, "registry.invalid"],
    ["POST", "clients/board/secrets", { ttl_seconds: 59 }, 422, "registry.invalid"],
    ["POST", "clients/board/secrets", { ttl_seconds: "1h" }, 422, "registry.invalid"],
    ["POST", "clients/board/secrets", { idle_seconds: 1e9 }, 422, "registry.invalid"],
    ["POST", "clients/board/secrets", { secret: "of my own" }, 422, "registry.invalid"],
    ["POST", "clients/none/secrets", {}, 404, "registry.not-found"],
    ["GET", "clients/none/secrets", undefined, 404, "registry.not-found"],
    ["GET", "apis/none/secrets", undefined, 404, "registry.not-found"],
    ["DELETE", "clients/board/secrets/none", undefined, 404, "registry.not-found"],
    ["PUT", "clients/board/keys", {}, 422, "registry.invalid"],
    ["PUT", "clients/board/keys", { keys: {} }, 422, "registry.invalid"],
    ["PUT", "clients/board/keys", { keys: ["key"] }, 422, "registry.invalid"],
    ["PUT", "clients/board/keys", { keys: [{}] }, 422, "registry.invalid"],
    ["PUT", "clients/board/keys", { keys: [{ kty: "RSA" }] }, 400, "key.type"],
    ["PUT", "clients/board/keys", { keys: [{ kty: "EC", crv: "P-384" }] }, 400, "key.curve"],
    ["PUT", "clients/board/keys", { keys: [{ kty: "EC", crv: "P-256", d: "AA" }] }, 400, "key.private"],
    ["PUT", "clients/board/keys", { keys: [], more: 1 }, 422, "registry.invalid"],
    ["PUT", "clients/none/keys", { keys: [] }, 404, "registry.not-found"],
    ["PUT", "apis/none/keys", { keys: [] }, 404, "registry.not-found"],
    ["POST", "clients", { name: "x", kind: "service", keys: [{ kty: "oct", k: "AA" }] }, 400, "key.type"],
    [
      "POST",
      "clients",
      { name: "x", kind: "service", keys: Array.from({ length: 9 }, () => ({ kty: "EC" })) },
      422,
      "registry.invalid",
    ],
  ])("%s %s %j is %i %s and changes nothing", async (method, path, body, status, reason) => {
    const rows = (): unknown =>
      ["client", "secret", "public_key"].map((t) => at.registry.db.prepare(`SELECT * FROM ${t}`).all());
    const before = rows();
    const answer = await ask(method, path, body);
    expect([answer.status, answer.body.type]).toEqual([status, `urn:postern:refusal:${reason}`]);
    expect(rows()).toEqual(before);
  });

  test("no more than five, as a limit", async () => {
    for (let i = 0; i < 4; i++) expect((await ask("POST", "clients/board/secrets", {})).status).toBe(201);
    const answer = await ask("POST", "clients/board/secrets", {});
    expect([answer.status, answer.body.type]).toEqual([429, "urn:postern:refusal:limit.reached"]);
  });

  test("of another project's client are not found, whatever is asked", async () => {
    createProject(at.registry, "zoo");
    createClient(at.registry, { project: "zoo", name: "ape", kind: "service" });
    const { record } = createSecret(at.registry, { project: "zoo", client: "ape" });
    for (const [method, path, body] of [
      ["GET", "clients/ape/secrets"],
      ["POST", "clients/ape/secrets", {}],
      ["DELETE", `clients/ape/secrets/${record.id}`],
      ["DELETE", `clients/board/secrets/${record.id}`],
      ["GET", "clients/ape/keys"],
      ["PUT", "clients/ape/keys", { keys: [] }],
    ] as const) {
      expect([path, (await ask(method, path, body)).status]).toEqual([path, 404]);
    }
  });
});

describe("public keys under /v1", () => {
  beforeEach(open);
  afterEach(() => at.close());

  test("are replaced as a set and shown with their thumbprints", async () => {
    const { key } = makeKey();
    const jwk = { ...toJwk(key), kid: "a", use: "sig", alg: "ES256", x5t: "ignored" };
    for (const owner of ["clients/board", "apis/tele"]) {
      const put = await ask("PUT", `${owner}/keys`, { keys: [jwk] });
      const shown = { kid: "a", thumbprint: jwkThumbprint(key), created_at: at.clock.now, jwk: toJwk(key) };
      expect([put.status, put.body.items]).toEqual([200, [shown]]);
      expect((await ask("GET", `${owner}/keys`)).body.items).toEqual([shown]);
      expect((await ask("PUT", `${owner}/keys`, { keys: [] })).body.items).toEqual([]);
    }
  });

  test("make a service that has no secret", async () => {
    const keys = [toJwk(makeKey().key)];
    const made = await ask("POST", "clients", { name: "job", kind: "service", keys });
    expect([made.status, made.body.client_secret]).toEqual([201, undefined]);
    expect((await ask("GET", "clients/job/secrets")).body.items).toEqual([]);
    expect((await ask("GET", "clients/job/keys")).body.items).toHaveLength(1);
    expect((await ask("DELETE", "clients/job")).status).toBe(204);
    expect(at.registry.db.prepare("SELECT count(*) FROM public_key").pluck().get()).toBe(0);
  });
});
