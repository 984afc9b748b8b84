/**
 * A registry of the version before accounts, opened by this one: nothing that it held is lost or means something else, the
 * authority goes on with it, and an end in the middle leaves the old schema or the new one.
 */
import { once } from "node:events";
import { fork } from "node:child_process";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { spendAssertion } from "../../broker/registry/assertions.ts";
import { liveCertificateKeys } from "../../broker/registry/certificates.ts";
import { findIssuedByHash, findIssuedToken, nextTokenId } from "../../broker/registry/issued.ts";
import { migrations } from "../../broker/registry/migrations.ts";
import { openRegistry } from "../../broker/registry/open-registry.ts";
import { checkSecret, listSecrets } from "../../broker/registry/secrets.ts";
import { foreseeClient } from "../../broker/registry/tickets.ts";
import { Sqlite } from "../../broker/sqlite/sqlite.ts";
import { openFixture as openAuthority, type Fixture as Authority } from "../authority/fixture.ts";
import { postern } from "../cli/transcript.ts";
import { listen, refusal } from "./fixture.ts";
import { fillLog, makeOldRegistry, type Old } from "./old-registry.ts";

const form = "application/x-www-form-urlencoded";
const now = Math.floor(Date.now() / 1000);

let dir: string;
/** As the old version left it, never opened. */
let file: string;
let old: Old;
beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), "postern-migration-"));
  file = join(dir, "old.db");
  old = await makeOldRegistry(file, now);
});
afterAll(() => rmSync(dir, { recursive: true }));

function copy(name: string): string {
  const to = join(dir, `${name}.db`);
  copyFileSync(file, to);
  return to;
}

/** Every table, row by row; blobs as hex. */
function readAll(path: string): Record<string, Record<string, unknown>[]> {
  const db = new Sqlite(path, { readonly: true });
  const tables = db
    .prepare(`SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name`)
    .pluck()
    .all() as string[];
  const plain = (value: unknown): unknown => (Buffer.isBuffer(value) ? value.toString("hex") : value);
  const read = (table: string): Record<string, unknown>[] =>
    (db.prepare(`SELECT * FROM ${table}`).all() as object[]).map((row) =>
      Object.fromEntries(Object.entries(row).map(([column, value]) => [column, plain(value)])),
    );
  const all = Object.fromEntries(tables.map((table) => [table, read(table)]));
  db.close();
  return all;
}

/** Columns that the step takes away or adds. */
const changed: Readonly<Record<string, { readonly gone?: readonly string[]; readonly come?: readonly string[] }>> = {
  client: { gone: ["secret_hash"] },
  audit: { come: ["hash"] },
  assertion: { come: ["number"] },
};

/** Opens and closes, and gives back what a gate was told. */
function openAndClose(path: string): ReturnType<typeof listen> {
  const told = listen();
  openRegistry({ file: path, sink: told, nowSeconds: () => now }).close();
  return told;
}

