/**
 * The file of the registry, and the lock on the directory that it is in. Signing keys are in the file.
 */
import { join } from "node:path";
import { refuse } from "../../shared/refusal.ts";
import { openFile, type Database } from "../sqlite/database.ts";
import { Sqlite } from "../sqlite/sqlite.ts";
import { migrations } from "./migrations.ts";

const unwritable: ReadonlySet<string> = new Set(["SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_READONLY_DIRECTORY"]);

/** Opens (and at first creates) the file, `:memory:` for none. Throws `registry.invalid` for a file it cannot read. */
export function openDatabase(file: string): Database {
  return openFile(file, { migrations });
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
