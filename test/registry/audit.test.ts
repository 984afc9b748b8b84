/** The audit log on disk: one chain, whatever was undone on the way; and how many refusals get into it. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { audit, findRefusal, listAudit, readChain } from "../../broker/registry/audit.ts";
import { migrations } from "../../broker/registry/migrations.ts";
import { createClient } from "../../broker/registry/clients.ts";
import { leftOutMilliseconds, recordRefusal, refusalRates, type Refused } from "../../broker/registry/refusals.ts";
import type { Registry } from "../../broker/registry/registry.ts";
import { openFile } from "../../broker/sqlite/database.ts";
import { openChainCheck, type ChainFault } from "../../shared/audit-chain.ts";
import { Refusal, type Reason } from "../../shared/refusal.ts";
import { NOW, openFarm, openFixture } from "./fixture.ts";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "postern-audit-"));
});
afterEach(() => {
  vi.useRealTimers();
  rmSync(dir, { recursive: true });
});

/** The first fault of the log of a registry, and how many rows there are before it. */
function verify(r: Registry): { fault: ChainFault | undefined; rows: number } {
  const check = openChainCheck();
  for (let after = 0; ;) {
    const { rows, more } = readChain(r, { after, limit: 100, bytes: 1e9 });
    for (const row of rows) {
      const fault = check.take(row);
      if (fault !== undefined) return { fault, rows: check.head.seq };
    }
    if (!more) return { fault: undefined, rows: check.head.seq };
    after = rows.at(-1)!.seq;
  }
}

const events = (r: Registry): string[] =>
  readChain(r, { after: 0, limit: 10_000, bytes: 1e9 }).rows.map(({ event }) => event);

