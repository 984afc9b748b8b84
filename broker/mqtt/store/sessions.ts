/**
 * The stored sessions and their subscriptions (MQTT 3.1.1, section 3.1.2.4): on disk, and in memory what routing asks.
 *
 * A subscription takes part in routing once it is on disk. A session is written with the next commit, and written again
 * when its client comes and goes; while the client is there, it has no `left_at`, so that after a crash everything in its
 * queue counts as sent before.
 */
import { readShared } from "../../../shared/topic.ts";
import { statement, type Database } from "../../sqlite/database.ts";
import { FilterTree } from "../filter-tree.ts";
import type { StoreLimits } from "../limits.ts";
import type { Batch, Participant } from "./batch.ts";
import type { Added } from "./queues.ts";

/** What Aedes stores of a SUBSCRIBE, and gets back. */
export interface Subscription {
  readonly topic: string;
  readonly qos: 0 | 1 | 2;
  readonly rh?: number;
  readonly rap?: boolean;
  readonly nl?: boolean;
  readonly subscriptionIdentifier?: number;
}

/** A subscription that takes part in routing. */
export interface Stored extends Subscription {
  readonly session: Session;
}

/** Attends to a session while its client is connected. */
export interface Attendant {
  /** An entry was written. */
  added(entry: Added): void;
  /** What was added up to the session's `durable` is on disk; what comes after it is not, and will not be. */
  settled(): void;
  /** Everybody who waited for the commit has been told. */
  told(): void;
  /** This entry is not in the queue any more. */
  dropped(sequence: number): void;
  /** Whether this entry is being delivered and must stay. */
  isInFlight(sequence: number): boolean;
  /** The session is over, or somebody else attends to it. */
  close(): void;
}

/** One stored session. */
export interface Session {
  readonly id: number;
  readonly client: string;
  readonly since: number;
  /** When its client left; null while it is connected. */
  leftAt: number | null;
  /** Up to here, entries of its queue may have been sent. */
  sent: number;
  /** The sequence of the next entry. */
  next: number;
  /** Up to here, entries are on disk. */
  durable: number;
  /** No entry is before this one, nor older. */
  first: number;
  oldestAt: number;
  /** Entries in its queue, and their bytes. */
  messages: number;
  bytes: number;
  /** Entries that are removed and may still be on disk. */
  readonly gone: Set<number>;
  readonly subscriptions: Map<string, Stored>;
  isOver: boolean;
  attendant: Attendant | undefined;
}

/** The stored members of a group, which take turns. */
export interface Group {
  readonly filter: string;
  readonly members: Stored[];
  turn: number;
}

