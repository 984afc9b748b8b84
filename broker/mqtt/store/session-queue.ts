/**
 * The queue of a stored session while its client is connected: gives out entries in order, once they are on disk.
 *
 * What has just come is given from memory, up to a mark; beyond that, and what waited for the client, is read from the
 * disk when it is asked for, so that a client that is behind takes no memory.
 */
import type { Entry, SessionQueue } from "../durable.ts";
import type { StoreLimits } from "../limits.ts";
import { asEntry, packetIdOf, type Added, type EntryRow } from "./entries.ts";
import type { Queues } from "./queues.ts";
import type { Attendant, Session } from "./session.ts";

/** What is kept in memory for one client until it takes it. */
const freshEntries = 256;
const freshBytes = 128 * 1024;
const heldAsTheyCame = 16;

/** An entry that was given out, with what the store needs to remove it. */
interface Given extends Entry {
  readonly message: number;
  readonly bytes: number;
}

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
  #fresh: Added[] = [];
  #freshAt = 0;
  #freshBytes = 0;
  #isReady = false;
  #isClosed = false;
  readonly #inFlight = new Map<number, Given>();

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
    const given: Given[] = [];
    while (this.#isReady && !this.#isClosed && given.length < most && this.#cursor <= session.durable) {
      const fresh = this.#fresh[this.#freshAt];
      if (fresh !== undefined && fresh.sequence === this.#cursor) {
        this.#dropFresh();
        if (!session.gone.has(fresh.sequence)) given.push(this.#giveFresh(fresh));
        this.#cursor = fresh.sequence + 1;
        continue;
      }
      const to = Math.min(session.durable, fresh === undefined ? Infinity : fresh.sequence - 1);
      const rows = queues.tryRead(session, this.#cursor, to, most - given.length);
      // asked for again with the next news or acknowledgement
      if (rows === undefined) break;
      for (const row of rows) {
        if (queues.isTooOld(row)) queues.drop(session, row);
        else given.push(this.#giveStored(row));
      }
      this.#cursor = rows.length === 0 ? to + 1 : rows.at(-1)!.sequence + 1;
    }
    for (const entry of given) this.#inFlight.set(entry.sequence, entry);
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

  added(entry: Added): void {
    const isFull = this.#fresh.length - this.#freshAt >= freshEntries || this.#freshBytes + entry.bytes > freshBytes;
    // it is on disk
    if (isFull) return;
    // of a client that is behind, nothing is held but its own: a payload may be part of much that was read with it
    this.#fresh.push(this.#fresh.length < heldAsTheyCame ? entry : withOwnPayload(entry));
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

  #giveFresh({ sequence, message, bytes, qos, stored }: Added): Given {
    const { topic, payload, retain } = stored;
    return this.#give({ sequence, message, bytes, qos, topic, payload, retain, isReleased: false });
  }

  #giveStored(row: EntryRow): Given {
    const { qos, topic, payload } = row;
    return this.#give({
      ...asEntry(row),
      qos,
      topic,
      payload,
      retain: row.retain === 1,
      isReleased: row.released === 1,
    });
  }

  #give(entry: Omit<Given, "packetId" | "wasSent" | "payload"> & { readonly payload: Buffer | string }): Given {
    const { session } = this.#options;
    const { sequence, payload } = entry;
    const wasSent = sequence <= session.sent;
    if (!wasSent) session.sent = sequence;
    const bytes = typeof payload === "string" ? Buffer.from(payload) : payload;
    return { ...entry, payload: bytes, packetId: packetIdOf(sequence), wasSent };
  }
}

function withOwnPayload(entry: Added): Added {
  return { ...entry, stored: { ...entry.stored, payload: Buffer.from(entry.stored.payload) } };
}