describe("the chain", () => {
  it("is kept by everything that is written, without a gap", () => {
    const { r } = openFarm();
    createClient(r, { project: "farm", name: "pi", kind: "device", roles: ["sensor"] });
    expect(events(r)).toEqual(["project.created", "api.created", "role.created", "client.created"]);
    expect(verify(r)).toEqual({ fault: undefined, rows: 4 });
  });

  it("holds names as they are read again: cut, and without half a character", () => {
    const { r } = openFixture();
    audit(r, { event: "a.b", actor: `${"x".repeat(159)}\u{1f600}`, subject: "\ud800.x", facts: { half: "\udc00" } });
    audit(r, { event: "a.b", actor: "é\u0000 \u2028", subject: `${"p".repeat(300)}.x` });
    expect(verify(r)).toEqual({ fault: undefined, rows: 2 });
    const [first] = readChain(r, { after: 0, limit: 1, bytes: 1e9 }).rows;
    expect(first).toMatchObject({
      actor: `${"x".repeat(159)}\ufffd`,
      subject: "\ufffd.x",
      facts: '{"half":"\\udc00"}',
    });
  });

  it("is whole after any mixture of work that is done and work that is undone", async () => {
    // how a piece of work ends: before or after its row, by a throw or well; alone, nested, or sharing a transaction
    const piece = fc.record({
      how: fc.constantFrom("change", "append", "soon", "nested", "caught"),
      end: fc.constantFrom("well", "before", "after", "rollback"),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { maxLength: 12 }), async (pieces) => {
        const { r } = openFixture();
        const done: string[] = [];
        const outcomes: Promise<unknown>[] = [];
        for (const [index, { how, end }] of pieces.entries()) {
          const event = `piece.${index}`;
          const work = (): void => {
            if (end === "before") throw new Error("undone");
            audit(r, { event, actor: "x" });
            if (end === "rollback") r.db.exec("ROLLBACK");
            if (end !== "well") throw new Error("undone");
          };
          if (how === "soon") {
            outcomes.push(r.appendSoon(() => r.append(work)).then(() => done.push(event)));
            continue;
          }
          try {
            if (how === "change") r.change(work);
            else if (how === "append") r.append(work);
            else if (how === "nested") r.change(() => r.append(work));
            else {
              // caught within: the outer one must not be committed either
              r.change(() => {
                audit(r, { event: `${event}.outer`, actor: "x" });
                try {
                  r.append(work);
                } catch {
                  // goes on
                }
              });
              done.push(`${event}.outer`);
            }
            done.push(event);
          } catch {
            // undone
          }
        }
        await Promise.allSettled(outcomes);
        audit(r, { event: "last", actor: "x" });
        expect(verify(r)).toEqual({ fault: undefined, rows: done.length + 1 });
        expect(events(r).toSorted()).toEqual([...done, "last"].toSorted());
        r.close();
      }),
      { numRuns: 300 },
    );
  });

  it.each([`UPDATE audit SET actor = 'nobody' WHERE seq = 2`, `DELETE FROM audit WHERE seq = 2`, `DELETE FROM audit`])(
    "is not changed by %s",
    (sql) => {
      const { r } = openFarm();
      expect(() => r.db.exec(sql)).toThrow("the audit log is append-only");
      expect(verify(r)).toEqual({ fault: undefined, rows: 3 });
    },
  );

  it.each<[what: string, sql: string, seq: number]>([
    ["one byte of a name", `UPDATE audit SET actor = 'adminn' WHERE seq = 2`, 2],
    ["white space in the facts", `UPDATE audit SET facts = replace(facts, ':', ': ') WHERE seq = 2`, 2],
    ["a second", `UPDATE audit SET at = at + 1 WHERE seq = 2`, 2],
    ["nothing for null", `UPDATE audit SET reason = '' WHERE seq = 2`, 2],
    ["a byte of a hash", `UPDATE audit SET hash = CAST(x'00' || substr(hash, 2) AS BLOB) WHERE seq = 2`, 2],
    ["a row that is gone", `DELETE FROM audit WHERE seq = 2`, 2],
    ["two rows exchanged", `UPDATE audit SET seq = 9 WHERE seq = 2; UPDATE audit SET seq = 2 WHERE seq = 3`, 2],
    ["a row put in", `INSERT INTO audit (seq, at, event, actor) VALUES (4, 1, 'x.y', 'admin')`, 4],
  ])("shows %s that was changed in the file", (_, sql, seq) => {
    const { r } = openFarm();
    r.db.exec(`DROP TRIGGER audit_is_not_changed; DROP TRIGGER audit_is_not_deleted; ${sql}`);
    audit(r, { event: "later.done", actor: "x" });
    expect(verify(r)).toMatchObject({ fault: { seq }, rows: seq - 1 });
  });

  it("is read in parts of so many rows and so many bytes", () => {
    const { r } = openFixture();
    for (let n = 0; n < 5; n++) audit(r, { event: "a.b", actor: "x", facts: { text: "y".repeat(1000) } });
    const seqs = (after: number, limit: number, bytes: number) => {
      const { rows, more } = readChain(r, { after, limit, bytes });
      return [rows.map(({ seq }) => seq), more];
    };
    expect(seqs(0, 5, 1e9)).toEqual([[1, 2, 3, 4, 5], false]);
    expect(seqs(0, 4, 1e9)).toEqual([[1, 2, 3, 4], true]);
    expect(seqs(1, 4, 4_000)).toEqual([[2, 3], true]);
    expect(seqs(3, 4, 1)).toEqual([[4], true]);
    expect(seqs(5, 4, 1e9)).toEqual([[], false]);
  });
});

describe("a log from before there was a chain", () => {
  const rows = 2_500;

  /** A file of the schema before this one, with rows in its log. */
  function openOld(): string {
    const file = join(dir, "old.db");
    const db = openFile(file, { migrations: migrations.slice(0, 2) });
    const insert = db.prepare(`INSERT INTO audit (at, event, actor, subject, facts) VALUES (?, ?, ?, ?, ?)`);
    db.transaction(() => {
      for (let n = 1; n <= rows; n++) insert.run(NOW, "client.created", "admin", `farm.pi-${n}`, `{"n":${n}}`);
    })();
    db.close();
    return file;
  }

  it("is sealed when it is opened, once, and goes on", () => {
    const file = openOld();
    const first = openFixture(file);
    expect(verify(first.r)).toEqual({ fault: undefined, rows });
    createdAndClosed(first.r);
    const again = openFixture(file);
    expect(verify(again.r)).toEqual({ fault: undefined, rows: rows + 1 });
    expect(() => again.r.db.exec(`UPDATE audit SET actor = 'x' WHERE seq = 1`)).toThrow("append-only");
    again.r.close();
  });

  it("is not sealed again where somebody has taken hashes away", () => {
    const file = openOld();
    openFixture(file).r.close();
    const db = openFile(file, { migrations });
    db.exec(`DROP TRIGGER audit_is_not_changed; UPDATE audit SET hash = NULL, actor = 'x' WHERE seq = 7`);
    db.close();
    const { r } = openFixture(file);
    expect(verify(r)).toMatchObject({ fault: { seq: 7 } });
    r.close();
  });

  function createdAndClosed(r: Registry): void {
    audit(r, { event: "later.done", actor: "x" });
    r.close();
  }
});

