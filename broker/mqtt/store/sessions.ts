/**
 * The stored sessions and their subscriptions (MQTT 3.1.1, section 3.1.2.4): on disk, and in memory what routing asks.
 *
 * A subscription takes part in routing once it is on disk. A session is written with the next commit, and written again
 * when its client comes and goes; while the client is there, it has no `left_at`, so that after a crash everything in its
 * queue counts as sent before.
 */
import { ownerOf } from "../../../shared/names.ts";
import { statement, type Database } from "../../sqlite/database.ts";
import type { StoreLimits } from "../limits.ts";
import type { Batch, Participant } from "./batch.ts";
import { OwnedIds } from "./owned-ids.ts";
import { Routes } from "./routes.ts";
import { makeSession, makeStored, readSubscription } from "./session.ts";
import type { Session, SessionRow, Stored, Subscription, SubscriptionRow } from "./session.ts";
import { Shares, tenantOf } from "./shares.ts";

const upsertSession = `INSERT INTO session (id, client, since, left_at, sent, next) VALUES (?, ?, ?, ?, ?, ?)
  ON CONFLICT (id) DO UPDATE SET left_at = excluded.left_at, sent = excluded.sent, next = excluded.next`;
const upsertSubscription = `INSERT INTO subscription (session, filter, qos, rh, rap, nl, identifier) VALUES (?, ?, ?, ?, ?, ?, ?)
  ON CONFLICT (session, filter) DO UPDATE SET qos = excluded.qos, rh = excluded.rh, rap = excluded.rap, nl = excluded.nl,
  identifier = excluded.identifier`;

/** All stored sessions. */
export class Sessions implements Participant {
  readonly #db: Database;
  readonly #batch: Batch;
  readonly #limits: StoreLimits;
  readonly #nowSeconds: () => number;
  readonly #byClient = new Map<string, Session>();
  readonly #ids = new OwnedIds();
  /** What is not on disk as it is in memory. */
  readonly #changed = new Set<Session>();
  #lastId = 0;
  /** Sessions that have subscriptions. */
  #subscribed = 0;
  readonly routes = new Routes();
  readonly shares: Shares;

  constructor(db: Database, batch: Batch, limits: StoreLimits, nowSeconds: () => number) {
    this.#db = db;
    this.#batch = batch;
    this.#limits = limits;
    this.#nowSeconds = nowSeconds;
    this.shares = new Shares(limits.sessions);
    this.#load();
  }

  get size(): number {
    return this.#byClient.size;
  }
  get subscribed(): number {
    return this.#subscribed;
  }
  /** That of the session that began last; each has a greater one. */
  get lastId(): number {
    return this.#lastId;
  }
  all(): Iterable<Session> {
    return this.#byClient.values();
  }
  get(client: string): Session | undefined {
    return this.#byClient.get(client);
  }
  /** The client ids of an owner that have a session. */
  idsOf(owner: string): string[] {
    return this.#ids.of(owner);
  }

