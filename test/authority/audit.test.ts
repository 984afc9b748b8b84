/** Refusals over HTTP as rows of the audit log, in every language; the log over HTTP; and what a flood makes of it. */
import { request as httpsRequest } from "node:https";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { audit, findRefusal } from "../../broker/registry/audit.ts";
import { refusalRates } from "../../broker/registry/refusals.ts";
import { encodeTokenRequest } from "../../shared/ace.ts";
import { openChainCheck, type ChainedRow } from "../../shared/audit-chain.ts";
import { encodeScopeText, parsePermission } from "../../shared/scope.ts";
import {
  ACE,
  basic,
  cwtAssertion,
  furnish,
  makeDevice,
  makeKey,
  openFixture,
  type Call,
  type Device,
  type Fixture,
} from "./fixture.ts";

const ADMIN = { authorization: "Bearer admin-key" };
const form = "application/x-www-form-urlencoded";
let at: Fixture;
let secret: string;
let pi: Device;
beforeAll(async () => {
  at = await openFixture();
  ({ secret } = furnish(at.registry));
  pi = await makeDevice(at, "plant.pi");
});
afterAll(() => at.close());

/** The row of the newest refusal, by the id that the log has. */
const newest = (): unknown => {
  const id = at.lines.findLast(({ msg }) => msg === "refused" || msg === "failed")!["id"] as string;
  return findRefusal(at.registry, id);
};

const client = `grant_type=client_credentials&client_id=plant.board&client_secret=`;
/** A key that the authority knows nothing of. */
const foreign = { id: "plant.pi", ...makeKey(), cert: "", serial: "" };
const asBoard = (): Record<string, string> => basic("plant.board", secret);

