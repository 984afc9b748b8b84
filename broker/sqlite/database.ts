/**
 * A SQLite file: opened, brought to the present schema, and its prepared statements.
 *
 * WAL with synchronous NORMAL: a commit survives the end of the process, and after a power cut the file is whole and
 * may lack the last commits. The file is readable by its owner alone. Refuses a file of a newer schema and a file of
 * something else.
 */
import { chmodSync, closeSync, openSync } from "node:fs";
import type BetterSqlite3 from "better-sqlite3";
import { Refusal, refuse } from "../../shared/refusal.ts";
import { Sqlite } from "./sqlite.ts";

/** An open SQLite file. */
export type Database = BetterSqlite3.Database;
export type Statement<Row> = BetterSqlite3.Statement<unknown[], Row>;

/** What a file holds. */
export interface Schema {
  /** The numbered steps that lead to the present schema; the first is number 1. */
  readonly migrations: readonly string[];
  /** `application_id`, by which files of one kind are told from those of another. Default 0. */
  readonly applicationId?: number;
}

const busyTimeoutMs = 5_000;
/** The journal of one large transaction is not kept at its size. */
const journalBytes = 64 * 1024 * 1024;
const prepared = new WeakMap<Database, Map<string, BetterSqlite3.Statement>>();

/** Opens (and at first creates) the file, `:memory:` for none. Throws `registry.invalid` for a file it cannot read. */
export function openFile(file: string, schema: Schema): Database {
  if (file !== ":memory:") protectFile(file);
  const db = new Sqlite(file, { timeout: busyTimeoutMs });
  try {
    assertOurs(db, file, schema);
    db.pragma("journal_mode = WAL");
    db.pragma("synchronous = NORMAL");
    db.pragma("foreign_keys = ON");
    db.pragma(`journal_size_limit = ${journalBytes}`);
    migrate(db, file, schema);
  } catch (error) {
    db.close();
    throw sayDamaged(error, file);
  }
  return db;
}

/** What SQLite says of a file that is not whole, as a refusal of the file; any other error as it is. */
export function sayDamaged(error: unknown, file: string): unknown {
  const { code } = error as { code?: unknown };
  const isDamaged = typeof code === "string" && /^SQLITE_(CORRUPT|NOTADB)/.test(code);
  return isDamaged ? new Refusal("registry.invalid", `${file} is damaged; put back a copy of it`) : error;
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

function assertOurs(db: Database, file: string, { applicationId = 0 }: Schema): void {
  try {
    const tables = db.prepare("SELECT count(*) FROM sqlite_schema").pluck().get() as number;
    const isOurs = readNumber(db, "user_version") > 0 && readNumber(db, "application_id") === applicationId;
    if (tables > 0 && !isOurs) refuse("registry.invalid", `${file} is the database of something else`);
  } catch (error) {
    if ((error as { code?: string }).code === "SQLITE_NOTADB") refuse("registry.invalid", `${file} is not a database`);
    throw error;
  }
}

/** Runs what is missing, each step with its new version in one transaction. Forward only. */
function migrate(db: Database, file: string, { migrations, applicationId = 0 }: Schema): void {
  const toPresent = db.transaction(() => {
    const version = readNumber(db, "user_version");
    if (version > migrations.length) {
      refuse(
        "registry.invalid",
        `${file} has schema ${version} and this version of postern knows ${migrations.length}: it was written by a newer one`,
      );
    }
    if (version === 0) db.pragma(`application_id = ${applicationId}`);
    for (const [index, sql] of migrations.entries()) {
      if (index < version) continue;
      db.exec(sql);
      db.pragma(`user_version = ${index + 1}`);
    }
  });
  toPresent.immediate();
}

function readNumber(db: Database, name: string): number {
  return db.pragma(name, { simple: true }) as number;
}