describe("a registry of schema 2, opened", () => {
  it("holds something in every table that there was", () => {
    const before = readAll(file);
    expect(Object.entries(before).filter(([, rows]) => rows.length === 0)).toEqual([]);
    expect(Object.keys(before)).toHaveLength(23);
  });

  it("holds every row that it held, each value the same, and only what is new beside it", () => {
    const path = copy("rows");
    openAndClose(path);
    const before = readAll(file);
    const after = readAll(path);
    for (const [table, rows] of Object.entries(before)) {
      const { gone = [], come = [] } = changed[table] ?? {};
      const without = (all: readonly object[], names: readonly string[]): object[] =>
        all.map((row) => Object.fromEntries(Object.entries(row).filter(([name]) => !names.includes(name))));
      const kept = without(after[table]!, come);
      // the opening is a run of its own
      if (table === "run") kept.pop();
      expect([table, kept]).toEqual([table, without(rows, gone)]);
    }
    const added = Object.keys(after).filter((table) => before[table] === undefined);
    expect(added.toSorted()).toEqual(
      ["account_code", "api_key", "developer", "invitation", "login", "member", "public_key", "secret"].toSorted(),
    );
    expect(added.filter((table) => after[table]!.length > 0)).toEqual(["secret"]);
  });

  it("is whole: references, structure, indexes", () => {
    const path = copy("whole");
    openAndClose(path);
    const db = new Sqlite(path);
    expect(db.pragma("foreign_key_check")).toEqual([]);
    expect(db.pragma("integrity_check")).toEqual([{ integrity_check: "ok" }]);
    expect(db.pragma("user_version", { simple: true })).toBe(migrations.length);
    const fresh = new Sqlite(":memory:");
    for (const sql of migrations) fresh.exec(sql);
    const schema = `SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite%' ORDER BY name`;
    expect(db.prepare(schema).all()).toEqual(fresh.prepare(schema).all());
    db.close();
    fresh.close();
  });

  it("is changed by the first opening alone", () => {
    const path = copy("twice");
    openAndClose(path);
    const once = readAll(path);
    openAndClose(path);
    const twice = readAll(path);
    expect(twice["run"]).toHaveLength(once["run"]!.length + 1);
    expect({ ...twice, run: [] }).toEqual({ ...once, run: [] });
  });

  it("tells a gate what it told", () => {
    const told = openAndClose(copy("told"));
    expect([...told.keys.keys()]).toEqual(["k1"]);
    expect([...told.apis.keys()].toSorted()).toEqual(["farm.tele", "https://web.test"]);
    const clients = [...told.clients.values()].map(({ id, enabled, tokensAfter }) => [id, enabled, tokensAfter]);
    expect(clients).toEqual([
      ["farm.app", true, 0],
      ["farm.job", true, 0],
      ["farm.pi", true, 0],
      ["farm.shut", false, 5],
    ]);
    expect(told.tokens).toEqual(new Set([...old.tokens.revoked.hashes, ...old.tokens.shut.hashes]));
    expect(told.projects).toEqual(new Map([["shed", now - 500]]));
    expect(new Set([...told.certificates].map((name) => name.split(":")[1]))).toEqual(new Set(["a02", "1f"]));
  });

  it("knows what it knew of secrets, keys, tickets, assertions and tokens", () => {
    const r = openRegistry({ file: copy("known"), sink: listen(), nowSeconds: () => now });
    for (const client of ["job", "app", "shut"] as const) {
      const owner = { project: "farm", client };
      const [record, ...more] = listSecrets(r, owner);
      expect([record!.status, record!.expiresAt, record!.createdAt, more]).toEqual(["valid", null, now - 1000, []]);
      expect(record!.id).toMatch(/^[0-9a-f]{12}$/);
      expect(checkSecret(r, owner, old.secrets[client])).toBe(record!.id);
      expect(() => checkSecret(r, owner, old.secrets[client === "app" ? "job" : "app"])).toThrow(
        refusal("client.secret"),
      );
    }
    expect(listSecrets(r, { project: "farm", client: "gone" })).toEqual([]);
    expect(liveCertificateKeys(r, "farm.pi", now).map(({ thumbprint }) => thumbprint)).toContain(old.key.thumbprint);
    expect(foreseeClient(r, "a1", old.key)).toBe("farm.pi");
    expect(() => foreseeClient(r, "a3", old.key)).toThrow(refusal("ticket.revoked"));
    expect(() => spendAssertion(r, "farm.pi", old.assertionId, now + 60)).toThrow(refusal("assertion.replayed"));
    for (const { text, hashes } of Object.values(old.tokens)) {
      const found = findIssuedToken(r, text);
      expect(found).toBeDefined();
      for (const hash of hashes) expect(findIssuedByHash(r, [hash]).get(hash)).toEqual(found);
    }
    // no number comes twice
    expect([...nextTokenId(r)]).toEqual([6]);
    r.close();
  });
});

