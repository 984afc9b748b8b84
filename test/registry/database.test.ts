import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { audit, listAudit } from "../../broker/registry/audit.ts";
import { spendAssertion } from "../../broker/registry/assertions.ts";
import { liveCertificateKeys, recordCertificate } from "../../broker/registry/certificates.ts";
import { createClient, getClient, listClients, setClientEnabled } from "../../broker/registry/clients.ts";
import { lockDirectory, openDatabase } from "../../broker/registry/database.ts";
import { createProject, listProjects } from "../../broker/registry/projects.ts";
import { activeSigner, ensureSigningKey, publishedKeys } from "../../broker/registry/signing-keys.ts";
import { createTicket, listTickets, redeemTicket } from "../../broker/registry/tickets.ts";
import { isWritable } from "../../broker/registry/trust-changes.ts";
import { verifyEs256 } from "../../shared/es256.ts";
import { refuse } from "../../shared/refusal.ts";
import { asText, refusal, newKey, NOW, openFarm, openFixture } from "./fixture.ts";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "postern-registry-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

describe("the file", () => {
  it("is readable by its owner alone, journal included", () => {
    const file = join(directory, "postern.db");
    const { r } = openFarm(file);
    for (const name of [file, `${file}-wal`, `${file}-shm`]) expect(statSync(name).mode & 0o777).toBe(0o600);
    r.close();
  });

  it("is narrowed where it was made wider before", () => {
    const file = join(directory, "postern.db");
    writeFileSync(file, "", { mode: 0o644 });
    openFixture(file).r.close();
    expect(statSync(file).mode & 0o777).toBe(0o600);
  });

  it("is guarded by a lock on its directory, which one process holds at a time", () => {
    const unlock = lockDirectory(directory);
    expect(() => lockDirectory(directory)).toThrow(refusal("registry.conflict"));
    unlock();
    lockDirectory(directory)();
  });

  it("is really written to by the question whether it can be", () => {
    const file = join(directory, "postern.db");
    const { r } = openFarm(file);
    const readRun = () => r.db.prepare("SELECT * FROM run").all();
    const before = readRun();
    r.db.pragma("wal_checkpoint(TRUNCATE)");
    expect(statSync(`${file}-wal`).size).toBe(0);
    expect(isWritable(r)).toBe(true);
    expect(statSync(`${file}-wal`).size).toBeGreaterThan(0);
    expect(readRun()).toEqual(before);
    r.close();
  });

  it("keeps references, and writes ahead", () => {
    const db = openDatabase(join(directory, "postern.db"));
    expect(db.pragma("foreign_keys", { simple: true })).toBe(1);
    expect(db.pragma("journal_mode", { simple: true })).toBe("wal");
    expect(db.pragma("synchronous", { simple: true })).toBe(1);
    db.close();
  });

  it("is refused when a newer version wrote it, and left as it is", () => {
    const file = join(directory, "postern.db");
    const db = openDatabase(file);
    db.pragma("user_version = 999");
    db.close();
    expect(() => openFixture(file)).toThrow(refusal("registry.invalid", "schema 999"));
    expect(() => openFixture(file)).toThrow(refusal("registry.invalid", "newer"));
  });

  it("is refused when it is something else", () => {
    const file = join(directory, "postern.db");
    writeFileSync(file, "this is not a database, and it is longer than a header of one hundred bytes ".repeat(20));
    expect(() => openFixture(file)).toThrow(refusal("registry.invalid", "not a database"));
    const other = join(directory, "other.db");
    const db = openDatabase(other);
    db.pragma("user_version = 0");
    db.close();
    expect(() => openFixture(other)).toThrow(refusal("registry.invalid", "something else"));
  });
});

