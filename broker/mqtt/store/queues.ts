/**
 * The queues of the stored sessions: messages of QoS 1 and 2 that wait for a client or are not acknowledged (MQTT 3.1.1,
 * sections 4.3 and 4.4). A payload is stored once, for however many sessions.
 *
 * The packet identifier of an entry follows from its sequence, so that sending writes nothing. An entry that 65,534
 * others have followed is dropped, because its identifier is needed again. What is removed goes from the disk with the
 * next commit; a crash before that delivers it again, with DUP.
 */
import { statement, type Database, type Statement } from "../../sqlite/database.ts";
import type { StoreDrop } from "../durable.ts";
import type { StoreLimits } from "../limits.ts";
import type { Batch, Participant } from "./batch.ts";
import type { TellDrop } from "./drops.ts";
import {
  newEntry,
  packetIds,
  readDelivery,
  selectDelivery,
  type DeliveryRow,
  type QueueEntry,
  type Removable,
  type StorableMessage,
} from "./entries.ts";
import { Removals } from "./removals.ts";
import type { Session } from "./session.ts";
import { Weights, type Weighed } from "./weights.ts";

const insertMessage = `INSERT INTO message (id, topic, payload, retain, publisher, broker_id, broker_counter, created_at)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?)`;
const insertEntry = `INSERT INTO queue (session, sequence, message, qos, released, message_id) VALUES (?, ?, ?, ?, 0, NULL)`;
const updateReleased = `UPDATE queue SET released = 1 WHERE session = ? AND sequence = ?`;

/** All queues. */
export class Queues implements Participant {
  readonly #db: Database;
  readonly #batch: Batch;
  readonly #limits: StoreLimits;
  readonly #nowSeconds: () => number;
  readonly #tellDrop: TellDrop;
  readonly #insertMessage: Statement<unknown>;
  readonly #insertEntry: Statement<unknown>;
  #lastMessage = 0;
  /** What this turn has added. */
  readonly #touched = new Map<Session, { messages: number; bytes: number }>();
  #untold: Session[] = [];
  #firstOfTurn = 1;
  readonly #removals: Removals;
  /** Entries in all. */
  queued = 0;
  readonly weights: Weights;

  constructor(
    db: Database,
    batch: Batch,
    options: { sessions: Iterable<Session>; limits: StoreLimits; nowSeconds: () => number; tellDrop: TellDrop },
  ) {
    this.#db = db;
    this.#batch = batch;
    this.#limits = options.limits;
    this.#nowSeconds = options.nowSeconds;
    this.#tellDrop = options.tellDrop;
    this.#removals = new Removals(db);
    this.weights = new Weights(options.limits.storeBytes);
    this.#insertMessage = statement(db, insertMessage);
    this.#insertEntry = statement(db, insertEntry);
    this.#load(options.sessions);
  }

