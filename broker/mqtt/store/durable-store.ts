/**
 * The durable store: what the engine room asks of it, and what Aedes asks of a persistence, on one SQLite file.
 *
 * Opens everything, decides for whom a message is stored, and leaves the rest to those who keep it. Whoever calls is not
 * told of a failure by an exception; `whenDurable`, or the promise, tells it.
 */
import { Readable } from "node:stream";
import { pino, type Logger } from "pino";
import { openFile, type Database } from "../../sqlite/database.ts";
import type { DurableStore, Receipt, SessionQueue } from "../durable.ts";
import { defaultLimits, type StoreLimits } from "../limits.ts";
import type { Message } from "../message.ts";
import { noMeter, type EngineMeter } from "../meter.ts";
import { Batch } from "./batch.ts";
import { Drops } from "./drops.ts";
import { OutgoingPackets, type Outgoing } from "./outgoing.ts";
import type { Persistence } from "./persistence.ts";
import { Queues, type StorableMessage } from "./queues.ts";
import { Receipts } from "./receipts.ts";
import { Retained, type RetainableMessage } from "./retained.ts";
import { storeSchema } from "./schema.ts";
import { AttachedQueue } from "./session-queue.ts";
import { Sessions, type Group, type Session, type Stored, type Subscription } from "./sessions.ts";
import { Upkeep } from "./upkeep.ts";
import { Wills, type LeftWill, type WillHolder, type WillPacket } from "./wills.ts";

/** How a store is opened. */
export interface StoreOptions {
  /** Path of the SQLite file, or `:memory:` for none. */
  readonly file: string;
  readonly limits?: Partial<StoreLimits>;
  readonly meter?: EngineMeter;
  readonly log?: Logger;
  readonly nowSeconds?: () => number;
}

/** The durable store of a broker, which is also what Aedes takes for a persistence. */
export interface Store extends DurableStore, Persistence {
  /** What allowed the will of a client, as JSON can hold it; stored with the will. For whoever decides on wills to set. */
  groundsOf: ((client: unknown) => unknown) | undefined;
  /** The wills of earlier processes, with what allowed them; each is kept until `delWill`. */
  takeWills(): LeftWill[];
  /** Ends sessions and drops messages whose time has come; done each minute by itself. */
  tidy(): Promise<void>;
}

/** Whom an emitter has chosen in groups of subscribers: members with a stored session, and the groups that have any. */
interface Choice {
  readonly stored: readonly { readonly clientId: string; readonly qos: 0 | 1 | 2 }[];
  readonly groups: ReadonlySet<string>;
}
interface Broker {
  readonly id: string;
  readonly mq?: { choose?: (message: object) => Choice | undefined };
}

/** Opens the store. Throws `registry.invalid` for a file it cannot use. */
export function durableStore(options: StoreOptions): Store {
  return storeOn(openFile(options.file, storeSchema), options);
}

/** The store on a file that is open already, which it closes in the end. */
export function storeOn(db: Database, options: Omit<StoreOptions, "file">): Store {
  try {
    return new FileStore(db, options);
  } catch (error) {
    db.close();
    throw error;
  }
}

class FileStore implements Store {
  readonly #db: Database;
  readonly #limits: StoreLimits;
  readonly #nowSeconds: () => number;
  readonly #batch: Batch;
  readonly #drops: Drops;
  readonly #sessions: Sessions;
  readonly #queues: Queues;
  readonly #outgoing: OutgoingPackets;
  readonly #retained: Retained;
  readonly #receipts: Receipts;
  readonly #wills: Wills;
  readonly #upkeep: Upkeep;
  #broker: Broker | undefined;
  groundsOf: ((client: unknown) => unknown) | undefined;