describe("the authority on it", () => {
  let at: Authority;
  let env: Record<string, string>;
  beforeAll(async () => {
    at = await openAuthority({}, undefined, copy("served"));
    at.clock.now = now;
    const ca = join(dir, "ca.pem");
    writeFileSync(ca, at.ca.caPem);
    env = { POSTERN_URL: `https://localhost:${at.authority.port}`, POSTERN_KEY: "admin-key", POSTERN_CA: ca };
  });
  afterAll(() => at.close());

  const ask = async (client: "job" | "shut"): Promise<[number, unknown]> => {
    const fields = {
      grant_type: "client_credentials",
      client_id: `farm.${client}`,
      client_secret: old.secrets[client],
    };
    const body = new URLSearchParams({ ...fields, audience: "farm.tele" }).toString();
    const { status } = await at.call("/token", { type: form, body });
    return [status, status === 200 ? undefined : at.reason()];
  };
  const isActive = async (token: string): Promise<unknown> => {
    const headers = { authorization: "Bearer admin-key" };
    const answer = await at.call("/introspect", { type: form, body: `token=${token}`, headers });
    return (JSON.parse(answer.body.toString()) as { active: unknown }).active;
  };
  const revoke = async (tokens: readonly string[]): Promise<[number, unknown]> => {
    const headers = { authorization: "Bearer admin-key" };
    const body = JSON.stringify({ tokens });
    const answer = await at.call("/v1/revocations", { type: "application/json", body, headers });
    return [answer.status, JSON.parse(answer.body.toString())];
  };

  it("gives tokens for the old secrets, and none to a client that was disabled", async () => {
    expect(await ask("job")).toEqual([200, undefined]);
    expect(await ask("shut")).toEqual([401, "client.disabled"]);
  });

  it("says of old tokens what is true, and takes them back by text and by hash", async () => {
    const { jwt, cwt, revoked, late, shut } = old.tokens;
    const states = (): Promise<unknown[]> =>
      Promise.all([jwt, cwt, revoked, late, shut].map(({ text }) => isActive(text)));
    expect(await states()).toEqual([true, true, false, false, false]);
    expect(await revoke([jwt.text, cwt.hashes[0]!])).toEqual([200, expect.objectContaining({ tokens: 2 })]);
    expect(await revoke([jwt.hashes[1]!, revoked.text])).toEqual([200, expect.objectContaining({ tokens: 0 })]);
    expect(await revoke([late.hashes[0]!])).toEqual([404, expect.anything()]);
    expect(await states()).toEqual([false, false, false, false, false]);
  });

  it("has every old row in the chain, and goes on with it", async () => {
    const { stdout, exitCode } = await postern(["audit", "verify", "--json"], { environment: env });
    expect([exitCode, JSON.parse(stdout)]).toMatchObject([0, { ok: true }]);
    const exported = join(dir, "log.jsonl");
    expect(await postern(["audit", "export", exported], { environment: env })).toMatchObject({ exitCode: 0 });
    const rows = readFileSync(exported, "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as object);
    const before = readAll(file)["audit"]!;
    expect(rows.slice(0, before.length)).toMatchObject(before);
    expect(rows.length).toBeGreaterThan(before.length);
    const told = await postern(["explain", "7ZtZzH0BVFOD"], { environment: env });
    expect(told).toMatchObject({ exitCode: 0, stdout: expect.stringContaining("request.audience") as string });
  });
});

describe("kill -9 while it is opened for the first time", () => {
  const rows = 200_000;
  const program = fileURLToPath(new URL("open-registry.mjs", import.meta.url));
  let large: string;
  let wholeMs: number;

  /** Opens in a process; kills it after so long, or lets it end. */
  async function openElsewhere(path: string, killAfterMs?: number): Promise<boolean> {
    const child = fork(program, [path], { stdio: "ignore", execArgv: [] });
    const ended = once(child, "exit");
    await once(child, "message");
    const timer = killAfterMs === undefined ? undefined : setTimeout(() => child.kill("SIGKILL"), killAfterMs);
    const [code] = (await ended) as [number | null];
    clearTimeout(timer);
    return code === 0;
  }

  /** The version, and how many rows of the log have a hash. */
  function stateOf(path: string): [version: number, sealed: number, count: number] {
    const db = new Sqlite(path);
    const version = db.pragma("user_version", { simple: true }) as number;
    const count = db.prepare("SELECT count(*) FROM audit").pluck().get() as number;
    const sealed = version < 3 ? 0 : (db.prepare("SELECT count(hash) FROM audit").pluck().get() as number);
    expect(db.pragma("quick_check", { simple: true })).toBe("ok");
    db.close();
    return [version, sealed, count];
  }

  beforeAll(async () => {
    large = copy("large");
    fillLog(large, rows);
    const path = join(dir, "timed.db");
    copyFileSync(large, path);
    const startedAt = performance.now();
    await openElsewhere(path);
    wholeMs = performance.now() - startedAt;
    console.log(`${rows} rows of the log sealed in ${Math.round(wholeMs)} ms`);
  }, 180_000);

  it("leaves the old schema or the new one, the log sealed or not at all, and the next opening finishes it", async () => {
    const count = rows + 4;
    let cut = 0;
    for (const part of [0, 0.02, 0.1, 0.3, 0.5, 0.7]) {
      const path = join(dir, `cut-${part}.db`);
      copyFileSync(large, path);
      if (!(await openElsewhere(path, wholeMs * part))) cut++;
      const [version, sealed, found] = stateOf(path);
      expect([2, 3]).toContain(version);
      expect([0, count]).toContain(sealed);
      expect(found).toBe(count);
    }
    // else it was killed too late to show anything
    expect(cut).toBeGreaterThan(1);
    const last = join(dir, "cut-0.5.db");
    expect(await openElsewhere(last)).toBe(true);
    expect(stateOf(last)).toEqual([3, count, count]);
  });
}, 180_000);
