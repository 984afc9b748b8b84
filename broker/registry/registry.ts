/**
 * What the authority knows, on one SQLite file, and the rule by which it changes: each change and its audit row are
 * one transaction, and what a gate must hear of it is told after the commit, never before.
 *
 * Where nothing can be written it refuses with `storage.failed`, all of the change undone.
 *
 * Everything is synchronous, so two requests never interleave within a transaction. One process writes at a time;
 * what is remembered between requests is forgotten at every change. Work that only appends may share a transaction with
 * other such work that arrives in the same turn of the event loop.
 */
import { Refusal } from "../../shared/refusal.ts";
import type { TrustSink } from "../trust/trust.ts";
import { statement, type Database } from "../sqlite/database.ts";

/** An open registry. */
export interface Registry {
  readonly db: Database;
  readonly sink: TrustSink;
  /** The time, in seconds. */
  nowSeconds(): number;
  /** Runs the work in one transaction, or as part of the one that is open. A throw undoes all of it. */
  change<T>(work: () => T): T;
  /**
   * The same, and returns only when the disk has it, so that it survives a power cut as well. For taking back what was
   * granted. Not within another change.
   */
  changeDurably<T>(work: () => T): T;
  /** The same for rows that are only added and of which nothing is remembered: issued tokens, assertions, audit. */
  append<T>(work: () => T): T;
  /**
   * Runs work that only appends, soon, together with other such work in one transaction. Resolves when that is committed;
   * a throw undoes what this work was appending and rejects, and leaves the others alone.
   */
  appendSoon<T>(work: () => T): Promise<T>;
  /** Runs once the open transaction is committed, and not at all when it is undone. */
  afterCommit(then: () => void): void;
  /**
   * Runs if the open transaction is undone, or the one that it is a part of, and not at all once that is committed; the last
   * first. For what is kept in memory beside the rows that are appended.
   */
  ifUndone(then: () => void): void;
  /** Calls back after each change that was committed, until the returned function is called. */
  onChange(listener: () => void): () => void;
  /** What `read` gives, remembered until the next change. The name begins with a word that no other reader begins with. */
  remember<T>(name: string, read: () => T): T;
  close(): void;
}

const maxRemembered = 20_000;

/** How the registry changes. */
export type Transactions = Pick<
  Registry,
  "change" | "changeDurably" | "append" | "appendSoon" | "afterCommit" | "ifUndone" | "onChange" | "remember"
>;

interface Waiting {
  /** Does the work; returns how to say what came of it, for after the commit. */
  readonly run: () => () => void;
  readonly reject: (error: unknown) => void;
}

const whole = { begin: "BEGIN IMMEDIATE", end: "COMMIT", undo: ["ROLLBACK"] } as const;
const part = { begin: "SAVEPOINT part", end: "RELEASE part", undo: ["ROLLBACK TO part", "RELEASE part"] } as const;

/** The transactions of one database, and what is remembered between them. `committed` hears of every commit, last. */
export function openTransactions(db: Database, committed: () => void): Transactions {
  const remembered = new Map<string, unknown>();
  let open: { news: (() => void)[]; changed: boolean; failed: boolean } | undefined;
  let isShared = false;
  let waiting: Waiting[] = [];
  let takingBack: (() => void)[] = [];
  const listeners = new Set<() => void>();
  /** What undid the shared transaction, where something did. */
  let undone: unknown;
  const whyUndone = (): unknown => undone ?? new Error("the shared transaction is undone");

  /** Takes back what is kept in memory since there was so much of it. */
  function takeBack(to: number): void {
    const gone = takingBack.splice(to).toReversed();
    for (const then of gone) then();
  }

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
    if (isShared && changes) throw new TypeError("a shared transaction only appends");
    if (open !== undefined) {
      open.changed ||= changes;
      return join(work);
    }
    const frame = isShared ? part : whole;
    const before = takingBack.length;
    const transaction = (open = { news: [] as (() => void)[], changed: changes, failed: false });
    let result: T;
    try {
      // a write that failed can end the transaction that this would be a part of, and would then be one of its own
      if (isShared && !db.inTransaction) throw whyUndone();
      statement(db, frame.begin).run();
      result = work();
      if (result instanceof Promise) throw new TypeError("a transaction cannot wait");
      if (transaction.failed) throw new TypeError("a part of the transaction has failed");
      statement(db, frame.end).run();
      if (transaction.changed) remembered.clear();
      if (!isShared) takingBack = [];
    } catch (error) {
      if (db.inTransaction) for (const undo of frame.undo) statement(db, undo).run();
      takeBack(before);
      const reason = toRefusal(error);
      if (isShared && !db.inTransaction) undone ??= reason;
      throw reason;
    } finally {
      open = undefined;
    }
    tellAll([...transaction.news, ...(transaction.changed ? listeners : [])]);
    if (!isShared) committed();
    return result;
  }

  /** One transaction for all that waits. When it cannot be committed, nobody is told of success. */
  function runWaiting(): void {
    const together = waiting;
    waiting = [];
    undone = undefined;
    let tell: (() => void)[];
    isShared = true;
    try {
      statement(db, whole.begin).run();
      tell = together.map((one) => {
        const answer = one.run();
        // what the others had appended is gone with it, and what came after would be no part of anything
        if (!db.inTransaction) throw whyUndone();
        return answer;
      });
      statement(db, whole.end).run();
      takingBack = [];
    } catch (error) {
      if (db.open && db.inTransaction) statement(db, whole.undo[0]).run();
      takeBack(0);
      tell = together.map((one) => () => one.reject(toRefusal(error)));
    } finally {
      isShared = false;
    }
    for (const answer of tell) answer();
    committed();
  }

  return {
    change: (work) => run(work, true),
    changeDurably(work) {
      if (open !== undefined) throw new TypeError("a part of a transaction is as durable as the whole");
      db.pragma("synchronous = FULL");
      try {
        return run(work, true);
      } finally {
        db.pragma("synchronous = NORMAL");
      }
    },
    append: (work) => run(work, false),
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    appendSoon<T>(work: () => T): Promise<T> {
      return new Promise<T>((resolve, reject) => {
        if (waiting.length === 0) setImmediate(runWaiting);
        waiting.push({ run: () => attempt(work, resolve, reject), reject });
      });
    },
    afterCommit(then) {
      if (open === undefined) throw new TypeError("no transaction is open");
      // the part that is open ends before the commit that it shares
      if (isShared) throw new TypeError("a shared transaction has nothing to tell");
      open.news.push(then);
    },
    ifUndone(then) {
      if (open === undefined) throw new TypeError("no transaction is open");
      takingBack.push(then);
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

/** What is committed is told to all, also where one of them fails. */
function tellAll(news: readonly (() => void)[]): void {
  const failures: unknown[] = [];
  for (const tell of news) {
    try {
      tell();
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw failures[0];
}

/**
 * What SQLite says when nothing can be written, as the one refusal of it: the disk is full, or fails, or may only be read.
 * Everything that the transaction did is undone.
 */
function toRefusal(error: unknown): unknown {
  const { code } = error as { code?: unknown };
  const isOfStorage = typeof code === "string" && /^SQLITE_(FULL|IOERR|READONLY)/.test(code);
  return isOfStorage ? new Refusal("storage.failed", code) : error;
}

function attempt<T>(work: () => T, resolve: (value: T) => void, reject: (error: unknown) => void): () => void {
  try {
    const value = work();
    return () => resolve(value);
  } catch (error) {
    return () => reject(error);
  }
}
