/** `POST /v1/revocations`, and what is refused at every other door from then on. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { createClient, deleteClient, setClientEnabled } from "../../broker/registry/clients.ts";
import { listRest } from "../../broker/registry/unlisted.ts";
import { activeSigner } from "../../broker/registry/signing-keys.ts";
import { createTicket } from "../../broker/registry/tickets.ts";
import { encodeTokenRequest, readTokenError, readTokenResponse } from "../../shared/ace.ts";
import { decode } from "../../shared/cbor.ts";
import { nameAuthority } from "../../shared/device-certificate.ts";
import { tokenHashes } from "../../shared/token.ts";
import {
  ACE,
  base64,
  basic,
  cwtAssertion,
  furnish,
  makeCsr,
  makeDevice,
  makeKey,
  openFixture,
  type Answer,
  type Call,
  type Device,
  type Fixture,
} from "./fixture.ts";
import { commonName } from "./der.ts";

const admin = { authorization: "Bearer admin-key" };
const none = { tokens: 0, certificates: 0, clients: 0, keys: 0, projects: 0 };

let at: Fixture;
let secret: string;
let names = 0;
/** A device of its own for each test. */
let device: Device;

beforeAll(async () => {
  at = await openFixture();
  ({ secret } = furnish(at.registry));
});
beforeEach(async () => {
  const name = `dev-${names++}`;
  createClient(at.registry, { project: "plant", name, kind: "device", roles: ["sensor"] });
  device = await makeDevice(at, `plant.${name}`);
});
afterAll(() => at.close());

function revoke(wish: unknown, headers: Call["headers"] = admin): Promise<Answer> {
  return at.call("/v1/revocations", { type: "application/json", body: JSON.stringify(wish), headers });
}

function body(answer: Answer): unknown {
  return JSON.parse(answer.body.toString());
}

async function getToken(as: Device = device): Promise<Uint8Array> {
  const answer = await at.call("/token", { type: ACE, body: encodeTokenRequest({ audience: "plant.tele" }), as });
  return readTokenResponse(answer.body).accessToken;
}

function count(table: string): unknown {
  return at.registry.db.prepare(`SELECT count(*) FROM ${table}`).pluck().get();
}