interface SessionRow {
  id: number;
  client: string;
  since: number;
  left_at: number | null;
  sent: number;
  next: number;
}
interface SubscriptionRow {
  session: number;
  filter: string;
  qos: 0 | 1 | 2;
  rh: number | null;
  rap: number | null;
  nl: number | null;
  identifier: number | null;
}

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
  /** How many sessions there are of each client with its suffixes. */
  readonly #byOwner = new Map<string, number>();
  readonly #filters = new FilterTree<Stored>({ hidesDollar: true });
  readonly #groups = new Map<string, Group>();
  readonly #groupFilters = new FilterTree<Group>({ hidesDollar: true });
  /** What is not on disk as it is in memory. */
  readonly #changed = new Set<Session>();
  #lastId = 0;
  /** Subscriptions of QoS 1 and 2, and sessions with any. */
  counts = { subscriptions: 0, clients: 0 };

  constructor(db: Database, batch: Batch, limits: StoreLimits, nowSeconds: () => number) {
    this.#db = db;
    this.#batch = batch;
    this.#limits = limits;
    this.#nowSeconds = nowSeconds;
    this.#load();
  }

  get size(): number {
    return this.#byClient.size;
  }
  all(): Iterable<Session> {
    return this.#byClient.values();
  }
  get(client: string): Session | undefined {
    return this.#byClient.get(client);
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
    const ofOwner = this.#byOwner.get(ownerOf(client)) ?? 0;
    return this.#byClient.size < this.#limits.sessions && ofOwner < this.#limits.sessionsPerClient;
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
        for (const stored of session.subscriptions.values()) this.#withdraw(stored);
        if (session.subscriptions.size > 0) this.counts.clients--;
        session.subscriptions.clear();
        then();
      });
    });
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
          this.#withdraw(stored);
          session.subscriptions.delete(filter);
          if (session.subscriptions.size === 0) this.counts.clients--;
        }
      });
    });
  }

  /** The subscriptions of QoS 1 and 2 that match a topic, those of groups aside. */
  match(topic: string): Iterable<Stored> {
    return this.#filters.match(topic);
  }

  /** The groups with stored members whose filter matches a topic. */
  matchGroups(topic: string): Iterable<Group> {
    return this.#groups.size === 0 ? [] : this.#groupFilters.match(topic);
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
    const owner = ownerOf(session.client);
    this.#byOwner.set(owner, (this.#byOwner.get(owner) ?? 0) + 1);
  }

  #remove(session: Session): void {
    session.isOver = true;
    this.#byClient.delete(session.client);
    this.#changed.delete(session);
    const owner = ownerOf(session.client);
    const count = this.#byOwner.get(owner)! - 1;
    if (count === 0) this.#byOwner.delete(owner);
    else this.#byOwner.set(owner, count);
  }

  /** Lets a subscription take part in routing. */
  #take(stored: Stored): void {
    const { session, topic, qos } = stored;
    if (session.isOver) return;
    const previous = session.subscriptions.get(topic);
    if (previous !== undefined) this.#withdraw(previous);
    else if (session.subscriptions.size === 0) this.counts.clients++;
    session.subscriptions.set(topic, stored);
    if (qos === 0) return;
    this.counts.subscriptions++;
    const shared = readShared(topic);
    if (shared === undefined) return void this.#filters.add(topic, stored);
    let group = this.#groups.get(topic);
    if (group === undefined) {
      this.#groups.set(topic, (group = { filter: topic, members: [], turn: 0 }));
      this.#groupFilters.add(shared.filter, group);
    }
    group.members.push(stored);
  }

  #withdraw(stored: Stored): void {
    if (stored.qos === 0) return;
    this.counts.subscriptions--;
    const shared = readShared(stored.topic);
    if (shared === undefined) return void this.#filters.remove(stored.topic, stored);
    const group = this.#groups.get(stored.topic)!;
    group.members.splice(group.members.indexOf(stored), 1);
    if (group.members.length > 0) return;
    this.#groups.delete(stored.topic);
    this.#groupFilters.remove(shared.filter, group);
  }
}

/** The client of a client id: what stands before the suffix. */
function ownerOf(client: string): string {
  const end = client.indexOf(":");
  return end < 0 ? client : client.slice(0, end);
}

function makeSession(row: SessionRow): Session {
  return {
    id: row.id,
    client: row.client,
    since: row.since,
    leftAt: row.left_at,
    sent: row.sent,
    next: row.next,
    durable: row.next - 1,
    first: row.next,
    oldestAt: Infinity,
    messages: 0,
    bytes: 0,
    gone: new Set(),
    subscriptions: new Map(),
    isOver: false,
    attendant: undefined,
  };
}

function makeStored(session: Session, subscription: Subscription): Stored {
  const { topic, qos, rh, rap, nl, subscriptionIdentifier } = subscription;
  const stored = { session, topic, qos, rh, rap, nl };
  return (subscriptionIdentifier === undefined ? stored : { ...stored, subscriptionIdentifier }) as Stored;
}

function readSubscription({ filter, qos, rh, rap, nl, identifier }: SubscriptionRow): Subscription {
  return {
    topic: filter,
    qos,
    ...(rh === null ? {} : { rh }),
    ...(rap === null ? {} : { rap: rap === 1 }),
    ...(nl === null ? {} : { nl: nl === 1 }),
    ...(identifier === null ? {} : { subscriptionIdentifier: identifier }),
  };
}

function asBit(flag: boolean | undefined): number | null {
  return flag === undefined ? null : Number(flag);
}
