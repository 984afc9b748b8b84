/**
 * Removes what purges are to remove, one purge after the other and a few topics at a time, so that nobody waits for it. What
 * cannot be written is tried again.
 */
import { statement, type Database } from "../../sqlite/database.ts";
import type { PurgeKind, Purges } from "../durable.ts";
import type { Batch } from "./batch.ts";
import type { Purge, PurgesUnderWay } from "./purges.ts";
import type { Retained } from "./retained.ts";

const topicsPerTurn = 100;
const retryMilliseconds = 1000;
/** In place of a row, when there are no more. */
const none = -1;

/** An owner's ids: its own, and those with a suffix, which begin with `<owner>:` and so end before `<owner>;`. */
const selectPublishers = `SELECT DISTINCT publisher FROM retained
  WHERE publisher = :owner OR (publisher > :owner || ':' AND publisher < :owner || ';')`;
const selectTopics = `SELECT rowid, topic, after_purge FROM retained WHERE publisher = ? AND rowid > ? ORDER BY rowid LIMIT ?`;

interface TopicRow {
  readonly rowid: number;
  readonly topic: string;
  readonly after_purge: number;
}

/** Works off the purges of a store. */
export class Purging {
  readonly #db: Database;
  readonly #batch: Batch;
  readonly #underWay: PurgesUnderWay;
  readonly #retained: Retained;
  readonly #waiting: Purge[] = [];
  #isRunning = false;
  #isClosed = false;

  constructor(db: Database, batch: Batch, underWay: PurgesUnderWay, retained: Retained) {
    this.#db = db;
    this.#batch = batch;
    this.#underWay = underWay;
    this.#retained = retained;
  }

  /** Removes the retained messages of an owner whose topic purges. */
  begin(owner: string, kind: PurgeKind, purges: Purges): void {
    if (!this.#isClosed && this.#retained.hasOf(owner)) this.#take(this.#underWay.begin(owner, kind, purges));
  }

  /** Goes on with what an earlier process had begun. */
  resume(purgesOf: (kind: PurgeKind) => Purges): void {
    for (const purge of this.#underWay.resume(purgesOf)) this.#take(purge);
  }

  close(): void {
    this.#isClosed = true;
  }

  #take(purge: Purge): void {
    this.#waiting.push(purge);
    if (!this.#isRunning) void this.#run();
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    for (let purge = this.#waiting.shift(); purge !== undefined; purge = this.#waiting.shift()) {
      const { owner } = purge;
      const select = statement<string>(this.#db, selectPublishers).pluck();
      const publishers = await this.#write(() => select.all({ owner }));
      if (publishers === undefined) return;
      for (const publisher of publishers) {
        for (let from: number | undefined = 0; from !== none;) {
          from = await this.#write(() => this.#removeSome(publisher, from!, purge));
          if (from === undefined) return;
        }
      }
      this.#underWay.end(purge);
    }
    this.#isRunning = false;
  }

  /** Removes what is to go of the next few of one client id; returns the last of these, or `none`. */
  #removeSome(publisher: string, from: number, { number, purges }: Purge): number {
    const rows = statement<TopicRow>(this.#db, selectTopics).all(publisher, from, topicsPerTurn);
    for (const row of rows) if (row.after_purge < number && purges(row.topic)) this.#retained.remove(row.topic);
    return rows.at(-1)?.rowid ?? none;
  }

  /** Resolves with what work returns when that is on disk. When it is rolled back, it is done again; undefined when the store closed. */
  async #write<T>(work: () => T): Promise<T | undefined> {
    while (!this.#isClosed) {
      let outcome: T | undefined;
      try {
        this.#batch.write(() => (outcome = work()));
        await this.#batch.durable();
        if (outcome !== undefined && !this.#isClosed) return outcome;
      } catch {
        // told by the batch
        await new Promise((resolve) => setTimeout(resolve, retryMilliseconds).unref());
      }
    }
    return undefined;
  }
}
