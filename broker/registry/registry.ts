/**
 * What the authority knows, on one SQLite file, and the rule by which it changes: each change and its audit row are
 * one transaction, and what a gate must hear of it is told after the commit, never before.
 *
 * Everything is synchronous, so two requests never interleave within a transaction. One process writes at a time;
 * what is remembered between requests is forgotten at every change.
 */
import type { TrustSink } from "../trust/trust.ts";
import { tellApis } from "./apis.ts";
import { tellClients } from "./clients.ts";
import { openDatabase, statement, type Database } from "./database.ts";
import { tellSigningKeys } from "./signing-keys.ts";

export interface Registry {
  readonly db: Database;
  readonly sink: TrustSink;
  /** The time, in seconds. */
  nowSeconds(): number;
  /** Runs the work in one transaction, or as part of the one that is open. A throw undoes all of it. */
  change<T>(work: () => T): T;
  /** The same for rows that are only added and of which nothing is remembered: issued tokens, assertions, audit. */
  append<T>(work: () => T): T;
  /** Runs once the open transaction is committed, and not at all when it is undone. */
  afterCommit(then: () => void): void;
  /** What `read` gives, remembered until the next change. */
  remember<T>(name: string, read: () => T): T;
  close(): void;
}

export interface RegistryOptions {
  /** Path of the SQLite file, or `:memory:`. */
  readonly file: string;
  readonly sink: TrustSink;
  readonly nowSeconds?: () => number;
}

const maxRemembered = 20_000;

/** Opens the registry and tells the sink all keys, apis and clients. Throws `registry.invalid` for a file it cannot use. */
export function openRegistry(options: RegistryOptions): Registry {
  const db = openDatabase(options.file);
  const registry: Registry = {
    db,
    sink: options.sink,
    nowSeconds: options.nowSeconds ?? (() => Math.floor(Date.now() / 1000)),
    ...openTransactions(db),
    close: () => db.close(),
  };
  tellSigningKeys(registry);
  tellApis(registry);
  tellClients(registry);
  return registry;
}

function openTransactions(db: Database): Pick<Registry, "change" | "append" | "afterCommit" | "remember"> {
  const remembered = new Map<string, unknown>();
  let open: { news: (() => void)[]; changed: boolean; failed: boolean } | undefined;

  function join<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      // whoever catches this inside the outer transaction must not commit half of a change
      if (open !== undefined) open.failed = true;
      throw error;
    }
  }

  function run<T>(work: () => T, changes: boolean): T {
    if (open !== undefined) {
      open.changed ||= changes;
      return join(work);
    }
    const transaction = (open = { news: [] as (() => void)[], changed: changes, failed: false });
    let result: T;
    try {
      statement(db, "BEGIN IMMEDIATE").run();
      result = work();
      if (result instanceof Promise) throw new TypeError("a transaction cannot wait");
      if (transaction.failed) throw new TypeError("a part of the transaction has failed");
      statement(db, "COMMIT").run();
      if (transaction.changed) remembered.clear();
    } catch (error) {
      if (db.inTransaction) statement(db, "ROLLBACK").run();
      throw error;
    } finally {
      open = undefined;
    }
    for (const tell of transaction.news) tell();
    return result;
  }

  return {
    change: (work) => run(work, true),
    append: (work) => run(work, false),
    afterCommit(then) {
      if (open === undefined) throw new TypeError("no transaction is open");
      open.news.push(then);
    },
    remember<T>(name: string, read: () => T): T {
      // what is not committed yet is not remembered
      if (open !== undefined) return read();
      if (remembered.has(name)) return remembered.get(name) as T;
      const value = read();
      if (remembered.size >= maxRemembered) remembered.clear();
      remembered.set(name, value);
      return value;
    },
  };
}
