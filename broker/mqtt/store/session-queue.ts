/**
 * The queue of a stored session while its client is connected: gives out entries in order, once they are on disk.
 *
 * What has just come is given from memory, up to a mark; beyond that, and what waited for the client, is read from the
 * disk when it is asked for, so that a client that is behind takes no memory.
 */
import type { Entry, SessionQueue } from "../durable.ts";
import type { StoreLimits } from "../limits.ts";
import type { QueueEntry } from "./entries.ts";
import type { Queues } from "./queues.ts";
import type { Attendant, Session } from "./session.ts";

/** What is kept in memory for one client until it takes it. */
const freshEntries = 256;
const freshBytes = 128 * 1024;
const heldAsTheyCame = 16;

/** What the queue of an attached client stands on. */
export interface AttachedOptions {
  readonly session: Session;
  readonly queues: Queues;
  readonly limits: StoreLimits;
  readonly news: () => void;
  /** The client is gone. */
  readonly left: (session: Session) => void;
}

/** The queue of one connected client. */
export class AttachedQueue implements SessionQueue, Attendant {
  readonly #options: AttachedOptions;
  /** The sequence that is given next. */
  #cursor: number;
  #fresh: QueueEntry[] = [];
  #freshAt = 0;
  #freshBytes = 0;
  #isReady = false;
  #isClosed = false;
  readonly #inFlight = new Map<number, QueueEntry>();

  constructor(options: AttachedOptions) {
    this.#options = options;
    this.#cursor = options.session.first;
    options.session.attendant?.close();
    options.session.attendant = this;
  }

  get isHalfFull(): boolean {
    const { session, limits } = this.#options;
    const isMany = session.messages - this.#inFlight.size > limits.queueMessages / 2;
    return isMany || session.bytes > limits.queueBytes / 2;
  }

  /** It is on disk that the client is there: from now on, what a crash interrupts counts as sent. */
  begin(): void {
    this.#isReady = true;
    if (!this.#isClosed && this.#options.session.messages > 0) this.#options.news();
  }

  take(most: number): Entry[] {
    const { session, queues } = this.#options;
    const given: QueueEntry[] = [];
    while (this.#isReady && !this.#isClosed && given.length < most && this.#cursor <= session.durable) {
      const fresh = this.#fresh[this.#freshAt];
      if (fresh !== undefined && fresh.sequence === this.#cursor) {
        this.#dropFresh();
        if (!session.gone.has(fresh.sequence)) given.push(this.#give(fresh));
        this.#cursor = fresh.sequence + 1;
        continue;
      }
      const to = Math.min(session.durable, fresh === undefined ? Infinity : fresh.sequence - 1);
      const read = queues.tryRead(session, this.#cursor, to, most - given.length);
      // asked for again with the next news or acknowledgement
      if (read === undefined) break;
      for (const entry of read) {
        if (queues.isTooOld(entry)) queues.drop(session, entry);
        else given.push(this.#give(entry));
      }
      this.#cursor = read.length === 0 ? to + 1 : read.at(-1)!.sequence + 1;
    }
    return given;
  }

  remove(entry: Entry): void {
    const given = this.#inFlight.get(entry.sequence);
    if (given === undefined || this.#isClosed) return;
    this.#inFlight.delete(entry.sequence);
    this.#options.queues.remove(this.#options.session, given);
  }

  release(entry: Entry): void {
    if (!this.#isClosed) this.#options.queues.release(this.#options.session, entry.sequence);
  }

  detach(): void {
    if (this.#isClosed) return;
    this.close();
    this.#options.session.attendant = undefined;
    this.#options.left(this.#options.session);
  }

  close(): void {
    this.#isClosed = true;
    this.#fresh = [];
    this.#inFlight.clear();
  }

  added(entry: QueueEntry): void {
    const isFull = this.#fresh.length - this.#freshAt >= freshEntries || this.#freshBytes + entry.bytes > freshBytes;
    // it is on disk
    if (isFull) return;
    // of a client that is behind, nothing is held but its own: a payload may be part of much that was read with it
    if (this.#fresh.length >= heldAsTheyCame) entry.payload = Buffer.from(entry.payload);
    this.#fresh.push(entry);
    this.#freshBytes += entry.bytes;
  }

  settled(): void {
    const { durable } = this.#options.session;
    for (let last = this.#fresh.at(-1); last !== undefined && last.sequence > durable; last = this.#fresh.at(-1)) {
      this.#freshBytes -= last.bytes;
      this.#fresh.pop();
    }
  }

  told(): void {
    if (this.#isReady && !this.#isClosed) this.#options.news();
  }

  dropped(sequence: number): void {
    this.#inFlight.delete(sequence);
  }

  isInFlight(sequence: number): boolean {
    return this.#inFlight.has(sequence);
  }

  #dropFresh(): void {
    this.#freshBytes -= this.#fresh[this.#freshAt]!.bytes;
    this.#freshAt++;
    if (this.#freshAt < 64 && this.#freshAt < this.#fresh.length) return;
    this.#fresh = this.#fresh.slice(this.#freshAt);
    this.#freshAt = 0;
  }

  /** Notes that an entry is sent, and whether it may have been sent before. */
  #give(entry: QueueEntry): QueueEntry {
    const { session } = this.#options;
    const { sequence } = entry;
    entry.wasSent = sequence <= session.sent;
    if (!entry.wasSent) session.sent = sequence;
    this.#inFlight.set(sequence, entry);
    return entry;
  }
}
