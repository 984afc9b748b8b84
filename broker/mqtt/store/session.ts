/**
 * A stored session and its subscriptions, as they are in memory.
 */
import type { QueueEntry } from "./entries.ts";
import { tenantOf } from "./shares.ts";

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
  added(entry: QueueEntry): void;
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
  /** Who it counts for. */
  readonly tenant: string;
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

/** A session as its row has it. */
export interface SessionRow {
  id: number;
  client: string;
  since: number;
  left_at: number | null;
  sent: number;
  next: number;
}
/** A subscription as its row has it. */
export interface SubscriptionRow {
  session: number;
  filter: string;
  qos: 0 | 1 | 2;
  rh: number | null;
  rap: number | null;
  nl: number | null;
  identifier: number | null;
}

/** A session without entries; those are counted by whoever keeps the queues. */
export function makeSession(row: SessionRow): Session {
  return {
    id: row.id,
    client: row.client,
    tenant: tenantOf(row.client),
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

/** A subscription, with whose it is. */
export function makeStored(session: Session, subscription: Subscription): Stored {
  const { topic, qos, rh, rap, nl, subscriptionIdentifier } = subscription;
  // absent members stay absent: what is given back is what was stored
  return {
    session,
    topic,
    qos,
    ...(rh !== undefined && { rh }),
    ...(rap !== undefined && { rap }),
    ...(nl !== undefined && { nl }),
    ...(subscriptionIdentifier !== undefined && { subscriptionIdentifier }),
  };
}

/** A subscription out of its row. */
export function readSubscription({ filter, qos, rh, rap, nl, identifier }: SubscriptionRow): Subscription {
  return {
    topic: filter,
    qos,
    ...(rh === null ? {} : { rh }),
    ...(rap === null ? {} : { rap: rap === 1 }),
    ...(nl === null ? {} : { nl: nl === 1 }),
    ...(identifier === null ? {} : { subscriptionIdentifier: identifier }),
  };
}