describe("a refusal is a row", () => {
  it.each<[what: string, path: string, call: () => Call, row: object]>([
    [
      "of a secret that is wrong, with whom the stranger claims to be",
      "/token",
      () => ({ type: form, body: `${client}wrong` }),
      {
        event: "token.refused",
        actor: "stranger",
        project: "plant",
        reason: "client.secret",
        facts: { claimed: "plant.board" },
      },
    ],
    [
      "the same with Basic, also where the project has no such client",
      "/get-access-token?client_secret=hidden",
      () => ({ type: form, body: "grant_type=client_credentials", headers: basic("plant.nobody", "x") }),
      {
        event: "token.refused",
        actor: "stranger",
        project: "plant",
        reason: "client.unknown",
        facts: { claimed: "plant.nobody", path: "/get-access-token" },
      },
    ],
    [
      "of an assertion in CBOR that another key signed",
      "/token",
      () => ({ type: ACE, body: encodeTokenRequest({ clientAssertion: cwtAssertion(foreign, at.clock.now) }) }),
      { actor: "stranger", project: "plant", reason: "assertion.signature", facts: { claimed: "plant.pi" } },
    ],
    [
      "of an audience that nobody has, by a client that has proven itself",
      "/token",
      () => ({ type: form, body: "grant_type=client_credentials&audience=plant.none", headers: asBoard() }),
      {
        event: "token.refused",
        actor: "plant.board",
        subject: "plant.board",
        project: "plant",
        reason: "request.audience",
        facts: { audience: "plant.none" },
      },
    ],
    [
      "of a scope, with what was asked for",
      "/token",
      () => ({
        type: form,
        body: `grant_type=client_credentials&audience=plant.open&scope=${encodeScopeText([parsePermission("pub:o/x")])}`,
        headers: asBoard(),
      }),
      { actor: "plant.board", reason: "request.scope", facts: { audience: "plant.open", asked: ["pub:o/x"] } },
    ],
    [
      "of a token that is another's",
      "/revoke",
      () => ({ type: form, body: "token=x", headers: basic("plant.board", "x") }),
      { event: "request.refused", actor: "stranger", reason: "client.secret", facts: { path: "/revoke" } },
    ],
    [
      "of a path under /v1, by a stranger",
      "/v1/projects/plant/clients?key=hidden",
      () => ({ headers: { authorization: "Bearer no-key" } }),
      {
        event: "request.refused",
        actor: "stranger",
        project: "plant",
        reason: "admin.key",
        facts: { method: "GET", path: "/v1/projects/plant/clients", detail: "another key" },
      },
    ],
    [
      "of a field, by the administrator",
      "/v1/projects",
      () => ({ type: "application/json", body: "{}", headers: ADMIN }),
      { actor: "admin", project: undefined, reason: "registry.invalid", facts: { method: "POST" } },
    ],
    [
      "of who claims a project that is not there, and not of that project",
      "/token",
      () => ({ type: form, body: "grant_type=client_credentials", headers: basic("nowhere.nobody", "x") }),
      { actor: "stranger", project: undefined, reason: "client.unknown", facts: { claimed: "nowhere.nobody" } },
    ],
    [
      "of a project that is not there, and not of that project",
      "/v1/projects/nowhere/apis",
      () => ({ headers: ADMIN }),
      { actor: "admin", project: undefined, reason: "registry.not-found" },
    ],
    [
      "of EST, whose password is a ticket",
      "/.well-known/est/simpleenroll",
      () => ({ type: "application/pkcs10", body: "AAAA", headers: basic("plant.pi", "hidden") }),
      { actor: "stranger", reason: "ticket.malformed", facts: { claimed: "plant.pi" } },
    ],
    [
      "of the list of revoked tokens, by a client that has proven itself",
      "/revoke/trl?diff=hidden",
      () => ({ as: pi }),
      { actor: "plant.pi", reason: "list.parameter", facts: { path: "/revoke/trl" } },
    ],
    [
      "of a body that is too large",
      "/token",
      () => ({ type: form, body: "x".repeat(20_000) }),
      { reason: "request.too-large" },
    ],
    ["of a media type", "/token", () => ({ type: "text/plain", body: "x" }), { reason: "request.media-type" }],
    ["of a method", "/token", () => ({ method: "DELETE" }), { reason: "request.method" }],
    ["of a body that is none", "/token", () => ({ type: form, body: "%" }), { reason: "request.malformed" }],
    [
      "of a path that there is not, with no part of it that could be a secret",
      `/none/${"s".repeat(43)}?${"s".repeat(43)}`,
      () => ({}),
      { reason: "request.not-found", facts: { path: `/none/${"s".repeat(8)}…` } },
    ],
  ])("%s", async (_, path, call, row) => {
    const given = await at.call(path, call());
    expect(given.status).toBeGreaterThanOrEqual(400);
    const found = newest();
    expect(found).toMatchObject(row);
    expect(found).toMatchObject({
      refusalId: expect.any(String),
      facts: { address: expect.stringMatching(/127\.0\.0\.1$/) },
    });
    expect(JSON.stringify(found)).not.toMatch(/hidden|ssssssssss|no-key/);
    expect(JSON.stringify(found)).not.toContain(secret);
  });

  it("of a client that is disabled is its own", async () => {
    const board = (enabled: boolean): Promise<unknown> =>
      at.call("/v1/projects/plant/clients/board", {
        method: "PATCH",
        type: "application/json",
        body: JSON.stringify({ enabled }),
        headers: ADMIN,
      });
    await board(false);
    await at.call("/v1/self", { headers: asBoard() });
    expect(newest()).toMatchObject({ actor: "plant.board", project: "plant", reason: "client.disabled" });
    await board(true);
  });

  it("that is there before its id is told", async () => {
    const { body } = await at.call("/v1/keys");
    const { id } = JSON.parse(body.toString()) as { id: string };
    expect(findRefusal(at.registry, id)).toMatchObject({ reason: "admin.key" });
  });

  it("of whoever closes the connection before the answer disturbs nobody", async () => {
    const { port } = at.authority;
    await new Promise<void>((resolve) => {
      const outgoing = httpsRequest({ host: "localhost", port, family: 4, path: "/v1/keys", ca: at.ca.caPem });
      outgoing.on("error", () => resolve());
      outgoing.on("finish", () => outgoing.destroy(new Error("gone")));
      outgoing.end();
    });
    expect((await at.call("/healthz")).status).toBe(200);
  });
});

