/**
 * What Aedes 1.2 asks of a persistence.
 */
import type { Readable } from "node:stream";
import type { StorableMessage } from "./entries.ts";
import type { Outgoing } from "./outgoing.ts";
import type { RetainableMessage } from "./retained.ts";
import type { Subscription } from "./session.ts";
import type { WillHolder, WillPacket } from "./wills.ts";

interface Client {
  readonly id: string;
}
/** Whose queue a message goes to. */
export interface Recipient {
  readonly clientId: string;
  readonly qos?: 0 | 1 | 2;
}
interface Numbered {
  readonly messageId: number;
}

/** A persistence with promises and streams. */
export interface Persistence {
  /** The broker that was set up; undefined before. */
  readonly broker: object | undefined;
  setup(broker: object): Promise<void>;
  storeRetained(packet: RetainableMessage): Promise<void>;
  createRetainedStream(filter: string): Readable;
  createRetainedStreamCombi(filters: readonly string[]): Readable;
  addSubscriptions(client: Client, subscriptions: readonly Subscription[]): Promise<void>;
  removeSubscriptions(client: Client, filters: readonly string[]): Promise<void>;
  subscriptionsByClient(client: Client): Promise<Subscription[]>;
  subscriptionsByTopic(topic: string): Promise<object[]>;
  /** Ends the stored session: subscriptions, queue and receipts. */
  cleanSubscriptions(client: Client): Promise<void>;
  countOffline(): Promise<{ subsCount: number; clientsCount: number }>;
  /** The ids of the clients that have a filter. */
  getClientList(filter: string): Readable;
  outgoingEnqueue(to: Recipient, packet: StorableMessage): Promise<void>;
  outgoingEnqueueCombi(to: readonly Recipient[], packet: StorableMessage): Promise<void>;
  outgoingUpdate(client: Client, packet: Outgoing): Promise<void>;
  outgoingClearMessageId(client: Client, packet: Outgoing): Promise<object | undefined>;
  /** What waits for a client; nothing while its queue is attended to. */
  outgoingStream(client: Client): Readable;
  incomingStorePacket(client: Client & { readonly clean?: boolean }, packet: StorableMessage & Numbered): Promise<void>;
  incomingGetPacket(client: Client, packet: Numbered): Promise<object>;
  incomingDelPacket(client: Client, packet: Numbered): Promise<void>;
  cleanIncoming(client: Client): Promise<void>;
  putWill(client: WillHolder, packet: WillPacket): Promise<void>;
  getWill(client: Client): Promise<WillPacket | undefined>;
  delWill(client: WillHolder): Promise<WillPacket | undefined>;
  /** The wills of brokers that are not among these, without those of this process. */
  streamWill(brokers?: Readonly<Record<string, unknown>>): Readable;
  destroy(): Promise<void>;
}
