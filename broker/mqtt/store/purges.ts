/**
 * Purges of retained messages that are under way: whose, and which topics. From the moment one begins nobody gets what it will
 * remove; a row says that it is under way, so that one that a crash interrupts is finished later.
 *
 * Purges are numbered, and a retained message carries the number of the last one before it: what its client publishes
 * after a purge has begun is not what that purge removes.
 */
import { statement, type Database } from "../../sqlite/database.ts";
import type { PurgeKind, Purges } from "../durable.ts";
import type { Batch, Participant } from "./batch.ts";

/** One that is under way. */
export interface Purge {
  readonly number: number;
  readonly owner: string;
  readonly kind: PurgeKind;
  readonly purges: Purges;
}

const insert = "INSERT OR REPLACE INTO purge (number, owner, kind) VALUES (?, ?, ?)";
const remove = "DELETE FROM purge WHERE number = ?";

/** All that are under way. */
export class PurgesUnderWay implements Participant {
  readonly #db: Database;
  readonly #batch: Batch;
  readonly #byOwner = new Map<string, Purge[]>();
  /** Those of an earlier process, until it is known what they purge. */
  #left: Omit<Purge, "purges">[];
  /** Begun and ended, and not so on disk. */
  readonly #begun = new Set<Purge>();
  readonly #ended = new Set<Purge>();
  /** The number of the last one. */
  last: number;

  constructor(db: Database, batch: Batch) {
    this.#db = db;
    this.#batch = batch;
    this.#left = db.prepare("SELECT number, owner, kind FROM purge ORDER BY number").all() as Purge[];
    const ofMessages = db.prepare("SELECT coalesce(max(after_purge), 0) FROM retained").pluck().get() as number;
    this.last = Math.max(ofMessages, this.#left.at(-1)?.number ?? 0);
  }

  begin(owner: string, kind: PurgeKind, purges: Purges): Purge {
    const purge = { number: ++this.last, owner, kind, purges };
    this.#begun.add(purge);
    this.#add(purge);
    // whoever waits for the disk waits for this as well
    this.#batch.write(() => undefined);
    return purge;
  }

  /** Those that an earlier process has not finished, in their order. */
  resume(purgesOf: (kind: PurgeKind) => Purges): Purge[] {
    const resumed = this.#left.map((left) => ({ ...left, purges: purgesOf(left.kind) }));
    this.#left = [];
    for (const purge of resumed) this.#add(purge);
    return resumed;
  }

  /** What it was to remove is not on disk any more. */
  end(purge: Purge): void {
    const left = this.#byOwner.get(purge.owner)!.filter((other) => other !== purge);
    if (left.length > 0) this.#byOwner.set(purge.owner, left);
    else this.#byOwner.delete(purge.owner);
    this.#ended.add(purge);
    this.#batch.soon();
  }

  /** Whether a message is about to be removed: that of this topic, whose it is, and the number it carries. */
  takes(owner: string, topic: string, afterPurge: number): boolean {
    if (this.#byOwner.size === 0) return false;
    return this.#byOwner.get(owner)?.some(({ number, purges }) => afterPurge < number && purges(topic)) === true;
  }

  beforeCommit(): void {
    for (const { number, owner, kind } of this.#begun) statement(this.#db, insert).run(number, owner, kind);
    for (const { number } of this.#ended) statement(this.#db, remove).run(number);
  }

  committed(): void {
    this.#begun.clear();
    this.#ended.clear();
  }

  #add(purge: Purge): void {
    const known = this.#byOwner.get(purge.owner);
    if (known === undefined) this.#byOwner.set(purge.owner, [purge]);
    else known.push(purge);
  }
}