  constructor(db: Database, options: Omit<StoreOptions, "file">) {
    const { meter = noMeter, log = pino({ level: "silent" }) } = options;
    const limits = { ...defaultLimits, ...options.limits };
    const nowSeconds = options.nowSeconds ?? (() => Math.floor(Date.now() / 1000));
    this.#db = db;
    this.#limits = limits;
    this.#nowSeconds = nowSeconds;
    this.#batch = new Batch({ db, meter, log });
    this.#drops = new Drops(meter, log, nowSeconds);
    const tellDrop = this.#drops.tell;
    const sessions = (this.#sessions = new Sessions(db, this.#batch, limits, nowSeconds));
    const all = { sessions: sessions.all(), limits, nowSeconds, tellDrop };
    const queues = (this.#queues = new Queues(db, this.#batch, all));
    this.#outgoing = new OutgoingPackets(db, this.#batch, queues);
    this.#retained = new Retained(db, this.#batch, { limits, tellDrop });
    this.#receipts = new Receipts(db, this.#batch, sessions);
    this.#wills = new Wills(db, this.#batch, (client) => this.groundsOf?.(client));
    const safely = <T>(work: () => T): T | undefined => this.#batch.safely(work);
    const end = (session: Session): void => this.#end(session);
    this.#upkeep = new Upkeep({ sessions, queues, limits, nowSeconds, safely, end }, () => this.#drops.forget());
    this.#batch.join(sessions);
    this.#batch.join(queues);
    this.#recover();
  }

  // what the engine room asks

  get sizes(): DurableStore["sizes"] {
    const { queued, bytes } = this.#queues;
    return { sessions: this.#sessions.size, queued, queuedBytes: bytes, retained: this.#retained.size };
  }

  accept(message: Message, receipt?: Receipt): boolean {
    const targets = this.#targets(message);
    const isRetained = message.retain && this.#retained.takes(message);
    if (targets.size === 0 && !isRetained && receipt === undefined) return false;
    let isWritten = isRetained || receipt !== undefined || this.#batch.isFailed;
    this.#batch.write(() => {
      if (receipt !== undefined) this.#receipts.add(receipt);
      if (isRetained) this.#retained.store(message);
      if (this.#queues.add(withoutBroker(message), targets)) isWritten = true;
    });
    return isWritten || this.#batch.isFailed;
  }

  retain(message: Message): void {
    if (this.#retained.takes(message)) this.#batch.write(() => this.#retained.store(message));
  }

  enqueue(clientId: string, message: Message): void {
    if (message.qos === 0) return;
    const targets = new Map([[this.#sessions.open(clientId), message.qos]]);
    this.#batch.write(() => this.#queues.add(withoutBroker(message), targets));
  }

  whenDurable(done: (error?: Error) => void): void {
    this.#batch.whenDurable(done);
  }

  attach(clientId: string, news: () => void): SessionQueue {
    const session = this.#sessions.open(clientId);
    const left = (of: Session): void => this.#left(of);
    const queue = new AttachedQueue({ session, queues: this.#queues, limits: this.#limits, news, left });
    session.leftAt = null;
    this.#batch.write(() => {
      this.#sessions.changed(session);
      this.#batch.onCommit(() => queue.begin());
      this.#batch.onRollback(() => queue.begin());
    });
    if (this.#batch.isFailed) queue.begin();
    return queue;
  }

  hasReceipt(receipt: Receipt): boolean {
    return this.#receipts.has(receipt);
  }
  countReceipts(clientId: string): number {
    return this.#receipts.count(clientId);
  }
  removeReceipt(receipt: Receipt): void {
    this.#receipts.remove(receipt);
  }

  mayKeepSession(clientId: string): boolean {
    return this.#sessions.mayBegin(clientId);
  }

  takeWills(): LeftWill[] {
    return this.#wills.take();
  }

  tidy(): Promise<void> {
    return this.#upkeep.run();
  }

  close(): void {
    if (!this.#db.open) return;
    this.#upkeep.close();
    for (const session of this.#sessions.all()) {
      if (session.attendant === undefined) continue;
      session.attendant.close();
      this.#markLeft(session);
    }
    this.#batch.close();
    this.#db.close();
  }

  // what Aedes asks

  get broker(): object | undefined {
    return this.#broker;
  }

  async setup(broker: object): Promise<void> {
    this.#broker = broker as Broker;
  }

  async storeRetained(packet: RetainableMessage): Promise<void> {
    if (!this.#retained.takes(packet)) return;
    this.#batch.write(() => this.#retained.store(packet));
    await this.#batch.durable();
  }
  createRetainedStream(filter: string): Readable {
    return this.#retained.stream([filter]);
  }
  createRetainedStreamCombi(filters: readonly string[]): Readable {
    return this.#retained.stream(filters);
  }

  async addSubscriptions(client: { id: string }, subscriptions: readonly Subscription[]): Promise<void> {
    this.#sessions.subscribe(client.id, subscriptions);
    await this.#batch.durable();
  }
  async removeSubscriptions(client: { id: string }, filters: readonly string[]): Promise<void> {
    this.#sessions.unsubscribe(client.id, filters);
    await this.#batch.durable();
  }
  async subscriptionsByClient(client: { id: string }): Promise<Subscription[]> {
    const stored = this.#sessions.get(client.id)?.subscriptions.values() ?? [];
    return [...stored].map(({ session: _session, ...subscription }) => subscription);
  }
  async subscriptionsByTopic(topic: string): Promise<object[]> {
    // the filters with wildcards first
    const matching = [...this.#sessions.match(topic)].toReversed();
    return matching.map(({ session, topic: filter, qos, rh, rap, nl }) => {
      return { clientId: session.client, topic: filter, qos, rh, rap, nl };
    });
  }
  async cleanSubscriptions(client: { id: string }): Promise<void> {
    const session = this.#sessions.get(client.id);
    if (session === undefined) return;
    this.#end(session);
    await this.#batch.durable();
  }
  async countOffline(): Promise<{ subsCount: number; clientsCount: number }> {
    const { subscriptions, clients } = this.#sessions.counts;
    return { subsCount: subscriptions, clientsCount: clients };
  }
  getClientList(filter: string): Readable {
    const sessions = [...this.#sessions.all()].filter(({ subscriptions }) => subscriptions.has(filter));
    return Readable.from(sessions.map(({ client }) => client));
  }

  async outgoingEnqueue(to: { clientId: string; qos?: 0 | 1 | 2 }, packet: StorableMessage): Promise<void> {
    await this.#enqueueAll(
      toTargets([to], packet, (client) => this.#sessions.open(client)),
      packet,
    );
  }
  async outgoingEnqueueCombi(
    subscriptions: readonly { clientId: string; qos?: 0 | 1 | 2 }[],
    packet: StorableMessage,
  ): Promise<void> {
    const targets = toTargets(subscriptions, packet, (client) => this.#sessions.open(client));
    this.#addShared(packet, targets);
    await this.#enqueueAll(targets, packet);
  }
  async outgoingUpdate(client: { id: string }, packet: Outgoing): Promise<void> {
    const session = this.#sessions.get(client.id);
    if (session === undefined || !this.#outgoing.update(session, packet)) throw new Error("no such packet");
    await this.#batch.durable();
  }
  async outgoingClearMessageId(client: { id: string }, packet: Outgoing): Promise<object | undefined> {
    const session = this.#sessions.get(client.id);
    const { messageId } = packet;
    if (session === undefined || messageId === undefined || messageId === null) return undefined;
    return this.#outgoing.clear(session, messageId);
  }
  outgoingStream(client: { id: string }): Readable {
    const session = this.#sessions.get(client.id);
    // whoever attends to the session delivers its queue
    if (session === undefined || session.attendant !== undefined) return Readable.from([]);
    return Readable.from(this.#outgoing.stream(session));
  }

  async incomingStorePacket(
    client: { id: string; clean?: boolean },
    packet: StorableMessage & { messageId: number; dup?: boolean },
  ): Promise<void> {
    if (client.clean === false) this.#sessions.open(client.id);
    const { messageId, topic, payload, qos, retain, dup = false } = packet;
    const kept = { cmd: "publish", topic, payload, qos, retain, dup, messageId };
    this.#batch.write(() => this.#receipts.add({ clientId: client.id, messageId }, kept));
    await this.#batch.durable();
  }
  async incomingGetPacket(client: { id: string }, { messageId }: { messageId: number }): Promise<object> {
    const receipt = { clientId: client.id, messageId };
    if (!this.#receipts.has(receipt)) throw new Error("no such packet");
    return this.#receipts.packet(receipt) ?? { messageId };
  }
  async incomingDelPacket(client: { id: string }, { messageId }: { messageId: number }): Promise<void> {
    const receipt = { clientId: client.id, messageId };
    if (!this.#receipts.has(receipt)) throw new Error("no such packet");
    this.#receipts.remove(receipt);
    await this.#batch.durable();
  }
  async cleanIncoming(client: { id: string }): Promise<void> {
    this.#receipts.clear(client.id);
    await this.#batch.durable();
  }

  async putWill(client: WillHolder, packet: WillPacket): Promise<void> {
    this.#wills.put(client, packet, this.#broker!.id);
    await this.#batch.durable();
  }
  async getWill(client: { id: string }): Promise<WillPacket | undefined> {
    return this.#wills.get(client.id);
  }
  async delWill(client: WillHolder): Promise<WillPacket | undefined> {
    // whoever asks hears of no failure, and need not wait
    return this.#batch.safely(() => this.#wills.delete(client));
  }
  streamWill(brokers?: Readonly<Record<string, unknown>>): Readable {
    return Readable.from(this.#wills.stream(this.#broker?.id ?? "", brokers));
  }

  async destroy(): Promise<void> {
    this.close();
  }

  /** A process that ended without leaving its sessions may have sent all that was in them. */
  #recover(): void {
    for (const session of this.#sessions.all()) {
      if (session.leftAt === null) {
        session.sent = session.next - 1;
        session.leftAt = this.#nowSeconds();
        this.#sessions.changed(session);
      }
    }
  }

  /** The sessions for which a message is stored, each with the QoS for it. */
  #targets(message: Message): Map<Session, 1 | 2> {
    const targets = new Map<Session, 1 | 2>();
    if (message.qos === 0) return targets;
    for (const { session, qos } of this.#sessions.match(message.topic)) addTarget(targets, session, qos, message.qos);
    this.#addShared(message, targets);
    return targets;
  }

  /** Those of groups: members that were chosen, and of a group without a member that is there, one that is not. */
  #addShared(message: StorableMessage, targets: Map<Session, 1 | 2>): void {
    if (message.qos === 0) return;
    const choice = this.#broker?.mq?.choose?.(message);
    for (const { clientId, qos } of choice?.stored ?? []) {
      const session = this.#sessions.get(clientId);
      if (session !== undefined) addTarget(targets, session, qos, message.qos);
    }
    for (const group of this.#sessions.matchGroups(message.topic)) {
      if (choice?.groups.has(group.filter)) continue;
      const member = takeTurn(group);
      addTarget(targets, member.session, member.qos, message.qos);
    }
  }

  async #enqueueAll(targets: ReadonlyMap<Session, 1 | 2>, packet: StorableMessage): Promise<void> {
    if (targets.size === 0) return;
    this.#batch.write(() => this.#queues.add(packet, targets));
    await this.#batch.durable();
  }

  #end(session: Session): void {
    this.#receipts.clear(session.client);
    this.#sessions.end(session, () => {
      session.attendant?.close();
      session.attendant = undefined;
      void this.#upkeep.clear(session);
    });
  }

  #left(session: Session): void {
    if (!this.#db.open || session.isOver) return;
    this.#markLeft(session);
    const isEmpty = session.subscriptions.size === 0 && session.messages === 0;
    if (isEmpty && this.#receipts.count(session.client) === 0) this.#end(session);
  }

  #markLeft(session: Session): void {
    session.leftAt = this.#nowSeconds();
    this.#sessions.changed(session);
  }
}

/** Others look for a message by its broker and number; whoever takes from a session queue does not. */
function withoutBroker({ topic, payload, qos, retain, clientId }: Message): StorableMessage {
  return { topic, payload, qos, retain, clientId };
}

function addTarget(targets: Map<Session, 1 | 2>, session: Session, subscribed: 0 | 1 | 2, published: 1 | 2): void {
  const qos = subscribed < published ? subscribed : published;
  if (qos === 0 || session.isOver || (targets.get(session) ?? 0) >= qos) return;
  targets.set(session, qos);
}

function toTargets(
  subscriptions: readonly { clientId: string; qos?: 0 | 1 | 2 }[],
  { qos: published }: StorableMessage,
  open: (client: string) => Session,
): Map<Session, 1 | 2> {
  const targets = new Map<Session, 1 | 2>();
  if (published === 0) return targets;
  for (const { clientId, qos = published } of subscriptions) addTarget(targets, open(clientId), qos, published);
  return targets;
}

/** The member whose turn it is, of those that are not connected if there are any. */
function takeTurn(group: Group): Stored {
  const { members } = group;
  const ordered = [...members.slice(group.turn), ...members.slice(0, group.turn)];
  const member = ordered.find(({ session }) => session.attendant === undefined) ?? ordered[0]!;
  group.turn = (members.indexOf(member) + 1) % members.length;
  return member;
}
