/**
 * The open transaction: writes go into it at once, and one commit at the end of the turn serves everything that was written
 * in it. Nobody is told of success before the commit.
 *
 * When a write or the commit fails, all of the turn is rolled back, memory is put back to what is on disk, everybody
 * who waits is told the error, and the next turn tries again. What need not be waited for (entries that were
 * acknowledged) is kept by its owner until it is on disk.
 */
import type { Logger } from "pino";
import { statement, type Database } from "../../sqlite/database.ts";
import type { EngineMeter } from "../meter.ts";

/** Keeps something in memory that belongs to what is on disk. */
export interface Participant {
  /** The transaction is about to be committed: what could wait is written now. */
  beforeCommit?(): void;
  committed?(): void;
  /** Nothing of the turn is on disk. */
  rolledBack?(): void;
  /** Everybody who waited has been told. */
  told?(): void;
}

/** How the store writes. */
export interface BatchOptions {
  readonly db: Database;
  readonly meter: EngineMeter;
  readonly log: Logger;
}

type Done = (error?: Error) => void;

/** What need not be waited for is on disk after so long, and is tried again after so long. */
const lateMilliseconds = 50;
const retryMilliseconds = 1000;
const quietMilliseconds = 60_000;

/** The writes of one turn of the event loop after the other. */
export class Batch {
  readonly #options: BatchOptions;
  readonly #participants: Participant[] = [];
  #state: "idle" | "open" | "failed" | "closed" = "idle";
  #failure: Error | undefined;
  #isAwaited = false;
  #waiting: Done[] = [];
  #telling: Done[] | undefined;
  #undo: (() => void)[] = [];
  #then: (() => void)[] = [];
  #immediate: NodeJS.Immediate | undefined;
  #late: NodeJS.Timeout | undefined;
  #complainedAt = -Infinity;

  constructor(options: BatchOptions) {
    this.#options = options;
  }

  /** Takes part in every commit from now on, after those that joined before. */
  join(participant: Participant): void {
    this.#participants.push(participant);
  }

  /** Whether nothing more is written in this turn, because something could not be. */
  get isFailed(): boolean {
    return this.#state === "failed" || this.#state === "closed";
  }

  /** Runs work that writes; not when this turn's writes have failed already, which `whenDurable` tells. */
  write(work: () => void): void {
    if (this.isFailed) return;
    try {
      this.#open();
      this.#isAwaited = true;
      work();
    } catch (error) {
      this.#fail(error as Error);
    }
  }

  /** Undoes in memory what a write did there, should the turn be rolled back; last first. */
  onRollback(undo: () => void): void {
    this.#undo.push(undo);
  }

  /** Runs once what is written is on disk, before anybody is told. */
  onCommit(then: () => void): void {
    this.#then.push(then);
  }

  /** A participant has something that can wait a little. */
  soon(): void {
    if (this.#state === "idle") this.#commitIn(lateMilliseconds);
  }

  /** See `DurableStore.whenDurable`. */
  whenDurable(done: Done): void {
    if (this.#state === "closed") done(new Error("the store is closed"));
    else if (this.#state === "failed" || (this.#state === "open" && this.#isAwaited)) this.#waiting.push(done);
    else if (this.#telling !== undefined) this.#telling.push(() => done());
    else done();
  }

  /** Resolves, or rejects, with `whenDurable`. */
  durable(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.whenDurable((error) => (error === undefined ? resolve() : reject(error)));
    });
  }

  /** Runs what must not keep others from being served; what it throws is logged. */
  safely<T>(work: () => T): T | undefined {
    try {
      return work();
    } catch (error) {
      this.#options.log.error({ err: error as Error }, "the store could not serve");
      return undefined;
    }
  }

  /** Commits what is open now. */
  flush(): void {
    clearImmediate(this.#immediate);
    this.#immediate = undefined;
    if (this.#state === "open") this.#commit();
    const error = this.#failure;
    const waiting = this.#waiting;
    this.#state = "idle";
    this.#failure = undefined;
    this.#isAwaited = false;
    this.#waiting = [];
    this.#tell(waiting, error);
    for (const participant of this.#participants) participant.told?.();
  }

  /** Writes what is left and takes no more. */
  close(): void {
    if (this.#state === "closed") return;
    // what was told of the commit may have written again
    if (this.#state !== "idle") this.flush();
    try {
      this.#open();
    } catch (error) {
      this.#fail(error as Error);
    }
    this.flush();
    for (let left = 9; this.#immediate !== undefined && left > 0; left--) this.flush();
    clearTimeout(this.#late);
    this.#state = "closed";
  }

  #open(): void {
    if (this.#state !== "idle") return;
    clearTimeout(this.#late);
    this.#late = undefined;
    this.#immediate ??= setImmediate(() => this.flush());
    this.#state = "open";
    statement(this.#options.db, "BEGIN IMMEDIATE").run();
  }

  #commit(): void {
    const { db, meter, log } = this.#options;
    const start = performance.now();
    try {
      for (const participant of this.#participants) participant.beforeCommit?.();
      statement(db, "COMMIT").run();
    } catch (error) {
      return this.#fail(error as Error);
    }
    meter.stored((performance.now() - start) / 1000);
    if (this.#isAwaited && this.#complainedAt !== -Infinity) {
      this.#complainedAt = -Infinity;
      log.warn("the store writes again");
    }
    const then = this.#then;
    this.#undo = [];
    this.#then = [];
    for (const participant of this.#participants) participant.committed?.();
    for (const each of then) this.safely(each);
  }

  #fail(error: Error): void {
    const { db, log } = this.#options;
    this.#immediate ??= setImmediate(() => this.flush());
    this.#state = "failed";
    this.#failure = error;
    if (db.open && db.inTransaction) statement(db, "ROLLBACK").run();
    const undo = this.#undo;
    this.#undo = [];
    this.#then = [];
    for (const each of undo.reverse()) this.safely(each);
    for (const participant of this.#participants) participant.rolledBack?.();
    this.#commitIn(retryMilliseconds);
    const now = performance.now();
    if (now - this.#complainedAt < quietMilliseconds) return;
    this.#complainedAt = now;
    log.error({ err: error }, "the store cannot write");
  }

  #tell(waiting: Done[], error: Error | undefined): void {
    this.#telling = waiting;
    // who asks meanwhile is told in turn
    for (const done of waiting) this.safely(() => done(error));
    this.#telling = undefined;
  }

  #commitIn(milliseconds: number): void {
    this.#late ??= setTimeout(() => {
      this.#late = undefined;
      if (this.#state !== "idle") return;
      try {
        this.#open();
      } catch (error) {
        this.#fail(error as Error);
      }
    }, milliseconds).unref();
  }
}
