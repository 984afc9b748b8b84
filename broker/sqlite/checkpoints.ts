/**
 * Checkpoints beside the event loop: a thread with a connection of its own moves what is in the journal into the file, with
 * the writes and the waits for the disk that this takes, while the main thread goes on writing.
 *
 * The thread starts when the journal has grown to its usual size for the first time. A checkpoint while the main thread goes
 * on writing is never of everything, so that the journal goes on growing until there is a quiet moment; beyond a
 * limit, which a thread that is slow, stuck or dead cannot keep it from, SQLite does on the main thread what is left.
 */
import { Worker } from "node:worker_threads";
import type { Database, Statement } from "./database.ts";
import { statement } from "./database.ts";
import { sqliteModule } from "./sqlite.ts";

/** When checkpoints are made. */
export interface CheckpointLimits {
  /** Pages in the journal that have the thread begin. */
  readonly pages: number;
  /** Pages in the journal that have the main thread do it. */
  readonly mostPages: number;
}

/** 4 MiB, which is what SQLite does by itself, and 64 MiB. */
const defaultLimits: CheckpointLimits = { pages: 1000, mostPages: 16_384 };
/** How long closing waits for a checkpoint that is under way. */
const closeMilliseconds = 10_000;

/** Text, so that it is the same from sources and as built; runs as CommonJS. */
const threadSource = `
const { parentPort, workerData } = require("node:worker_threads");
const { module, file, hasEnded } = workerData;
process.once("exit", () => {
  Atomics.store(hasEnded, 0, 1);
  Atomics.notify(hasEnded, 0);
});
const db = new (require(module))(file, { fileMustExist: true });
db.pragma("synchronous = NORMAL");
parentPort.on("message", (order) => {
  if (order === "end") {
    db.close();
    parentPort.close();
    return;
  }
  try {
    db.pragma("wal_checkpoint(PASSIVE)");
  } catch {
    // tried again when more is written; what goes on failing is left to the main thread
  }
  parentPort.postMessage("done");
});
`;

interface JournalRow {
  readonly log: number;
  readonly checkpointed: number;
}

/** Keeps the journal of one open file short. The owner of the file closes this before the file. */
export class Checkpoints {
  readonly #db: Database;
  readonly #limits: CheckpointLimits;
  readonly #failed: (error: unknown) => void;
  readonly #journal: Statement<JournalRow>;
  readonly #hasEnded = new Int32Array(new SharedArrayBuffer(4));
  #thread: Worker | undefined;
  #state: "idle" | "busy" | "off" = "idle";

  /** `failed`: there is no thread from now on, and the main thread makes the checkpoints. */
  constructor(db: Database, failed: (error: unknown) => void, limits: CheckpointLimits = defaultLimits) {
    this.#db = db;
    this.#limits = limits;
    this.#failed = failed;
    // says how long the journal is, and does nothing
    this.#journal = statement<JournalRow>(db, "PRAGMA wal_checkpoint(NOOP)");
    if (db.memory) this.#state = "off";
    else db.pragma(`wal_autocheckpoint = ${limits.mostPages}`);
  }

  /** Something was committed. */
  committed(): void {
    if (this.#state !== "idle") return;
    if (this.#journalPages() < this.#limits.pages) return;
    this.#state = "busy";
    this.#thread ??= this.#start();
    order(this.#thread, "checkpoint");
  }

  /** Ends the thread; whoever closes the file after that is the last, and leaves no journal. */
  close(): void {
    const thread = this.#thread;
    this.#state = "off";
    this.#thread = undefined;
    if (thread === undefined) return;
    order(thread, "end");
    Atomics.wait(this.#hasEnded, 0, 0, closeMilliseconds);
    void thread.terminate();
  }

  /** Pages in the journal that are not in the file yet. */
  #journalPages(): number {
    try {
      const { log, checkpointed } = this.#journal.get()!;
      return log - checkpointed;
    } catch {
      // whoever writes next learns what is wrong
      return 0;
    }
  }

  #start(): Worker {
    const workerData = { module: sqliteModule, file: this.#db.name, hasEnded: this.#hasEnded };
    const thread = new Worker(threadSource, { eval: true, execArgv: [], env: {}, workerData, name: "checkpoints" });
    thread.on("message", () => {
      if (this.#state === "busy") this.#state = "idle";
    });
    thread.on("error", (error) => this.#fail(error));
    // after the listeners, each of which would keep the process from ending
    thread.unref();
    return thread;
  }

  #fail(error: unknown): void {
    if (this.#state === "off") return;
    this.#state = "off";
    this.#thread = undefined;
    this.#db.pragma(`wal_autocheckpoint = ${this.#limits.pages}`);
    this.#failed(error);
  }
}

function order(thread: Worker, what: "checkpoint" | "end"): void {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
  thread.postMessage(what);
}
