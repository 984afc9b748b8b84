/**
 * What ends by itself: sessions whose client has not come back, and messages that have waited too long. Looked for each
 * minute, a few at a time, so that nobody waits for it.
 */
import type { StoreLimits } from "../limits.ts";
import type { Queues } from "./queues.ts";
import type { Session } from "./session.ts";
import type { Sessions } from "./sessions.ts";

/** What is looked after. */
export interface UpkeepOptions {
  readonly sessions: Sessions;
  readonly queues: Queues;
  readonly limits: StoreLimits;
  readonly nowSeconds: () => number;
  /** Runs what reads the disk; what it throws is logged. */
  readonly safely: <T>(work: () => T) => T | undefined;
  readonly end: (session: Session) => void;
}

const everyMilliseconds = 60_000;
const sessionsPerTurn = 500;
const entriesPerTurn = 100;

/** Looks after the sessions and queues of a store. */
export class Upkeep {
  readonly #options: UpkeepOptions;
  readonly #timer: NodeJS.Timeout;
  #isClosed = false;
  #isRunning = false;
  /** Sessions that are over and may have something in their queues. */
  #over: Session[] = [];

  constructor(options: UpkeepOptions, each: () => void) {
    this.#options = options;
    this.#timer = setInterval(() => {
      each();
      if (this.#isRunning) return;
      this.#isRunning = true;
      void this.run().finally(() => (this.#isRunning = false));
    }, everyMilliseconds);
    this.#timer.unref();
  }

  /** Once over all sessions. */
  async run(): Promise<void> {
    const { sessions, queues, limits, nowSeconds, end, safely } = this.#options;
    let count = 0;
    for (const session of sessions.all()) {
      if (session.isOver) continue;
      let isMore = false;
      if (session.leftAt !== null && session.leftAt + limits.sessionSeconds < nowSeconds()) {
        end(session);
        isMore = true;
      }
      do {
        if (isMore || ++count % sessionsPerTurn === 0) {
          await nextTurn();
          if (this.#isClosed) return;
        }
        isMore = !session.isOver && safely(() => queues.expire(session, entriesPerTurn)) === true;
      } while (isMore);
    }
  }

  /** Removes what a session that is over had in its queue, after those that ended before it: many may end at once. */
  clear(session: Session): void {
    if (session.messages === 0) return;
    this.#over.push(session);
    if (this.#over.length === 1) void this.#clearAll();
  }

  async #clearAll(): Promise<void> {
    const { safely, queues } = this.#options;
    for (const session of this.#over) {
      do {
        await nextTurn();
        if (this.#isClosed) return;
      } while (safely(() => queues.clear(session, entriesPerTurn)) === true);
    }
    this.#over = [];
  }

  close(): void {
    this.#isClosed = true;
    clearInterval(this.#timer);
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