  /**
   * Writes a message for sessions, each with its QoS, as far as there is room; within a write of the batch. True if it was
   * written for any.
   */
  add(message: StorableMessage, targets: ReadonlyMap<Session, 1 | 2>): boolean {
    const bytes = Buffer.byteLength(message.topic) + Buffer.byteLength(message.payload);
    const now = this.#nowSeconds();
    const weighed = this.weights.weigh(bytes);
    let id = 0;
    for (const [session, qos] of targets) {
      if (session.isOver || !this.#hasRoom(session, weighed)) continue;
      if (weighed.count === 0) id = this.#addMessage(message, now);
      this.weights.add(weighed, session.tenant);
      this.#addEntry(session, message, { message: id, bytes, qos, createdAt: now });
    }
    this.weights.keep(weighed, id);
    return weighed.count > 0;
  }

  /** Entries of a session in order, those that are removed left out; at most about `most`, and no more when none are given. */
  read(session: Session, from: number, to: number, most: number): QueueEntry[] {
    const { gone, id } = session;
    let start = from;
    for (;;) {
      const rows = statement<DeliveryRow>(this.#db, selectDelivery).raw().all(id, start, to, most);
      const there: QueueEntry[] = [];
      for (const row of rows) if (!gone.has(row[0])) there.push(readDelivery(row));
      if (there.length > 0 || rows.length < most) return there;
      start = rows.at(-1)![0] + 1;
    }
  }

  /** The same; undefined when the disk cannot be read, which is logged. */
  tryRead(session: Session, from: number, to: number, most: number): QueueEntry[] | undefined {
    return this.#batch.safely(() => this.read(session, from, to, most));
  }

  /** Removes an entry, from the disk a little later. */
  remove(session: Session, entry: Removable): void {
    if (session.gone.has(entry.sequence)) return;
    session.messages--;
    session.bytes -= entry.bytes;
    this.queued--;
    const wasLast = this.weights.remove(entry.message, entry.bytes, session.tenant);
    this.#removals.add(session, entry.sequence, wasLast ? entry.message : 0);
    this.#batch.soon();
  }

  /** Whether an entry has waited too long. */
  isTooOld({ createdAt }: QueueEntry): boolean {
    return createdAt < this.#nowSeconds() - this.#limits.queueSeconds;
  }

  /** Removes an entry that has waited too long. */
  drop(session: Session, entry: QueueEntry): void {
    this.remove(session, entry);
    this.#tellDrop("queue-age", session.client);
  }

  /** PUBREC arrived. */
  release(session: Session, sequence: number): void {
    this.#batch.write(() => statement(this.#db, updateReleased).run(session.id, sequence));
  }

  /** Removes the oldest entries while they are too old, at most `most`; true if there may be more. */
  expire(session: Session, most: number): boolean {
    if (session.messages === 0 || session.oldestAt >= this.#nowSeconds() - this.#limits.queueSeconds) return false;
    const entries = this.read(session, session.first, session.durable, most);
    for (const entry of entries) {
      session.first = entry.sequence;
      session.oldestAt = entry.createdAt;
      if (!this.isTooOld(entry) || session.attendant?.isInFlight(entry.sequence) === true) return false;
      this.drop(session, entry);
    }
    return entries.length > 0;
  }

  /** Removes entries of a session that is over, at most `most`; true if there may be more. */
  clear(session: Session, most: number): boolean {
    const entries = this.read(session, session.first, session.durable, most);
    for (const entry of entries) {
      session.first = entry.sequence;
      this.remove(session, entry);
    }
    return entries.length > 0;
  }

  beforeCommit(): void {
    this.#removals.write();
  }

  committed(): void {
    this.#removals.settled();
    this.weights.committed();
    this.#firstOfTurn = this.#lastMessage + 1;
    for (const session of this.#touched.keys()) {
      session.durable = session.next - 1;
      session.attendant?.settled();
    }
    this.#untold = [...this.#touched.keys()];
    this.#touched.clear();
  }

  rolledBack(): void {
    for (const [session, { messages, bytes }] of this.#touched) {
      session.next = session.durable + 1;
      session.messages -= messages;
      session.bytes -= bytes;
      this.queued -= messages;
      session.attendant?.settled();
    }
    this.weights.rolledBack(this.#firstOfTurn, this.#lastMessage);
    this.#firstOfTurn = this.#lastMessage + 1;
    this.#touched.clear();
  }

  told(): void {
    const untold = this.#untold;
    this.#untold = [];
    for (const session of untold) this.#batch.safely(() => session.attendant?.told());
  }

  #hasRoom(session: Session, weighed: Weighed): boolean {
    const { queueMessages, queueBytes } = this.#limits;
    let why: StoreDrop | undefined;
    if (session.messages >= Math.min(queueMessages, packetIds - 1)) why = "queue-messages";
    else if (session.bytes + weighed.bytes > queueBytes) why = "queue-bytes";
    else if (!this.weights.hasRoom(weighed, session.tenant)) why = "store-bytes";
    if (why === undefined) return true;
    this.#tellDrop(why, session.client);
    return false;
  }

  #addMessage(message: StorableMessage, now: number): number {
    const { topic, payload, retain, clientId, brokerId, brokerCounter } = message;
    const id = ++this.#lastMessage;
    const [publisher, broker, counter] = [clientId ?? null, brokerId ?? null, brokerCounter ?? null];
    this.#insertMessage.run(id, topic, payload, Number(retain), publisher, broker, counter, now);
    return id;
  }

  #addEntry(
    session: Session,
    stored: StorableMessage,
    entry: Pick<QueueEntry, "message" | "bytes" | "qos" | "createdAt">,
  ): void {
    const { message, bytes, qos, createdAt } = entry;
    const sequence = session.next;
    if (sequence - session.first >= packetIds - 1) this.#dropOverrun(session);
    let touched = this.#touched.get(session);
    if (touched === undefined) this.#touched.set(session, (touched = { messages: 0, bytes: 0 }));
    touched.messages++;
    touched.bytes += bytes;
    if (session.messages === 0) {
      session.first = sequence;
      session.oldestAt = createdAt;
    }
    session.next++;
    session.messages++;
    session.bytes += bytes;
    this.queued++;
    this.#insertEntry.run(session.id, sequence, message, qos);
    session.attendant?.added(newEntry(stored, { sequence, message, bytes, qos, createdAt }));
  }

  /** The packet identifier of the oldest entry is about to be needed again. */
  #dropOverrun(session: Session): void {
    const [oldest] = this.read(session, session.first, session.durable, 1);
    session.first = oldest?.sequence ?? session.next;
    if (oldest === undefined || session.next - oldest.sequence < packetIds - 1) return;
    this.remove(session, oldest);
    session.attendant?.dropped(oldest.sequence);
    this.#tellDrop("queue-messages", session.client);
  }

  /** Counts what is there, and removes what belongs to nobody: sessions that ended, a crash before their queue was removed. */
  #load(sessions: Iterable<Session>): void {
    const db = this.#db;
    db.exec("DELETE FROM queue WHERE session NOT IN (SELECT id FROM session)");
    db.exec("DELETE FROM message WHERE id NOT IN (SELECT message FROM queue)");
    const size = "octet_length(topic) + octet_length(payload)";
    interface Sum {
      session: number;
      messages: number;
      bytes: number;
      first: number;
      last: number;
      oldest: number;
    }
    const sums = db
      .prepare(
        `SELECT session, count(*) AS messages, sum(${size}) AS bytes, min(sequence) AS first, max(sequence) AS last,
         min(created_at) AS oldest FROM queue JOIN message ON message.id = queue.message GROUP BY session`,
      )
      .all() as Sum[];
    const bySession = new Map(sums.map((sum) => [sum.session, sum]));
    const filled = new Map<number, Session>();
    for (const session of sessions) {
      const sum = bySession.get(session.id);
      if (sum === undefined) continue;
      session.next = Math.max(session.next, sum.last + 1);
      session.durable = session.next - 1;
      Object.assign(session, { messages: sum.messages, bytes: sum.bytes, first: sum.first, oldestAt: sum.oldest });
      this.queued += sum.messages;
      filled.set(session.id, session);
    }
    this.weights.load(db, filled);
    this.#lastMessage = db.prepare("SELECT coalesce(max(id), 0) FROM message").pluck().get() as number;
    this.#firstOfTurn = this.#lastMessage + 1;
  }
}
