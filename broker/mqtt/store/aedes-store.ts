/**
 * The store as Aedes 1.2 sees it: a persistence. A promise is resolved when what was asked is on disk.
 */
import { Readable } from "node:stream";
import type { StorableMessage } from "./entries.ts";
import type { Outgoing } from "./outgoing.ts";
import type { Broker, Parts } from "./parts.ts";
import type { Persistence, Recipient } from "./persistence.ts";
import type { RetainableMessage } from "./retained.ts";
import { addTarget, type Targets } from "./routes.ts";
import type { Subscription } from "./session.ts";
import type { WillHolder, WillPacket } from "./wills.ts";

/** The part of the store that Aedes calls. */
export abstract class AedesStore implements Persistence {
  protected abstract readonly parts: Parts;

  get broker(): object | undefined {
    return this.parts.broker;
  }

  async setup(broker: object): Promise<void> {
    this.parts.broker = broker as Broker;
  }

  async storeRetained(packet: RetainableMessage): Promise<void> {
    if (!this.parts.retained.takes(packet)) return;
    this.parts.batch.write(() => this.parts.retained.store(packet));
    await this.parts.batch.durable();
  }
  createRetainedStream(filter: string): Readable {
    return this.parts.retained.stream([filter]);
  }
  createRetainedStreamCombi(filters: readonly string[]): Readable {
    return this.parts.retained.stream(filters);
  }

  async addSubscriptions(client: { id: string }, subscriptions: readonly Subscription[]): Promise<void> {
    this.parts.sessions.subscribe(client.id, subscriptions);
    await this.parts.batch.durable();
  }
  async removeSubscriptions(client: { id: string }, filters: readonly string[]): Promise<void> {
    this.parts.sessions.unsubscribe(client.id, filters);
    await this.parts.batch.durable();
  }
  async subscriptionsByClient(client: { id: string }): Promise<Subscription[]> {
    const stored = this.parts.sessions.get(client.id)?.subscriptions.values() ?? [];
    return [...stored].map(({ session: _session, ...subscription }) => subscription);
  }
  async subscriptionsByTopic(topic: string): Promise<object[]> {
    // the filters with wildcards first
    const all = this.parts.sessions.routes.match(topic).toReversed();
    // one that is over takes part until that is on disk
    const matching = all.filter(({ session }) => !session.isOver);
    return matching.map(({ session, topic: filter, qos, rh, rap, nl }) => {
      return { clientId: session.client, topic: filter, qos, rh, rap, nl };
    });
  }
  async cleanSubscriptions(client: { id: string }): Promise<void> {
    const session = this.parts.sessions.get(client.id);
    if (session === undefined) return;
    this.parts.end(session);
    await this.parts.batch.durable();
  }
  async countOffline(): Promise<{ subsCount: number; clientsCount: number }> {
    const { routes, subscribed } = this.parts.sessions;
    return { subsCount: routes.count, clientsCount: subscribed };
  }
  getClientList(filter: string): Readable {
    const sessions = [...this.parts.sessions.all()].filter(({ subscriptions }) => subscriptions.has(filter));
    return Readable.from(sessions.map(({ client }) => client));
  }

  async outgoingEnqueue(to: { clientId: string; qos?: 0 | 1 | 2 }, packet: StorableMessage): Promise<void> {
    await this.#enqueueAll(this.#targets([to], packet), packet);
  }
  async outgoingEnqueueCombi(
    subscriptions: readonly { clientId: string; qos?: 0 | 1 | 2 }[],
    packet: StorableMessage,
  ): Promise<void> {
    const targets = this.#targets(subscriptions, packet);
    this.parts.addShared(targets, packet);
    // a subscription that is there is sent no retained messages but new ones (MQTT-3.3.1-9)
    await this.#enqueueAll(targets, { ...packet, retain: false });
  }
  async outgoingUpdate(client: { id: string }, packet: Outgoing): Promise<void> {
    const session = this.parts.sessions.get(client.id);
    if (session === undefined || !this.parts.outgoing.update(session, packet)) throw new Error("no such packet");
    await this.parts.batch.durable();
  }
  async outgoingClearMessageId(client: { id: string }, packet: Outgoing): Promise<object | undefined> {
    const session = this.parts.sessions.get(client.id);
    const { messageId } = packet;
    if (session === undefined || messageId === undefined || messageId === null) return undefined;
    return this.parts.outgoing.clear(session, messageId);
  }
  outgoingStream(client: { id: string }): Readable {
    const session = this.parts.sessions.get(client.id);
    // whoever attends to the session delivers its queue
    if (session === undefined || session.attendant !== undefined) return Readable.from([]);
    return Readable.from(this.parts.outgoing.stream(session));
  }

  async incomingStorePacket(
    client: { id: string; clean?: boolean },
    packet: StorableMessage & { messageId: number; dup?: boolean },
  ): Promise<void> {
    if (client.clean === false) this.parts.sessions.open(client.id);
    const { messageId, topic, payload, qos, retain, dup = false } = packet;
    const kept = { cmd: "publish", topic, payload, qos, retain, dup, messageId };
    this.parts.batch.write(() => this.parts.receipts.add({ clientId: client.id, messageId }, kept));
    await this.parts.batch.durable();
  }
  async incomingGetPacket(client: { id: string }, { messageId }: { messageId: number }): Promise<object> {
    const receipt = { clientId: client.id, messageId };
    if (!this.parts.receipts.has(receipt)) throw new Error("no such packet");
    return this.parts.receipts.packet(receipt) ?? { messageId };
  }
  async incomingDelPacket(client: { id: string }, { messageId }: { messageId: number }): Promise<void> {
    const receipt = { clientId: client.id, messageId };
    if (!this.parts.receipts.has(receipt)) throw new Error("no such packet");
    this.parts.receipts.remove(receipt);
    await this.parts.batch.durable();
  }
  async cleanIncoming(client: { id: string }): Promise<void> {
    this.parts.receipts.clear(client.id);
    await this.parts.batch.durable();
  }

  async putWill(client: WillHolder, packet: WillPacket): Promise<void> {
    this.parts.wills.put(client, packet, this.parts.broker!.id);
    await this.parts.batch.durable();
  }
  async getWill(client: { id: string }): Promise<WillPacket | undefined> {
    return this.parts.wills.get(client.id);
  }
  async delWill(client: WillHolder): Promise<WillPacket | undefined> {
    // whoever asks hears of no failure, and need not wait
    return this.parts.batch.safely(() => this.parts.wills.delete(client));
  }
  streamWill(brokers?: Readonly<Record<string, unknown>>): Readable {
    return Readable.from(this.parts.wills.stream(this.parts.broker?.id ?? "", brokers));
  }

  async destroy(): Promise<void> {
    this.parts.close();
  }

  async #enqueueAll(targets: Targets, packet: StorableMessage): Promise<void> {
    if (targets.size === 0) return;
    this.parts.batch.write(() => this.parts.queues.add(packet, targets));
    await this.parts.batch.durable();
  }

  /** The sessions of recipients, which begin where there are none; not where one has just been taken back. */
  #targets(recipients: readonly Recipient[], { qos: published }: StorableMessage): Targets {
    const targets: Targets = new Map();
    if (published === 0) return targets;
    const { endings, sessions } = this.parts;
    for (const { clientId, qos = published } of recipients) {
      if (endings.hasEnded(clientId) && sessions.get(clientId) === undefined) continue;
      addTarget(targets, sessions.open(clientId), qos, published);
    }
    return targets;
  }
}
