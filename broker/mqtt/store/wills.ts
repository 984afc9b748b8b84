/**
 * Wills of connected clients (MQTT 3.1.1, section 3.1.2.5), with what allowed each, so that after a crash it can be
 * decided again whether it may be published.
 */
import { statement, type Database } from "../../sqlite/database.ts";
import type { Batch } from "./batch.ts";
import { OwnedIds } from "./owned-ids.ts";

/** A will as a CONNECT has it. */
export interface WillPacket {
  topic: string;
  payload: Buffer | string;
  qos: 0 | 1 | 2;
  retain: boolean;
  brokerId?: string;
  clientId?: string;
}

/** A will that an earlier process left behind. */
export interface LeftWill {
  readonly clientId: string;
  readonly packet: WillPacket;
  readonly grounds: unknown;
}

/** What Aedes hands over: a client, or the id of one. */
export interface WillHolder {
  readonly id: string;
  readonly closed?: boolean;
  readonly will?: unknown;
}

interface WillRow {
  readonly client: string;
  readonly broker_id: string;
  readonly topic: string;
  readonly payload: Buffer | string;
  readonly qos: 0 | 1 | 2;
  readonly retain: number;
  readonly grounds: string | null;
}

interface Kept {
  readonly brokerId: string;
  /** Whose it is, while this process has it. */
  readonly holder: WillHolder | undefined;
  /** It was handed over by `take`. */
  isTaken: boolean;
}

const upsert = `INSERT OR REPLACE INTO will (client, broker_id, topic, payload, qos, retain, grounds)
  VALUES (?, ?, ?, ?, ?, ?, ?)`;

/** All wills. */
export class Wills {
  readonly #db: Database;
  readonly #batch: Batch;
  readonly #groundsOf: ((client: unknown) => unknown) | undefined;
  readonly #kept = new Map<string, Kept>();
  readonly #ids = new OwnedIds();

  constructor(db: Database, batch: Batch, groundsOf: ((client: unknown) => unknown) | undefined) {
    this.#db = db;
    this.#batch = batch;
    this.#groundsOf = groundsOf;
    const rows = db.prepare("SELECT client, broker_id FROM will").all() as { client: string; broker_id: string }[];
    for (const row of rows) this.#keep(row.client, { brokerId: row.broker_id, holder: undefined, isTaken: false });
  }

  /** Stores the will of a client, and names broker and client in it. */
  put(client: WillHolder, packet: WillPacket, brokerId: string): void {
    packet.brokerId = brokerId;
    packet.clientId = client.id;
    const { id } = client;
    const grounds = JSON.stringify(this.#groundsOf?.(client)) as string | undefined;
    this.#batch.write(() => {
      const previous = this.#kept.get(id);
      this.#keep(id, { brokerId, holder: client, isTaken: false });
      this.#batch.onRollback(() => this.#keep(id, previous));
      const { topic, payload, qos, retain } = packet;
      statement(this.#db, upsert).run(id, brokerId, topic, payload, qos, Number(retain), grounds ?? null);
    });
  }

  get(clientId: string): WillPacket | undefined {
    return this.#kept.has(clientId) ? asPacket(this.#row(clientId)) : undefined;
  }

  /**
   * Deletes the will of a client and returns it. Not one that another connection of the same client has stored since then
   * and still holds.
   */
  delete(client: WillHolder): WillPacket | undefined {
    const kept = this.#kept.get(client.id);
    if (kept === undefined) return undefined;
    if (kept.holder !== client && isHeld(kept)) return undefined;
    const packet = asPacket(this.#row(client.id));
    this.#batch.write(() => {
      this.#keep(client.id, undefined);
      this.#batch.onRollback(() => this.#keep(client.id, kept));
      statement(this.#db, "DELETE FROM will WHERE client = ?").run(client.id);
    });
    return packet;
  }

  has(clientId: string): boolean {
    return this.#kept.has(clientId);
  }
  /** The client ids of an owner that have a will. */
  idsOf(owner: string): string[] {
    return this.#ids.of(owner);
  }

  /**
   * Forgets the will of a client in memory alone, for good; what is on disk is for the caller to remove. `isForced`: also that of
   * a connection that is open. False when there is none to forget.
   */
  drop(clientId: string, isForced: boolean): boolean {
    const kept = this.#kept.get(clientId);
    if (kept === undefined || (!isForced && isHeld(kept))) return false;
    this.#keep(clientId, undefined);
    return true;
  }

  /** The wills of earlier processes, which from now on are the caller's to publish and to delete. */
  take(): LeftWill[] {
    const left: LeftWill[] = [];
    for (const [clientId, kept] of this.#kept) {
      if (kept.holder !== undefined) continue;
      const row = this.#row(clientId);
      if (row === undefined) continue;
      kept.isTaken = true;
      const grounds = row.grounds === null ? undefined : (JSON.parse(row.grounds) as unknown);
      left.push({ clientId, packet: asPacket(row)!, grounds });
    }
    return left;
  }

  /** The wills of brokers that are not among these; all that were not taken when none are named. */
  *stream(own: string, alive?: Readonly<Record<string, unknown>>): Generator<WillPacket, void, undefined> {
    for (const [clientId, { brokerId, holder, isTaken }] of this.#kept) {
      const isOurs = holder !== undefined && brokerId === own;
      if (isTaken || (alive !== undefined && (isOurs || alive[brokerId]))) continue;
      const packet = this.get(clientId);
      if (packet !== undefined) yield packet;
    }
  }

  #row(clientId: string): WillRow | undefined {
    return statement<WillRow>(this.#db, "SELECT * FROM will WHERE client = ?").get(clientId);
  }

  #keep(clientId: string, kept: Kept | undefined): void {
    if (kept === undefined) {
      this.#kept.delete(clientId);
      this.#ids.delete(clientId);
    } else {
      this.#kept.set(clientId, kept);
      this.#ids.add(clientId);
    }
  }
}

/** Whether a connection that is open has stored it and holds it. */
function isHeld({ holder }: Kept): boolean {
  return holder !== undefined && holder.closed === false && Boolean(holder.will);
}

function asPacket(row: WillRow | undefined): WillPacket | undefined {
  if (row === undefined) return undefined;
  const { topic, payload, qos, retain, broker_id: brokerId, client: clientId } = row;
  return { topic, payload, qos, retain: retain === 1, brokerId, clientId };
}