describe("takes back", () => {
  test("tokens by themselves and by their hashes, and counts those that were not before", async () => {
    const [one, two] = [await getToken(), await getToken()];
    const wish = { tokens: [Buffer.from(one).toString("base64url"), tokenHashes(two)[0]] };
    const first = await revoke(wish);
    expect([first.status, body(first), first.headers["cache-control"]]).toEqual([
      200,
      { ...none, tokens: 2 },
      "no-store",
    ]);
    expect([one, two].map((token) => at.trust.isTokenRevoked(tokenHashes(token)))).toEqual([true, true]);
    expect(body(await revoke(wish))).toEqual(none);
  });

  test("a JWT by the hash of the spelling in which it was given out", async () => {
    const value = { grant_type: "client_credentials", client_id: "plant.board", client_secret: secret };
    const answer = await at.call("/token", { type: "application/json", body: JSON.stringify(value) });
    const { access_token: token } = body(answer) as { access_token: string };
    const [asText, asBytes] = tokenHashes(token);
    await revoke({ tokens: [asBytes] });
    const row = at.registry.db.prepare(`SELECT lower(hex(token_hash)) FROM revoked_token WHERE client = 'plant.board'`);
    expect(row.pluck().all()).toEqual([asText]);
    expect(at.trust.isTokenRevoked([asBytes!])).toBe(true);
  });

  test("a certificate: its connection asks in vain from the next request on, and so does an assertion of its key", async () => {
    const token = await getToken();
    const before = cwtAssertion(device, at.clock.now);
    expect(body(await revoke({ certificates: [device.serial] }))).toEqual({ ...none, certificates: 1 });
    expect(at.trust.isTokenRevoked(tokenHashes(token))).toBe(true);
    expect(at.trust.isCertificateRevoked(`${nameAuthority(at.ca.caCertificate)}:${device.serial.toLowerCase()}`)).toBe(
      true,
    );
    expect((await at.call("/token", { type: ACE, body: encodeTokenRequest({}), as: device })).status).toBe(401);
    expect(at.reason()).toBe("certificate.revoked");
    expect((await at.call("/v1/self", { as: device })).status).toBe(403);
    expect(at.reason()).toBe("certificate.revoked");
    for (const clientAssertion of [before, cwtAssertion(device, at.clock.now)]) {
      expect((await at.call("/token", { type: ACE, body: encodeTokenRequest({ clientAssertion }) })).status).toBe(401);
      expect(at.reason()).toBe("assertion.signature");
    }
    const listed = body(await at.call(`/v1/certificates?client=${device.id}`, { headers: admin }));
    expect(listed).toMatchObject({ items: [{ revoked_at: at.clock.now, status: "revoked" }] });
  });

  test("certificates are listed as what they are worth", async () => {
    const statusOf = async (): Promise<unknown> => {
      const listed = body(await at.call(`/v1/certificates?client=${device.id}`, { headers: admin }));
      return (listed as { items: { status: string }[] }).items[0]!.status;
    };
    expect(await statusOf()).toBe("good");
    setClientEnabled(at.registry, device.id, false);
    expect(await statusOf()).toBe("held");
    setClientEnabled(at.registry, device.id, true);
    expect(await statusOf()).toBe("good");
    deleteClient(at.registry, device.id);
    expect(await statusOf()).toBe("revoked");
  });

  test("a client, a key, and the tokens of a project in one call", async () => {
    const token = await getToken();
    const [{ kid }] = (body(await at.call("/v1/keys", { headers: admin })) as { items: [{ kid: string }] }).items;
    const answer = await revoke({
      clients: [device.id],
      keys: [kid],
      projects: [{ project: "plant", before: "now" }],
    });
    expect(body(answer)).toEqual({ ...none, clients: 1, keys: 1, projects: 1 });
    expect([at.trust.client(device.id)?.enabled, at.trust.keyFor(kid)]).toEqual([false, undefined]);
    expect(at.trust.tokensSince("plant")).toBe(at.clock.now);
    expect(at.trust.isTokenRevoked(tokenHashes(token))).toBe(true);
    const keys = body(await at.call("/v1/keys", { headers: admin }));
    expect(keys).toMatchObject({
      items: [
        { kid: activeSigner(at.registry).kid, active: true, revoked_at: null },
        { kid, active: false, revoked_at: at.clock.now },
      ],
    });
    const jwks = body(await at.call("/.well-known/jwks.json")) as { keys: { kid: string }[] };
    const coseKeys = decode((await at.call("/.well-known/cose-keys")).body) as Map<number, Uint8Array>[];
    expect(jwks.keys.map((key) => key.kid)).toEqual([activeSigner(at.registry).kid]);
    expect(coseKeys.map((key) => Buffer.from(key.get(2)!).toString())).toEqual([activeSigner(at.registry).kid]);
    expect(readTokenResponse((await ask(await fresh())).body).expiresIn).toBe(600);
  });

  test("tokens of a project before a time given as RFC 3339, to the next whole second", async () => {
    const before = new Date((at.clock.now - 5) * 1000 + 1).toISOString();
    at.registry.db.prepare(`INSERT INTO project (slug, created_at) VALUES ('dated', 0)`).run();
    expect(body(await revoke({ projects: [{ project: "dated", before }] }))).toEqual({ ...none, projects: 1 });
    expect(at.trust.tokensSince("dated")).toBe(at.clock.now - 4);
  });

  test("a thousand clients, with a body that no other route takes", async () => {
    const ids = Array.from({ length: 1_000 }, (_, n) => `plant.many-devices-with-a-name-of-some-length-${n}`);
    at.registry.change(() => {
      for (const id of ids) createClient(at.registry, { project: "plant", name: id.slice(6), kind: "device" });
    });
    expect(JSON.stringify({ clients: ids }).length).toBeGreaterThan(3 * 16 * 1024);
    expect(body(await revoke({ clients: ids }))).toEqual({ ...none, clients: 1_000 });
    expect(ids.filter((id) => at.trust.client(id)?.enabled !== false)).toEqual([]);
    while (listRest(at.registry)) expect(true).toBe(true);
  });
});

