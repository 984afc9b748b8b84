/**
 * Entries of queues: what is stored of a message, how an entry is read, and the packet identifier that follows from its place.
 */

/** How many packet identifiers there are. */
export const packetIds = 65_535;

/** A message as it is stored; `brokerId` and `brokerCounter` are kept for whoever looks for it by them. */
export interface StorableMessage {
  readonly topic: string;
  readonly payload: Buffer | string;
  readonly qos: 0 | 1 | 2;
  readonly retain: boolean;
  readonly clientId?: string | undefined;
  readonly brokerId?: string | undefined;
  readonly brokerCounter?: number | undefined;
}

/** An entry of a queue with its message, to be delivered. */
export interface QueueEntry {
  readonly sequence: number;
  readonly message: number;
  /** Of the message. */
  readonly bytes: number;
  readonly packetId: number;
  readonly qos: 1 | 2;
  readonly topic: string;
  payload: Buffer;
  readonly retain: boolean;
  readonly isReleased: boolean;
  wasSent: boolean;
  readonly createdAt: number;
}

/** What removing an entry needs. */
export type Removable = Pick<QueueEntry, "sequence" | "message" | "bytes">;

/** An entry with its message, as read from the disk. */
export interface EntryRow {
  readonly sequence: number;
  readonly message: number;
  readonly qos: 1 | 2;
  readonly released: number;
  readonly message_id: number | null;
  readonly topic: string;
  readonly payload: Buffer | string;
  readonly retain: number;
  readonly publisher: string | null;
  readonly broker_id: string | null;
  readonly broker_counter: number | null;
  readonly created_at: number;
}

/** The entries of one session; a query continues it. */
export const selectEntry = `SELECT sequence, message, q.qos, released, message_id, topic, payload, retain, publisher, broker_id,
  broker_counter, created_at FROM queue q JOIN message m ON m.id = q.message WHERE session = ?`;

/** A range of them in order. */
export const selectEntries = `${selectEntry} AND sequence BETWEEN ? AND ? ORDER BY sequence LIMIT ?`;

/** The same, what is delivered of them alone; read as arrays, because that is what most messages cost. */
export const selectDelivery = `SELECT sequence, message, q.qos, released, topic, payload, retain, created_at
  FROM queue q JOIN message m ON m.id = q.message WHERE session = ? AND sequence BETWEEN ? AND ? ORDER BY sequence LIMIT ?`;
export type DeliveryRow = [
  sequence: number,
  message: number,
  qos: 1 | 2,
  released: number,
  topic: string,
  payload: Buffer | string,
  retain: number,
  createdAt: number,
];

/** An entry that was just written. */
export function newEntry(
  { topic, payload, retain }: StorableMessage,
  {
    sequence,
    message,
    bytes,
    qos,
    createdAt,
  }: Pick<QueueEntry, "sequence" | "message" | "bytes" | "qos" | "createdAt">,
): QueueEntry {
  return {
    sequence,
    message,
    bytes,
    packetId: packetIdOf(sequence),
    qos,
    topic,
    payload: asBytes(payload),
    retain,
    isReleased: false,
    wasSent: false,
    createdAt,
  };
}

/** The entry of a row. */
export function readDelivery(row: DeliveryRow): QueueEntry {
  const [sequence, message, qos, released, topic, content, retain, createdAt] = row;
  const payload = asBytes(content);
  return {
    sequence,
    message,
    bytes: Buffer.byteLength(topic) + payload.length,
    packetId: packetIdOf(sequence),
    qos,
    topic,
    payload,
    retain: retain === 1,
    isReleased: released === 1,
    wasSent: false,
    createdAt,
  };
}

/** What removing an entry needs. */
export function asEntry(row: EntryRow): Removable {
  const bytes = Buffer.byteLength(row.topic) + Buffer.byteLength(row.payload);
  return { sequence: row.sequence, message: row.message, bytes };
}

/** A payload as it is sent. */
function asBytes(payload: Buffer | string): Buffer {
  return typeof payload === "string" ? Buffer.from(payload) : payload;
}

/** The packet identifier of an entry. */
export function packetIdOf(sequence: number): number {
  return ((sequence - 1) % packetIds) + 1;
}
