import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, unlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished, vi } from "vitest";
import { Checkpoints, type CheckpointLimits } from "../../broker/sqlite/checkpoints.ts";
import { openFile, type Database } from "../../broker/sqlite/database.ts";

const schema = { migrations: ["CREATE TABLE t (a BLOB) STRICT"] };

interface Opened {
  readonly db: Database;
  readonly file: string;
  readonly checkpoints: Checkpoints;
  readonly failures: unknown[];
}

function open(limits: CheckpointLimits, name?: string): Opened {
  const directory = mkdtempSync(join(tmpdir(), "postern-checkpoints-"));
  const file = name ?? join(directory, "some.db");
  const db = openFile(file, schema);
  const failures: unknown[] = [];
  const checkpoints = new Checkpoints(db, (error) => failures.push(error), limits);
  onTestFinished(() => {
    checkpoints.close();
    db.close();
    rmSync(directory, { recursive: true });
  });
  return { db, file, checkpoints, failures };
}

/** Commits so many pages, one by one. */
function write(
  { db, checkpoints }: Pick<Opened, "db"> & { checkpoints: Pick<Checkpoints, "committed"> },
  pages: number,
): void {
  const insert = db.prepare("INSERT INTO t VALUES (zeroblob(4000))");
  for (let i = 0; i < pages; i++) {
    insert.run();
    checkpoints.committed();
  }
}

/** Resolves when fewer pages than that are in the journal alone; nobody writes, so that all can be moved. */
async function moved({ db, checkpoints }: Opened, pages: number): Promise<void> {
  const isMoved = (): boolean => {
    checkpoints.committed();
    return journal(db).log - journal(db).checkpointed < pages;
  };
  await vi.waitUntil(isMoved, { timeout: 15_000, interval: 5 });
}

function journal(db: Database): { log: number; checkpointed: number } {
  return (db.pragma("wal_checkpoint(NOOP)") as { log: number; checkpointed: number }[])[0]!;
}

it("a journal that has grown is moved into the file while the main thread goes on, and again after that", async () => {
  const opened = open({ pages: 50, mostPages: 1_000_000 });
  for (let round = 1; round <= 3; round++) {
    write(opened, 100);
    await moved(opened, 50);
  }
  expect(opened.failures).toEqual([]);
});

it("a journal that is short stays as it is", () => {
  const opened = open({ pages: 1000, mostPages: 1_000_000 });
  write(opened, 10);
  expect(journal(opened.db).checkpointed).toBe(0);
});

it("a journal that the thread does not keep short is moved by the main thread", () => {
  const opened = open({ pages: 50, mostPages: 200 });
  // no thread hears of it
  write({ ...opened, checkpoints: { committed: () => undefined } }, 2000);
  expect(journal(opened.db).log).toBeLessThan(500);
});

it("closed, it is waited for until the thread has closed the file: all is in it, and nothing beside it", async () => {
  const opened = open({ pages: 50, mostPages: 1_000_000 });
  write(opened, 100);
  await moved(opened, 50);
  // it has the file open, and is told to go on
  write(opened, 400);
  opened.db.pragma("busy_timeout = 0");
  opened.checkpoints.close();
  // refused while anybody else has the file open
  expect(opened.db.pragma("journal_mode = DELETE", { simple: true })).toBe("delete");
  opened.checkpoints.close();
  opened.db.close();
  expect([existsSync(opened.file), existsSync(`${opened.file}-wal`)]).toEqual([true, false]);
  const again = openFile(opened.file, schema);
  expect(again.prepare("SELECT count(*) FROM t").pluck().get()).toBe(500);
  again.close();
});

it("without a thread, checkpoints are those of the main thread again", async () => {
  const opened = open({ pages: 50, mostPages: 1_000_000 });
  unlinkSync(opened.file);
  write(opened, 100);
  await vi.waitUntil(() => opened.failures.length > 0, { timeout: 15_000 });
  expect(opened.failures).toHaveLength(1);
  expect(opened.db.pragma("wal_autocheckpoint", { simple: true })).toBe(50);
  write(opened, 100);
  expect(journal(opened.db).log).toBeLessThan(60);
});

it("a database in memory has no journal", () => {
  const opened = open({ pages: 1, mostPages: 10 }, ":memory:");
  write(opened, 100);
  expect(opened.failures).toEqual([]);
});

it("keeps no process from ending, closed or not, and prints nothing", () => {
  const directory = mkdtempSync(join(tmpdir(), "postern-checkpoints-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const built = (name: string) => JSON.stringify(new URL(`../../dist/broker/sqlite/${name}`, import.meta.url).href);
  const program = `
    import { Checkpoints } from ${built("checkpoints.js")};
    import { openFile } from ${built("database.js")};
    const [file, close] = process.argv.slice(1);
    const db = openFile(file, ${JSON.stringify(schema)});
    const checkpoints = new Checkpoints(db, console.error, { pages: 50, mostPages: 1000000 });
    for (let i = 0; i < 100; i++) {
      db.exec("INSERT INTO t VALUES (zeroblob(4000))");
      checkpoints.committed();
    }
    if (close === "close") checkpoints.close(), db.close();
    console.log("at the end");
  `;
  for (const how of ["close", "leave"]) {
    const args = ["--input-type=module", "--eval", program, join(directory, `${how}.db`), how];
    const ended = spawnSync(process.execPath, args, { encoding: "utf8", timeout: 15_000 });
    expect([ended.stdout, ended.stderr, ended.status]).toEqual(["at the end\n", "", 0]);
  }
});