  /** The session of a client, which begins if there is none. */
  open(client: string): Session {
    const known = this.#byClient.get(client);
    if (known !== undefined) return known;
    const now = this.#nowSeconds();
    const session = makeSession({ id: ++this.#lastId, client, since: now, left_at: now, sent: 0, next: 1 });
    this.#add(session);
    this.changed(session);
    return session;
  }

  /** Has a session written with the next commit. */
  changed(session: Session): void {
    this.#changed.add(session);
    this.#batch.soon();
  }

  /** See `DurableStore.mayKeepSession`. */
  mayBegin(client: string): boolean {
    if (this.#byClient.has(client)) return true;
    if (this.#ids.count(ownerOf(client)) >= this.#limits.sessionsPerClient) return false;
    return this.shares.mayTake(tenantOf(client), 1, this.#byClient.size + 1);
  }

  /** Ends a session. `then` when that is on disk. What is in its queue is for the caller to remove. */
  end(session: Session, then: () => void): void {
    if (session.isOver) return;
    this.#batch.write(() => {
      const wasChanged = this.#changed.has(session);
      this.#remove(session);
      this.#batch.onRollback(() => {
        // one that has begun since then cannot stay beside it
        const other = this.#byClient.get(session.client);
        other?.attendant?.close();
        if (other !== undefined) this.#remove(other);
        this.#add(session);
        if (wasChanged) this.#changed.add(session);
      });
      statement(this.#db, "DELETE FROM subscription WHERE session = ?").run(session.id);
      statement(this.#db, "DELETE FROM session WHERE id = ?").run(session.id);
      this.#batch.onCommit(() => {
        this.#withdrawAll(session);
        then();
      });
    });
  }

  /** Ends a session in memory, at once and for good. What is on disk is for the caller to remove. */
  takeOut(session: Session): void {
    this.#remove(session);
    this.#withdrawAll(session);
    session.attendant?.close();
    session.attendant = undefined;
  }

  /** Stores subscriptions, each in place of the one of the same filter. */
  subscribe(client: string, subscriptions: readonly Subscription[]): void {
    const session = this.open(client);
    // the last one of a filter is what counts
    const last = new Map(subscriptions.map((subscription) => [subscription.topic, subscription]));
    this.#batch.write(() => {
      const upsert = statement(this.#db, upsertSubscription);
      for (const { topic, qos, rh, rap, nl, subscriptionIdentifier } of last.values()) {
        upsert.run(session.id, topic, qos, rh ?? null, asBit(rap), asBit(nl), subscriptionIdentifier ?? null);
      }
      this.#changed.add(session);
      this.#batch.onCommit(() => {
        for (const subscription of last.values()) this.#take(makeStored(session, subscription));
      });
    });
  }

  unsubscribe(client: string, filters: readonly string[]): void {
    const session = this.#byClient.get(client);
    if (session === undefined) return;
    this.#batch.write(() => {
      const remove = statement(this.#db, "DELETE FROM subscription WHERE session = ? AND filter = ?");
      for (const filter of filters) remove.run(session.id, filter);
      this.#batch.onCommit(() => {
        if (session.isOver) return;
        for (const filter of filters) {
          const stored = session.subscriptions.get(filter);
          if (stored === undefined) continue;
          this.routes.withdraw(stored);
          session.subscriptions.delete(filter);
          if (session.subscriptions.size === 0) this.#subscribed--;
        }
      });
    });
  }

  beforeCommit(): void {
    if (this.#changed.size === 0) return;
    const upsert = statement(this.#db, upsertSession);
    for (const { id, client, since, leftAt, sent, next } of this.#changed) {
      upsert.run(id, client, since, leftAt, sent, next);
    }
  }
  committed(): void {
    this.#changed.clear();
  }

  #load(): void {
    const rows = this.#db.prepare("SELECT * FROM session ORDER BY id").all() as SessionRow[];
    const byId = new Map<number, Session>();
    for (const row of rows) {
      const session = makeSession(row);
      byId.set(row.id, session);
      this.#add(session);
      this.#lastId = row.id;
    }
    const subscriptions = this.#db.prepare("SELECT * FROM subscription").iterate() as IterableIterator<SubscriptionRow>;
    for (const row of subscriptions) {
      const session = byId.get(row.session);
      if (session !== undefined) this.#take(makeStored(session, readSubscription(row)));
    }
  }

  #add(session: Session): void {
    session.isOver = false;
    this.#byClient.set(session.client, session);
    this.#ids.add(session.client);
    this.shares.add(session.tenant, 1);
  }

  #remove(session: Session): void {
    session.isOver = true;
    this.#byClient.delete(session.client);
    this.#changed.delete(session);
    this.#ids.delete(session.client);
    this.shares.add(session.tenant, -1);
  }

  /** Its subscriptions take part in routing no longer. */
  #withdrawAll(session: Session): void {
    for (const stored of session.subscriptions.values()) this.routes.withdraw(stored);
    if (session.subscriptions.size > 0) this.#subscribed--;
    session.subscriptions.clear();
  }

  /** Lets a subscription take part in routing. */
  #take(stored: Stored): void {
    const { session, topic } = stored;
    if (session.isOver) return;
    const previous = session.subscriptions.get(topic);
    if (previous !== undefined) this.routes.withdraw(previous);
    else if (session.subscriptions.size === 0) this.#subscribed++;
    session.subscriptions.set(topic, stored);
    this.routes.add(stored);
  }
}

function asBit(flag: boolean | undefined): number | null {
  return flag === undefined ? null : Number(flag);
}