async function fresh(): Promise<Device> {
  const name = `fresh-${names++}`;
  createClient(at.registry, { project: "plant", name, kind: "device", roles: ["sensor"] });
  return makeDevice(at, `plant.${name}`);
}

function ask(as: Device): Promise<Answer> {
  return at.call("/token", { type: ACE, body: encodeTokenRequest({ audience: "plant.tele" }), as });
}

describe("refuses, and changes nothing", () => {
  const hash = `01${"00".repeat(32)}`;
  test.each<[string, unknown, number, string, string?]>([
    ["nothing", {}, 422, "registry.invalid", "nothing to revoke"],
    ["empty lists", { tokens: [], clients: [] }, 422, "registry.invalid", "nothing to revoke"],
    ["no object", [], 422, "registry.invalid"],
    ["an unknown kind", { tickets: ["a"] }, 422, "registry.invalid", "#/tickets"],
    ["a list that is none", { tokens: "a" }, 422, "registry.invalid", "#/tokens"],
    ["a number in a list", { clients: [1] }, 422, "registry.invalid", "#/clients/0"],
    ["an empty entry", { keys: [""] }, 422, "registry.invalid", "#/keys/0"],
    ["an unknown hash", { tokens: [hash] }, 404, "registry.not-found"],
    ["a hash that is too short", { tokens: [hash.slice(2)] }, 422, "registry.invalid"],
    ["what is no token", { tokens: ["a.b.c"] }, 422, "registry.invalid"],
    [
      "an unknown client beside one that is there",
      { clients: ["plant.pi", "plant.nobody"] },
      404,
      "registry.not-found",
    ],
    ["an unknown serial", { certificates: ["ffff"] }, 404, "registry.not-found"],
    ["an unknown key", { keys: ["??"] }, 404, "registry.not-found"],
    ["an unknown project", { projects: [{ project: "zoo", before: 1 }] }, 404, "registry.not-found"],
    ["no time", { projects: [{ project: "plant" }] }, 422, "registry.invalid", "#/projects/0/before"],
    [
      "a time below 0",
      { projects: [{ project: "plant", before: -1 }] },
      422,
      "registry.invalid",
      "#/projects/0/before",
    ],
    [
      "half a second",
      { projects: [{ project: "plant", before: 1.5 }] },
      422,
      "registry.invalid",
      "#/projects/0/before",
    ],
    ["a number too large", { projects: [{ project: "plant", before: 1e300 }] }, 422, "registry.invalid", "before"],
    ["the year 9999", { projects: [{ project: "plant", before: "9999-12-31T23:59:59Z" }] }, 422, "registry.invalid"],
    [
      "a time without zone",
      { projects: [{ project: "plant", before: "2026-01-01T00:00:00" }] },
      422,
      "registry.invalid",
    ],
    ["a date", { projects: [{ project: "plant", before: "2026-01-01" }] }, 422, "registry.invalid"],
    ["tomorrow", { projects: [{ project: "plant", before: "tomorrow" }] }, 422, "registry.invalid"],
    [
      "10,001 entries",
      { clients: Array.from({ length: 10_001 }, () => "plant.pi") },
      422,
      "registry.invalid",
      "#/clients",
    ],
  ])("%s", async (_, wish, status, reason, says = "") => {
    // the refusal itself is on record
    const before = ["audit WHERE reason IS NULL", "revoked_token", "trl_update"].map(count);
    const answer = await revoke(wish);
    expect([answer.status, at.reason()]).toEqual([status, reason]);
    expect(answer.body.toString()).toContain(says);
    expect(["audit WHERE reason IS NULL", "revoked_token", "trl_update"].map(count)).toEqual(before);
  });

  test("ten thousand hashes that are nobody's, at the first of them", async () => {
    const tokens = Array.from({ length: 10_000 }, (_, n) => `01${n.toString(16).padStart(64, "0")}`);
    const answer = await revoke({ tokens });
    expect([answer.status, at.reason()]).toEqual([404, "registry.not-found"]);
    expect(answer.body.length).toBeLessThan(600);
  });

  test("the future", async () => {
    const answer = await revoke({ projects: [{ project: "plant", before: at.clock.now + 1 }] });
    expect([answer.status, at.reason()]).toEqual([422, "registry.invalid"]);
  });

  test("a stranger, before the body is read", async () => {
    const clients = Array.from({ length: 20_000 }, () => "plant.pi");
    const stranger = await revoke({ clients }, { authorization: "Bearer other" });
    expect([stranger.status, at.reason()]).toEqual([401, "admin.key"]);
    const unproven = await revoke({ clients: ["plant.pi"] }, basic("plant.board", secret));
    expect([unproven.status, at.reason()]).toEqual([401, "admin.key"]);
  });

  test("a body beyond 1 MiB", async () => {
    const answer = await revoke({ clients: Array.from({ length: 9_999 }, () => "p".repeat(120)) });
    expect([answer.status, at.reason()]).toEqual([413, "request.too-large"]);
  });
});

