/**
 * Queues as Aedes sees them when nobody attends to a session: entries found by the packet identifier or by the broker's
 * number of the message, which whoever delivers has put on them.
 */
import { statement, type Database } from "../../sqlite/database.ts";
import type { Batch } from "./batch.ts";
import { asEntry, selectEntries, selectEntry, type EntryRow } from "./entries.ts";
import type { Queues } from "./queues.ts";
import type { Session } from "./session.ts";

/** A message of a queue, or the acknowledgement of one. */
export interface Outgoing {
  readonly cmd?: string | undefined;
  readonly brokerId?: string | undefined;
  readonly brokerCounter?: number | undefined;
  readonly messageId?: number | null | undefined;
}

const perRead = 100;
const byMessageId = `${selectEntry} AND message_id = ? ORDER BY sequence`;
const byBroker = `${selectEntry} AND broker_id = ? AND broker_counter = ? ORDER BY sequence`;

/** The queues, packet by packet. */
export class OutgoingPackets {
  readonly #db: Database;
  readonly #batch: Batch;
  readonly #queues: Queues;

  constructor(db: Database, batch: Batch, queues: Queues) {
    this.#db = db;
    this.#batch = batch;
    this.#queues = queues;
  }

  /** Puts a packet identifier on a message, or notes that it is released. False when there is no such message. */
  update(session: Session, packet: Outgoing): boolean {
    const { brokerId, brokerCounter, messageId } = packet;
    const ofBroker = brokerId === undefined ? undefined : this.#find(session, byBroker, [brokerId, brokerCounter ?? 0]);
    const row = ofBroker ?? this.#find(session, byMessageId, [messageId ?? null]);
    if (row === undefined) return false;
    const isRelease = packet.cmd === "pubrel";
    this.#batch.write(() => {
      statement(
        this.#db,
        "UPDATE queue SET message_id = ?, released = max(released, ?) WHERE session = ? AND sequence = ?",
      ).run(messageId ?? null, Number(isRelease), session.id, row.sequence);
    });
    return true;
  }

  /** Removes the message with a packet identifier and returns it. */
  clear(session: Session, messageId: number): object | undefined {
    const row = this.#find(session, byMessageId, [messageId]);
    if (row === undefined) return undefined;
    this.#queues.remove(session, asEntry(row));
    return asPacket(row);
  }

  /** Everything in the queue, in order, read as it is asked for. */
  *stream(session: Session): Generator<object, void, undefined> {
    const last = session.next - 1;
    for (let from = session.first; from <= last;) {
      const rows = statement<EntryRow>(this.#db, selectEntries).all(session.id, from, last, perRead);
      for (const row of rows) if (!session.gone.has(row.sequence)) yield asPacket(row);
      if (rows.length === 0) return;
      from = rows.at(-1)!.sequence + 1;
    }
  }

  #find(session: Session, sql: string, values: unknown[]): EntryRow | undefined {
    const rows = statement<EntryRow>(this.#db, sql).all(session.id, ...values);
    return rows.find(({ sequence }) => !session.gone.has(sequence));
  }
}

function asPacket(row: EntryRow): object {
  const messageId = row.message_id ?? undefined;
  if (row.released === 1) return { cmd: "pubrel", messageId };
  return {
    ...(row.publisher === null ? {} : { clientId: row.publisher }),
    cmd: "publish",
    brokerId: row.broker_id ?? undefined,
    brokerCounter: row.broker_counter ?? 0,
    topic: row.topic,
    payload: row.payload,
    qos: row.qos,
    retain: row.retain === 1,
    dup: false,
    messageId,
  };
}
