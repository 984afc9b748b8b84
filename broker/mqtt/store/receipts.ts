/**
 * Receipts of QoS 2: which PUBLISH of a client has arrived and is not released (MQTT 3.1.1, section 4.3.3), so that a
 * repetition is not taken for another message. On disk for stored sessions; those of others end with the process.
 */
import { statement, type Database } from "../../sqlite/database.ts";
import type { Receipt } from "../durable.ts";
import type { Batch } from "./batch.ts";
import type { Sessions } from "./sessions.ts";

/** All receipts. */
export class Receipts {
  readonly #db: Database;
  readonly #batch: Batch;
  readonly #sessions: Sessions;
  /** By client, with the packet where somebody wants it back. */
  readonly #byClient = new Map<string, Map<number, object | undefined>>();

  constructor(db: Database, batch: Batch, sessions: Sessions) {
    this.#db = db;
    this.#batch = batch;
    this.#sessions = sessions;
    const rows = db
      .prepare("SELECT client, message_id FROM receipt JOIN session ON session.id = receipt.session")
      .iterate() as IterableIterator<{ client: string; message_id: number }>;
    for (const row of rows) this.#set(row.client, row.message_id, undefined);
  }

  has({ clientId, messageId }: Receipt): boolean {
    return this.#byClient.get(clientId)?.has(messageId) ?? false;
  }
  packet({ clientId, messageId }: Receipt): object | undefined {
    return this.#byClient.get(clientId)?.get(messageId);
  }
  count(clientId: string): number {
    return this.#byClient.get(clientId)?.size ?? 0;
  }

  /** Within a write of the batch. */
  add({ clientId, messageId }: Receipt, packet?: object): void {
    const wasThere = this.has({ clientId, messageId });
    this.#set(clientId, messageId, packet);
    if (!wasThere) this.#batch.onRollback(() => this.#delete(clientId, messageId));
    const session = this.#sessions.get(clientId);
    if (session === undefined) return;
    statement(this.#db, "INSERT OR REPLACE INTO receipt (session, message_id) VALUES (?, ?)").run(
      session.id,
      messageId,
    );
  }

  remove({ clientId, messageId }: Receipt): void {
    if (!this.has({ clientId, messageId })) return;
    this.#batch.write(() => {
      const packet = this.packet({ clientId, messageId });
      this.#delete(clientId, messageId);
      this.#batch.onRollback(() => this.#set(clientId, messageId, packet));
      const session = this.#sessions.get(clientId);
      if (session === undefined) return;
      statement(this.#db, "DELETE FROM receipt WHERE session = ? AND message_id = ?").run(session.id, messageId);
    });
  }

  /** Removes all of a client. */
  clear(clientId: string): void {
    const all = this.#byClient.get(clientId);
    if (all === undefined) return;
    this.#batch.write(() => {
      this.#byClient.delete(clientId);
      this.#batch.onRollback(() => this.#byClient.set(clientId, all));
      const session = this.#sessions.get(clientId);
      if (session === undefined) return;
      statement(this.#db, "DELETE FROM receipt WHERE session = ?").run(session.id);
    });
  }

  /** The same in memory alone: what is on disk is for the caller to remove. */
  forget(clientId: string): void {
    this.#byClient.delete(clientId);
  }

  #set(clientId: string, messageId: number, packet: object | undefined): void {
    let ofClient = this.#byClient.get(clientId);
    if (ofClient === undefined) this.#byClient.set(clientId, (ofClient = new Map()));
    ofClient.set(messageId, packet);
  }

  #delete(clientId: string, messageId: number): boolean {
    const ofClient = this.#byClient.get(clientId);
    if (ofClient?.delete(messageId) !== true) return false;
    if (ofClient.size === 0) this.#byClient.delete(clientId);
    return true;
  }
}