describe("refusals", () => {
  const refused = (given: Partial<Refused> & { reason?: Reason } = {}): Refused => ({
    event: "request.refused",
    refusal: new Refusal(given.reason ?? "client.secret"),
    address: "10.0.0.1",
    ...given,
  });
  const { strangers, known } = refusalRates;
  /** How many of so many are written. */
  async function record(r: Registry, count: number, make: (n: number) => Refused): Promise<number> {
    const all = Array.from({ length: count }, (_, n) => recordRefusal(r, make(n)));
    const written = all.filter((one) => one !== undefined);
    await Promise.all(written);
    return written.length;
  }

  it("are rows that are found by their ids", async () => {
    const { r } = openFarm();
    createClient(r, { project: "farm", name: "pi", kind: "device" });
    const one = refused({ claimed: () => "farm.pi", facts: () => ({ path: "/token" }) });
    await recordRefusal(r, one);
    expect(findRefusal(r, one.refusal.id)).toEqual({
      seq: 5,
      at: NOW,
      event: "request.refused",
      actor: "stranger",
      project: "farm",
      subject: undefined,
      reason: "client.secret",
      refusalId: one.refusal.id,
      facts: { path: "/token", claimed: "farm.pi" },
    });
    expect(findRefusal(r, "another")).toBeUndefined();
    expect(verify(r).fault).toBeUndefined();
  });

  it.each<[what: string, given: Partial<Refused>, project: string | undefined]>([
    ["a client that has proven itself", { actor: "farm.pi", subject: "farm.pi" }, "farm"],
    ["an api that has proven itself", { actor: "farm/telemetry", subject: "farm/telemetry" }, "farm"],
    ["a developer who asked about a project", { actor: "developer:dev_1", project: "farm" }, "farm"],
    ["somebody who asked about a project that is not there", { actor: "admin", project: "zoo" }, undefined],
    ["a stranger who claims to be a client", { claimed: () => "farm.pi" }, "farm"],
    ["a stranger who claims to be an api", { claimed: () => "farm/telemetry" }, "farm"],
    ["a stranger who claims to be a client that is not there", { claimed: () => "farm.none" }, "farm"],
    ["a stranger who claims to be an api that is not there", { claimed: () => "farm/none" }, "farm"],
    ["a stranger who claims a project that is not there", { claimed: () => "zoo.pi" }, undefined],
    ["a stranger who claims a project in capitals", { claimed: () => "FARM.pi" }, undefined],
    ["a stranger who claims nothing", { claimed: () => undefined }, undefined],
  ])("of %s are of the project that they are about", async (_, given, project) => {
    const { r } = openFarm();
    createClient(r, { project: "farm", name: "pi", kind: "device" });
    const one = refused(given);
    await recordRefusal(r, one);
    expect(findRefusal(r, one.refusal.id)?.project).toBe(project);
    expect(listAudit(r, { project: "farm", limit: 1 })[0]?.refusalId === one.refusal.id).toBe(project === "farm");
  });

  it("of strangers are so many of one address, so many in all, and more as time goes by", async () => {
    const { r, clock } = openFixture();
    expect(await record(r, 300, () => refused())).toBe(strangers.one.burst);
    expect(await record(r, 300, (n) => refused({ address: `10.0.1.${n}` }))).toBe(
      strangers.all.burst - strangers.one.burst,
    );
    clock.now += 10;
    expect(await record(r, 300, () => refused())).toBe(10 * strangers.one.perSecond);
    expect(await record(r, 300, (n) => refused({ address: `10.0.2.${n}` }))).toBe(
      10 * (strangers.all.perSecond - strangers.one.perSecond),
    );
    clock.now -= 3600;
    expect(await record(r, 10, () => refused())).toBe(0);
  });

  it("of one client do not take the place of others, nor do strangers", async () => {
    const { r } = openFixture();
    const of = (actor: string) => () => refused({ actor });
    expect(await record(r, 300, (n) => refused({ address: `10.0.1.${n}` }))).toBe(strangers.all.burst);
    expect(await record(r, 300, of("farm.a"))).toBe(known.one.burst);
    expect(await record(r, 300, of("farm.b"))).toBe(known.one.burst);
    expect(await record(r, 3_000, (n) => refused({ actor: `farm.c${n}` }))).toBe(
      known.all.burst / 2 - 2 * known.one.burst,
    );
  });

  it.each<[what: string, house: (n: number) => string]>([
    ["the clients and apis of one project", (n) => `evil${n % 2 === 0 ? "." : "/"}c${n}`],
    ["a project that is called like the administrator", (n) => `admin.c${n}`],
    ["the keys of one developer", (n) => `developer:dev_1/key_${n}`],
  ])("of %s leave half to all others", async (_, house) => {
    const { r } = openFixture();
    expect(await record(r, 3_000, (n) => refused({ actor: house(n) }))).toBe(known.all.burst / 2);
    const others = ["home.pi", "home/web", "developer:dev_2", "admin", "broker:edge"];
    for (const actor of others) expect(await record(r, 20, () => refused({ actor }))).toBe(20);
  });

  it("of a developer about the project of another are not of that one's share", async () => {
    const { r } = openFixture();
    await record(r, 3_000, (n) => refused({ actor: `developer:dev_1/key_${n}`, project: "home", subject: "home.pi" }));
    expect(await record(r, 100, () => refused({ actor: "home.pi" }))).toBe(100);
  });

  it("of many projects leave some to the next, at once and as time goes by", async () => {
    const { r, clock } = openFixture();
    const flood = (): Promise<number> => record(r, 10_000, (n) => refused({ actor: `evil${n % 9}.c${n % 900}` }));
    // nine that take all they can and what is left are ten equal shares
    expect(await flood()).toBe(0.9 * known.all.burst);
    expect(await record(r, 50, () => refused({ actor: "home.pi" }))).toBe(50);
    for (let hour = 0; hour < 10; hour++) {
      clock.now += 10;
      await flood();
      expect(await record(r, 5, () => refused({ actor: "home.pi" }))).toBe(5);
    }
    // what has come back is nobody's any more
    clock.now += known.all.burst / known.all.perSecond;
    expect(await record(r, 3_000, (n) => refused({ actor: `evil0.d${n}` }))).toBe(known.all.burst / 2);
  });

  it("that are left out are counted in one row, after a while", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const { r } = openFixture();
    await record(r, strangers.one.burst, () => refused());
    await record(r, 20, (n) => refused({ reason: n < 15 ? "client.unknown" : "credential.missing" }));
    expect(events(r)).not.toContain("refusals.left-out");
    vi.advanceTimersByTime(leftOutMilliseconds);
    const rows = readChain(r, { after: 0, limit: 1000, bytes: 1e9 }).rows.filter((row) => row.actor === "postern");
    expect(rows).toMatchObject([
      { event: "refusals.left-out", facts: '{"count":20,"reasons":{"client.unknown":15,"credential.missing":5}}' },
    ]);
    vi.advanceTimersByTime(10 * leftOutMilliseconds);
    expect(events(r).filter((event) => event === "refusals.left-out")).toHaveLength(1);
    expect(verify(r).fault).toBeUndefined();
  });

  it("that are left out are counted when the registry is closed", async () => {
    const file = join(dir, "closed.db");
    const { r } = openFixture(file);
    await record(r, strangers.one.burst + 1, () => refused());
    r.close();
    expect(recordRefusal(r, refused())).toBeUndefined();
    const again = openFixture(file);
    expect(events(again.r).at(-1)).toBe("refusals.left-out");
    again.r.close();
  });

  it("that cannot be written disturb nobody, and are counted once they can", async () => {
    const { r } = openFixture(join(dir, "full.db"));
    const pages = r.db.pragma("page_count", { simple: true }) as number;
    r.db.pragma(`max_page_count = ${pages}`);
    // each was to be written, and none rejects
    expect(await record(r, 40, () => refused({ facts: () => ({ text: "x".repeat(4000) }) }))).toBe(40);
    expect(events(r)).toEqual([]);
    r.db.pragma("max_page_count = 100000");
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    await record(r, 20, () => refused());
    r.close();
    const again = openFixture(join(dir, "full.db"));
    const last = readChain(again.r, { after: 0, limit: 1000, bytes: 1e9 }).rows.at(-1);
    expect(JSON.parse(last!.facts!)).toEqual({ count: 50, reasons: { "client.secret": 50 } });
    expect(verify(again.r)).toEqual({ fault: undefined, rows: 11 });
    again.r.close();
  });
});
