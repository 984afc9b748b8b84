/**
 * The SQLite file: opened, brought to the present schema, and its prepared statements.
 *
 * WAL with synchronous NORMAL: a commit survives the end of the process, and after a power cut the file is whole and
 * may lack the last commits. The file is readable by its owner alone, because signing keys are in it. Refuses a
 * file of a newer schema and a file of something else.
 */
import { chmodSync, closeSync, openSync } from "node:fs";
import { join } from "node:path";
import type BetterSqlite3 from "better-sqlite3";
import { refuse } from "../../shared/refusal.ts";
import { migrations } from "./migrations.ts";
import { Sqlite } from "./sqlite.ts";

/** An open SQLite file. */
export type Database = BetterSqlite3.Database;
export type Statement<Row> = BetterSqlite3.Statement<unknown[], Row>;

const busyTimeoutMs = 5_000;
const unwritable: ReadonlySet<string> = new Set(["SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_READONLY_DIRECTORY"]);
const prepared = new WeakMap<Database, Map<string, BetterSqlite3.Statement>>();

/** Opens (and at first creates) the file, `:memory:` for none. Throws `registry.invalid` for a file it cannot read. */
export function openDatabase(file: string): Database {
  if (file !== ":memory:") protectFile(file);
  const db = new Sqlite(file, { timeout: busyTimeoutMs });
  try {
    assertOurs(db, file);
    db.pragma("journal_mode = WAL");
    db.pragma("synchronous = NORMAL");
    db.pragma("foreign_keys = ON");
    migrate(db, file);
  } catch (error) {
    db.close();
    throw error;
  }
  return db;
}

/**
 * Takes a data directory for this process: a lock on a file in it that the system lets go of when the process ends, however
 * that happens. Returns what gives it back; throws `registry.conflict` while another process has it, and `registry.invalid`
 * where nothing can be written.
 */
export function lockDirectory(directory: string): () => void {
  let lock: Database | undefined;
  try {
    lock = new Sqlite(join(directory, "lock"), { timeout: 0 });
    lock.pragma("locking_mode = EXCLUSIVE");
    lock.exec("BEGIN EXCLUSIVE");
  } catch (error) {
    lock?.close();
    const code = (error as { code?: string }).code ?? "";
    if (code === "SQLITE_BUSY") refuse("registry.conflict", `${directory} is in use by another process`);
    if (unwritable.has(code)) refuse("registry.invalid", `${directory} is no directory that can be written to`);
    throw error;
  }
  return () => void lock.close();
}

/** The statement for this text, prepared once for each database; `pluck()` on it holds for all who use the text. */
export function statement<Row = unknown>(db: Database, sql: string): Statement<Row> {
  let known = prepared.get(db);
  if (known === undefined) prepared.set(db, (known = new Map()));
  let found = known.get(sql);
  if (found === undefined) known.set(sql, (found = db.prepare(sql)));
  return found as Statement<Row>;
}

/** The journal files that SQLite puts beside the file take over its mode. */
function protectFile(file: string): void {
  closeSync(openSync(file, "a", 0o600));
  chmodSync(file, 0o600);
}

function assertOurs(db: Database, file: string): void {
  try {
    const tables = db.prepare("SELECT count(*) FROM sqlite_schema").pluck().get() as number;
    if (tables > 0 && readVersion(db) === 0) refuse("registry.invalid", `${file} is the database of something else`);
  } catch (error) {
    if ((error as { code?: string }).code === "SQLITE_NOTADB") refuse("registry.invalid", `${file} is not a database`);
    throw error;
  }
}

/** Runs what is missing, each step with its new version in one transaction. Forward only. */
function migrate(db: Database, file: string): void {
  const toPresent = db.transaction(() => {
    const version = readVersion(db);
    if (version > migrations.length) {
      refuse(
        "registry.invalid",
        `${file} has schema ${version} and this version of postern knows ${migrations.length}: it was written by a newer one`,
      );
    }
    for (const [index, sql] of migrations.entries()) {
      if (index < version) continue;
      db.exec(sql);
      db.pragma(`user_version = ${index + 1}`);
    }
  });
  toPresent.immediate();
}

function readVersion(db: Database): number {
  return db.pragma("user_version", { simple: true }) as number;
}
