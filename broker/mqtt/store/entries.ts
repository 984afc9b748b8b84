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

/** An entry that was just written. */
export interface Added {
  readonly sequence: number;
  readonly message: number;
  readonly bytes: number;
  readonly qos: 1 | 2;
  readonly stored: StorableMessage;
}

/** The entries of one session; a query continues it. */
export const selectEntry = `SELECT sequence, message, q.qos, released, message_id, topic, payload, retain, publisher, broker_id,
  broker_counter, created_at FROM queue q JOIN message m ON m.id = q.message WHERE session = ?`;

/** A range of them in order. */
export const selectEntries = `${selectEntry} AND sequence BETWEEN ? AND ? ORDER BY sequence LIMIT ?`;

/** What removing an entry needs. */
export function asEntry(row: EntryRow): { sequence: number; message: number; bytes: number } {
  const bytes = Buffer.byteLength(row.topic) + Buffer.byteLength(row.payload);
  return { sequence: row.sequence, message: row.message, bytes };
}

/** The packet identifier of an entry. */
export function packetIdOf(sequence: number): number {
  return ((sequence - 1) % packetIds) + 1;
}