it("opened again, the registry is what it was, and the sink hears of all of it", () => {
  const file = join(directory, "postern.db");
  const first = openFarm(file);
  ensureSigningKey(first.r);
  const { secret } = createTicket(first.r, { project: "farm", uses: 2, roles: ["sensor"] });
  const key = newKey();
  const { client } = redeemTicket(first.r, secret, key);
  const dates = { notBefore: NOW, notAfter: NOW + 1000 };
  recordCertificate(first.r, { serial: "0A", clientId: client.id, key, ...dates, der: new Uint8Array([1]) });
  createClient(first.r, { project: "farm", name: "off", kind: "device", roles: ["sensor"] });
  setClientEnabled(first.r, "farm.off", false);
  const before = {
    clients: listClients(first.r, "farm"),
    tickets: listTickets(first.r, "farm"),
    audit: listAudit(first.r, { project: "farm", limit: 100 }),
  };
  const signature = activeSigner(first.r).sign(new Uint8Array([7]));
  const kid = activeSigner(first.r).kid;
  first.r.close();

  const second = openFixture(file);
  expect(listClients(second.r, "farm")).toEqual(before.clients);
  expect(listTickets(second.r, "farm")).toEqual(before.tickets);
  expect(listAudit(second.r, { project: "farm", limit: 100 })).toEqual(before.audit);
  expect(before.audit.map(({ event }) => event)).toContain("certificate.issued");
  expect(liveCertificateKeys(second.r, client.id, NOW).map((k) => k.thumbprint)).toEqual([key.thumbprint]);
  ensureSigningKey(second.r);
  expect(publishedKeys(second.r).map((k) => k.kid)).toEqual([kid]);
  expect(verifyEs256(activeSigner(second.r).publicKey, new Uint8Array([7]), signature)).toBe(true);
  expect([...second.told.keys]).toEqual([...first.told.keys]);
  expect([...second.told.apis]).toEqual([...first.told.apis]);
  expect(new Map(second.told.clients)).toEqual(new Map(first.told.clients));
  expect(asText(second.told.clients.get("farm.off")?.grants)).toEqual(["sub:sites/off/down", "pub:sites/off/up/#"]);
  expect(second.told.clients.get("farm.off")?.enabled).toBe(false);
  second.r.close();
});

describe("a transaction", () => {
  it("undone, leaves nothing, tells nobody and is not remembered", () => {
    const { r, told } = openFarm();
    expect(() =>
      r.change(() => {
        createClient(r, { project: "farm", name: "one", kind: "device", roles: ["sensor"] });
        expect(getClient(r, "farm.one").name).toBe("one");
        refuse("internal");
      }),
    ).toThrow(refusal("internal"));
    expect(() => getClient(r, "farm.one")).toThrow(refusal("registry.not-found"));
    expect(told.clients.size).toBe(0);
    expect(listAudit(r, { project: "farm", limit: 9 }).map((row) => row.event)).not.toContain("client.created");
    createClient(r, { project: "farm", name: "one", kind: "device" });
    expect(told.clients.size).toBe(1);
  });

  it("tells after the commit", () => {
    const { r, told } = openFarm();
    r.change(() => {
      createClient(r, { project: "farm", name: "one", kind: "device" });
      expect(told.clients.size).toBe(0);
    });
    expect(told.clients.size).toBe(1);
  });

  it("does not commit when a part of it failed and was caught", () => {
    const { r } = openFarm();
    expect(() =>
      r.change(() => {
        createProject(r, "second");
        expect(() => createProject(r, "farm")).toThrow("registry.conflict");
      }),
    ).toThrow("a part of the transaction has failed");
    expect(listProjects(r).map((p) => p.slug)).toEqual(["farm"]);
  });

  it("is shared by what is appended in one turn, and a failure in it leaves the others alone", async () => {
    const { r } = openFarm();
    const id = Buffer.from("once");
    const [first, again, other] = await Promise.allSettled([
      r.appendSoon(() => r.append(() => spendAssertion(r, "farm.a", id, NOW + 9))),
      r.appendSoon(() =>
        r.append(() => {
          audit(r, { event: "half.done", actor: "x", subject: "farm.a" });
          spendAssertion(r, "farm.a", id, NOW + 9);
        }),
      ),
      r.appendSoon(() => {
        audit(r, { event: "whole.done", actor: "x", subject: "farm.a" });
        return r.db.inTransaction;
      }),
    ]);
    expect(first.status).toBe("fulfilled");
    expect(again).toMatchObject({ status: "rejected", reason: { reason: "assertion.replayed" } });
    expect(other).toEqual({ status: "fulfilled", value: true });
    expect(r.db.inTransaction).toBe(false);
    const events = listAudit(r, { project: "farm", limit: 2 }).map((row) => row.event);
    expect(events).toContain("whole.done");
    expect(events).not.toContain("half.done");
  });

  it("that is shared tells nobody of success when it cannot be committed", async () => {
    const { r } = openFarm();
    const appended = r.appendSoon(() => audit(r, { event: "lost", actor: "x", subject: "farm.a" }));
    const broken = r.appendSoon(() => r.db.exec("ROLLBACK"));
    const outcomes = await Promise.allSettled([appended, broken]);
    expect(outcomes.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    expect(listAudit(r, { project: "farm", limit: 9 }).map((row) => row.event)).not.toContain("lost");
    await expect(r.appendSoon(() => "next")).resolves.toBe("next");
  });

  it("that is shared changes nothing that is remembered", async () => {
    const { r } = openFarm();
    await expect(r.appendSoon(() => createProject(r, "second"))).rejects.toThrow(TypeError);
    expect(listProjects(r).map((p) => p.slug)).toEqual(["farm"]);
  });

  it("cannot wait", () => {
    const { r } = openFixture();
    expect(() => r.change(async () => createProject(r, "farm"))).toThrow(TypeError);
    expect(listProjects(r)).toEqual([]);
  });
});