describe("who was taken back does not come back", () => {
  async function enrol(ticket: string, privateKey = makeKey().privateKey): Promise<number> {
    const call = { type: "application/pkcs10", headers: basic("", ticket), body: base64(makeCsr(privateKey)) };
    return (await at.call("/.well-known/est/simpleenroll", call)).status;
  }

  test.each<[string, (client: string) => void, string]>([
    ["deleted", (client) => deleteClient(at.registry, client), "client.unknown"],
    ["disabled", (client) => setClientEnabled(at.registry, client, false), "client.disabled"],
  ])("a %s client, by ticket, certificate, renewal or assertion", async (_, takeBack, reason) => {
    const { secret: ticket } = createTicket(at.registry, { project: "plant", client: device.id.slice(6) });
    const assertion = cwtAssertion(device, at.clock.now);
    await getToken();
    takeBack(device.id);
    expect([await enrol(ticket), at.reason()]).toEqual([401, reason]);
    expect([(await ask(device)).status, at.reason()]).toEqual([401, reason]);
    const renewal = { type: "application/pkcs10", body: base64(makeCsr(device.privateKey)), as: device };
    expect([(await at.call("/.well-known/est/simplereenroll", renewal)).status, at.reason()]).toEqual([401, reason]);
    const asked = { type: ACE, body: encodeTokenRequest({ clientAssertion: assertion }) };
    expect([(await at.call("/token", asked)).status, at.reason()]).toEqual([401, reason]);
    expect((await at.call("/v1/self", { as: device })).status).toBe(401);
  });

  test("a device that a ticket made, by the same ticket or another", async () => {
    const tickets = [1, 2].map(() => createTicket(at.registry, { project: "plant", uses: 5, roles: ["sensor"] }));
    const { privateKey, key } = makeKey();
    expect(await enrol(tickets[0]!.secret, privateKey)).toBe(200);
    deleteClient(at.registry, `plant.d-${key.thumbprint.slice(0, 10)}`);
    for (const ticket of tickets) {
      expect([await enrol(ticket.secret, privateKey), at.reason()]).toEqual([401, "client.unknown"]);
    }
  });

  test("the key of a revoked certificate, by the ticket that it was got with, and not by renewal of another key's", async () => {
    const { secret: ticket } = createTicket(at.registry, { project: "plant", uses: 5, roles: ["sensor"] });
    const { privateKey, key } = makeKey();
    expect(await enrol(ticket, privateKey)).toBe(200);
    const client = `plant.d-${key.thumbprint.slice(0, 10)}`;
    const serial = at.registry.db
      .prepare(`SELECT serial FROM certificate WHERE client = ?`)
      .pluck()
      .get(client) as string;
    expect(body(await revoke({ certificates: [serial] }))).toEqual({ ...none, certificates: 1 });
    expect([await enrol(ticket, privateKey), at.reason()]).toEqual([403, "certificate.revoked"]);
    const renewal = {
      type: "application/pkcs10",
      body: base64(makeCsr(privateKey, { subject: commonName(device.id) })),
      as: device,
    };
    expect([(await at.call("/.well-known/est/simplereenroll", renewal)).status, at.reason()]).toEqual([
      403,
      "certificate.revoked",
    ]);
    const used = at.registry.db.prepare(`SELECT used FROM ticket ORDER BY created_at DESC, id`);
    expect(used.pluck().all()).toContain(1);
  });

  test("a client that is enabled again gets in with new tokens only", async () => {
    const old = await getToken();
    await revoke({ clients: [device.id] });
    const path = `/v1/projects/plant/clients/${device.id.slice(6)}`;
    const enabled = { method: "PATCH", type: "application/json", body: `{"enabled":true}`, headers: admin };
    expect((await at.call(path, enabled)).status).toBe(200);
    const { tokensAfter } = at.trust.client(device.id)!;
    const numberOf = (token: Uint8Array): number => {
      const row = at.registry.db.prepare(`SELECT number FROM issued WHERE token_hash = ?`).pluck();
      return row.get(Buffer.from(tokenHashes(token)[0]!, "hex")) as number;
    };
    expect(numberOf(old)).toBeLessThanOrEqual(tokensAfter!);
    const renewed = await getToken();
    expect(numberOf(renewed)).toBeGreaterThan(tokensAfter!);
    expect([old, renewed].map((token) => at.trust.isTokenRevoked(tokenHashes(token)))).toEqual([true, false]);
  });
});