describe("the log over HTTP", () => {
  const ask = async (query: string): Promise<{ status: number; items: ChainedRow[]; next?: string }> => {
    const { status, body } = await at.call(`/v1/audit${query}`, { headers: ADMIN });
    return { status, ...(JSON.parse(body.toString()) as { items: ChainedRow[] }) };
  };

  it("is read from the first row to the last, page by page, and is a chain", async () => {
    const check = openChainCheck();
    let pages = 0;
    for (let after: string | undefined = "0"; after !== undefined; pages++) {
      const page: Awaited<ReturnType<typeof ask>> = await ask(`?limit=7&after=${after}`);
      expect(page.items.map((row) => check.take(row))).toEqual(page.items.map(() => undefined));
      after = page.next;
    }
    expect(pages).toBe(Math.ceil(check.head.seq / 7));
    expect((await ask(`?after=${check.head.seq}`)).items).toEqual([]);
    const [newestRow] = (await ask("?before=999999999999999&limit=1")).items;
    expect(newestRow).toMatchObject(check.head);
  });

  it("of one project is read page by page as well, newest first", async () => {
    const seqs: number[] = [];
    let pages = 0;
    for (let before = ""; ; pages++) {
      const { body } = await at.call(`/v1/projects/plant/audit?limit=3${before}`, { headers: ADMIN });
      const { items, next } = JSON.parse(body.toString()) as { items: { seq: number }[]; next?: string };
      seqs.push(...items.map(({ seq }) => seq));
      if (next === undefined) break;
      expect(items).toHaveLength(3);
      before = `&before=${next}`;
    }
    const all = at.registry.db.prepare(`SELECT seq FROM audit WHERE project = 'plant' ORDER BY seq DESC`).pluck().all();
    expect(seqs).toEqual(all);
    expect(pages).toBe(Math.ceil(all.length / 3) - 1);
  });

  it("has pages of bounded size, whatever is in a row", async () => {
    const fixture = await openFixture();
    const before = fixture.registry.db.prepare("SELECT count(*) FROM audit").pluck().get() as number;
    for (let n = 0; n < 6; n++) {
      fixture.registry.append(() =>
        audit(fixture.registry, { event: "thing.made", actor: "admin", facts: { n: "x".repeat(1_500_000) } }),
      );
    }
    const sizes: number[] = [];
    for (let after: string | undefined = "0"; after !== undefined;) {
      const { body } = await fixture.call(`/v1/audit?limit=1000&after=${after}`, { headers: ADMIN });
      const page = JSON.parse(body.toString()) as { items: ChainedRow[]; next?: string };
      sizes.push(page.items.length);
      expect(body.length).toBeLessThan(5 * 1024 * 1024);
      after = page.next;
    }
    expect(sizes).toEqual([before + 2, 2, 2]);
    await fixture.close();
  });

  it.each(["?after=-1", "?after=x", "?after=1&before=5", "?limit=0", "?more=1"])("refuses %s", async (query) => {
    const { status } = await ask(query);
    expect([status, at.reason()]).toEqual([422, "registry.invalid"]);
  });

  it("is for the holder of the admin key", async () => {
    for (const path of ["/v1/audit", "/v1/refusals/abc", "/v1/status"]) {
      expect([(await at.call(path)).status, at.reason()]).toEqual([401, "admin.key"]);
    }
  });

  it("tells how things are", async () => {
    const { body } = await at.call("/v1/status", { headers: ADMIN });
    expect(JSON.parse(body.toString())).toEqual({
      issuer: "https://postern.test",
      time: at.clock.now,
      brokers: at.brokers,
      registration: "invite",
      mail: "log",
      storage: { writable: true },
    });
  });
});

it("says how things are where mails are sent", async () => {
  const fixture = await openFixture({}, undefined, ":memory:", {
    registration: "closed",
    sendMail: () => undefined,
  });
  const { body } = await fixture.call("/v1/status", { headers: ADMIN });
  expect(JSON.parse(body.toString())).toMatchObject({ registration: "closed", mail: "smtp" });
  await fixture.close();
});

describe("a flood of refusals", () => {
  const count = (fixture: Fixture, where: string): unknown =>
    fixture.registry.db.prepare(`SELECT count(*) FROM audit WHERE ${where}`).pluck().get();

  it("by a stranger is so many rows, and each of them is answered as ever", async () => {
    const fixture = await openFixture();
    const statuses = await Promise.all(
      Array.from({ length: 300 }, async () => (await fixture.call("/v1/keys")).status),
    );
    expect(new Set(statuses)).toEqual(new Set([401]));
    expect(count(fixture, "reason = 'admin.key'")).toBe(refusalRates.strangers.one.burst);
    // others find room all the same
    expect((await fixture.call("/v1/projects/none", { headers: ADMIN })).status).toBe(404);
    expect(count(fixture, "reason IS NOT NULL")).toBe(refusalRates.strangers.one.burst + 1);
    await fixture.close();
  });

  it("where nothing can be written is refused as ever, and says that nothing can be written", async () => {
    const fixture = await openFixture();
    const { db } = fixture.registry;
    db.pragma(`max_page_count = ${db.pragma("page_count", { simple: true }) as number}`);
    const statuses = await Promise.all(
      Array.from({ length: 40 }, async () => (await fixture.call(`/v1/${"x/".repeat(90)}`, { headers: ADMIN })).status),
    );
    expect(new Set(statuses)).toEqual(new Set([404]));
    const refusals = count(fixture, "reason IS NOT NULL") as number;
    expect(refusals).toBeLessThan(40);
    db.pragma("query_only = ON");
    const { body } = await fixture.call("/v1/status", { headers: ADMIN });
    expect(JSON.parse(body.toString())).toMatchObject({ storage: { writable: false } });
    expect((await fixture.call("/v1/keys")).status).toBe(401);
    db.pragma("query_only = OFF");
    db.pragma("max_page_count = 100000");
    await fixture.close();
  });
});
