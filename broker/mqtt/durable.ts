/**
 * What the engine asks of a durable store beyond what Aedes asks of a persistence.
 *
 * Writes go at once into the transaction that is open; one commit serves everything of the same turn of the event loop.
 * Nothing is acknowledged to a client before `whenDurable` said so.
 */
import type { Message } from "./message.ts";

/** A message that waits for one client, or was sent to it and is not acknowledged. */
export interface Entry {
  /** Position in the client's queue, ascending. */
  readonly sequence: number;
  /** The packet identifier, 1 to 65,535; kept over restarts. */
  readonly packetId: number;
  readonly qos: 1 | 2;
  readonly topic: string;
  readonly payload: Buffer;
  readonly retain: boolean;
  /** It may have been sent before: DUP is set when it is sent again. */
  readonly wasSent: boolean;
  /** PUBREC has arrived: what is sent is PUBREL. */
  readonly isReleased: boolean;
}

/** The queue of one stored session while its client is connected. */
export interface SessionQueue {
  /** More than half of what one session may have waits to be taken. */
  readonly isHalfFull: boolean;
  /** The next entries in order, at most `most`, those on disk only; each is given once. Notes that they are sent. */
  take(most: number): Entry[];
  /** Acknowledged (PUBACK, PUBCOMP), or not to be delivered: removed, without waiting for the disk. */
  remove(entry: Entry): void;
  /** PUBREC arrived. */
  release(entry: Entry): void;
  /** The client is gone; what is left waits for its return. */
  detach(): void;
}

/** A PUBLISH of QoS 2 that has arrived and whose PUBREL has not. */
export interface Receipt {
  readonly clientId: string;
  readonly messageId: number;
}

/** Why a message was not kept. */
export type StoreDrop =
  | "queue-messages"
  | "queue-bytes"
  | "queue-age"
  | "store-bytes"
  | "retained-topics"
  | "retained-of-client"
  | "retained-bytes";

/** Whether a retained message of this topic is to be removed. */
export type Purges = (topic: string) => boolean;

/** Because of what retained messages are removed: their client was taken back, or a credential of it. */
export type PurgeKind = "client" | "credential";

/** What a store asks when it opens after things may have been taken back without it. */
export interface TakenBackBefore {
  isTakenBack(clientId: string): boolean;
  purgesOf(kind: PurgeKind): Purges;
}

/** The part of the durable store that the engine uses itself. */
export interface DurableStore {
  /**
   * Stores a message of QoS 1 or 2 for every stored session that subscribes to it, and, if it says so, as the retained
   * one of its topic, together with the receipt; all in one transaction. True if anything was written.
   */
  accept(message: Message, receipt?: Receipt): boolean;
  /** Stores (or with an empty payload removes) the retained message of a topic, without waiting. */
  retain(message: Message): void;
  /** Stores a message for one session that is attached, whatever it subscribes to. */
  enqueue(clientId: string, message: Message): void;
  /**
   * Calls back when everything written so far is on disk, in the order of the calls; at once, before it returns, when nothing
   * is pending. With an error when that could not be written.
   */
  whenDurable(done: (error?: Error) => void): void;
  /** Opens the queue of a stored session whose client is connected. `news` is called when entries became durable. */
  attach(clientId: string, news: () => void): SessionQueue;
  hasReceipt(receipt: Receipt): boolean;
  /** How many PUBLISH of QoS 2 of this client wait for their PUBREL. */
  countReceipts(clientId: string): number;
  removeReceipt(receipt: Receipt): void;
  /** Whether one more stored session of this client may begin; true for one that is there. */
  mayKeepSession(clientId: string): boolean;
  /** Whether a session is stored for this client. */
  hasSession(clientId: string): boolean;
  /**
   * Ends the stored session of one client id, or of all client ids of an owner (its own and those with a suffix): subscriptions,
   * queue, receipts and will, at once and with the next commit that succeeds. Whoever attends to one gets nothing more of it.
   */
  endSessions(owner: string, clientId?: string): void;
  /**
   * Removes the retained messages that this owner published and whose topic purges, little by little; from now on nobody gets one
   * of them. What the owner publishes from now on stays.
   */
  purgeRetained(owner: string, kind: PurgeKind, purges: Purges): void;
  /**
   * Ends the sessions and purges the retained messages of those who were taken back, and goes on with purges that an earlier
   * process had begun. To be called before anybody is let in; wills are decided elsewhere.
   */
  takeBack(before: TakenBackBefore): void;
  /** For metrics. */
  readonly sizes: {
    readonly sessions: number;
    readonly queued: number;
    readonly queuedBytes: number;
    readonly retained: number;
  };
  close(): void;
}