describe("when the disk is full", () => {
  test("says so, has done nothing, and does all of it when there is room", async () => {
    const { db } = at.registry;
    const token = await getToken();
    const pages = Number(db.pragma("page_count", { simple: true }));
    db.pragma(`max_page_count = ${pages}`);
    const big = db.prepare(`INSERT INTO audit (at, event, actor, facts) VALUES (0, 'filled', 'test', ?)`);
    for (const length of [2_000, 200, 20]) {
      try {
        for (;;) big.run("x".repeat(length));
      } catch {
        continue;
      }
    }
    const before = ["audit", "revoked_token", "trl_update", "issued", "unlisted"].map(count);
    const wish = { clients: [device.id], tokens: [tokenHashes(token)[0]], keys: [activeSigner(at.registry).kid] };
    const failed = await revoke(wish);
    expect([failed.status, at.reason()]).toEqual([507, "storage.failed"]);
    expect(body(failed)).toMatchObject({ type: "urn:postern:refusal:storage.failed", detail: "SQLITE_FULL" });
    const line = at.lines.findLast(({ reason }) => reason === "storage.failed");
    expect(line).toMatchObject({ level: 50, detail: "SQLITE_FULL" });

    const answers = await Promise.all([1, 2, 3, 4].map(() => ask(device)));
    expect(answers.map(({ status }) => status)).toEqual([507, 507, 507, 507]);
    expect(readTokenError(answers[0]!.body).description).toContain("nothing was changed");
    expect(["audit", "revoked_token", "trl_update", "issued", "unlisted"].map(count)).toEqual(before);
    expect([at.trust.client(device.id)?.enabled, at.trust.isTokenRevoked(tokenHashes(token))]).toEqual([true, false]);

    db.pragma("max_page_count = 1000000");
    expect(body(await revoke(wish))).toEqual({ ...none, clients: 1, tokens: 1, keys: 1 });
    expect((await ask(await fresh())).status).toBe(200);
  });
});
