/**
 * better-sqlite3, the line of it that fits this Node: 13 is built on the stable Node-API and needs Node 22, 12 is compiled on
 * installation and is for Node 20 alone. Newer Nodes end a process that lets a statement of line 12 go.
 */
import { createRequire } from "node:module";
import type BetterSqlite3 from "better-sqlite3";

const nodeMajor = Number(process.versions.node.split(".", 1)[0]);

const name = nodeMajor >= 22 ? "better-sqlite3" : "better-sqlite3-node20";
const { resolve } = createRequire(import.meta.url);

/** Opens databases. */
export const Sqlite: typeof BetterSqlite3 = load();
/** Where it is, for a thread that loads it, too. */
export const sqliteModule: string = resolve(name);

function load(): typeof BetterSqlite3 {
  try {
    return createRequire(import.meta.url)(name) as typeof BetterSqlite3;
  } catch (error) {
    if ((error as { code?: string }).code !== "MODULE_NOT_FOUND") throw error;
    throw new Error(`${name} is not installed: it needs a C++ compiler and python3 when npm installs it`, {
      cause: error,
    });
  }
}
