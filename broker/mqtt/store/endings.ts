/**
 * Sessions that are taken back: they are over in memory at once and for good, and go from the disk with the next commit that
 * succeeds, however many fail before it. A message, a subscription or a will that is in the open transaction goes with them.
 *
 * Unlike an end that its client asks for, this one is never undone: when the turn is rolled back, what that brings back is ended
 * again.
 */
import { ownerOf } from "../../../shared/names.ts";
import { statement, type Database } from "../../sqlite/database.ts";
import type { Batch, Participant } from "./batch.ts";
import type { Receipts } from "./receipts.ts";
import type { Session } from "./session.ts";
import type { Sessions } from "./sessions.ts";
import type { Wills } from "./wills.ts";

/** What endings are made of. */
export interface EndingsOptions {
  readonly sessions: Sessions;
  readonly receipts: Receipts;
  readonly wills: Wills;
  /** Removes what is in the queue of a session that is over. */
  readonly clear: (session: Session) => void;
}

/** Whose sessions end: all of an owner, or one. */
interface Order {
  readonly owner: string;
  readonly clientId: string | undefined;
  readonly withWills: boolean;
  /** Sessions that begin later are others. */
  readonly upTo: number;
  /** The client ids that it has found. */
  readonly ids: Set<string>;
}

const deletions = ["receipt", "subscription"].map((table) => `DELETE FROM ${table} WHERE session = ?`);
const deleteSession = "DELETE FROM session WHERE id = ?";
const deleteWill = "DELETE FROM will WHERE client = ?";

/** The endings of this turn, and those that are not on disk yet. */
export class Endings implements Participant {
  readonly #db: Database;
  readonly #batch: Batch;
  readonly #options: EndingsOptions;
  #orders: Order[] = [];
  readonly #owners = new Set<string>();
  readonly #clients = new Set<string>();
  readonly #over = new Set<Session>();
  readonly #wills = new Set<string>();

  constructor(db: Database, batch: Batch, options: EndingsOptions) {
    this.#db = db;
    this.#batch = batch;
    this.#options = options;
  }

  /** Ends the session of one client id, or of all of an owner. */
  begin(owner: string, clientId?: string, withWills = true): void {
    const ids = new Set(clientId === undefined ? [] : [clientId]);
    const order = { owner, clientId, withWills, upTo: this.#options.sessions.lastId, ids };
    this.#orders.push(order);
    if (clientId === undefined) this.#owners.add(owner);
    else this.#clients.add(clientId);
    this.#carryOut(order);
    // whoever waits for the disk waits for this as well
    this.#batch.write(() => undefined);
  }

  /** Whether the session of this client has just ended: what was on its way to it does not begin another. */
  hasEnded(clientId: string): boolean {
    return this.#orders.length > 0 && (this.#clients.has(clientId) || this.#owners.has(ownerOf(clientId)));
  }

  beforeCommit(): void {
    for (const { id } of this.#over) {
      for (const sql of deletions) statement(this.#db, sql).run(id);
      statement(this.#db, deleteSession).run(id);
    }
    for (const client of this.#wills) {
      // one that was stored since then is of another connection
      if (!this.#options.wills.has(client)) statement(this.#db, deleteWill).run(client);
    }
  }

  committed(): void {
    for (const session of this.#over) this.#options.clear(session);
    this.#over.clear();
    this.#wills.clear();
    this.#orders = [];
    this.#owners.clear();
    this.#clients.clear();
  }

  /** What other writes of the turn had removed, or changed, is there again. */
  rolledBack(): void {
    for (const order of this.#orders) this.#carryOut(order);
  }

  #carryOut({ owner, clientId, withWills, upTo, ids }: Order): void {
    const { sessions, receipts, wills } = this.#options;
    const isForAll = clientId === undefined;
    if (isForAll) for (const id of [...sessions.idsOf(owner), ...wills.idsOf(owner)]) ids.add(id);
    for (const id of ids) {
      if (withWills && wills.drop(id, isForAll)) this.#wills.add(id);
      const session = sessions.get(id);
      if (session !== undefined && session.id > upTo) continue;
      receipts.forget(id);
      if (session === undefined) continue;
      sessions.takeOut(session);
      this.#over.add(session);
    }
  }
}
