/**
 * The durable store: what the engine room asks of it, and what Aedes asks of a persistence, on one SQLite file.
 *
 * Decides for whom a message is stored, and leaves the rest to those who keep it. Whoever calls is not told of a failure by
 * an exception; `whenDurable`, or the promise, tells it.
 */
import { openFile, type Database } from "../../sqlite/database.ts";
import type { DurableStore, PurgeKind, Purges, Receipt, SessionQueue, TakenBackBefore } from "../durable.ts";
import type { Message } from "../message.ts";
import { AedesStore } from "./aedes-store.ts";
import type { StorableMessage } from "./entries.ts";
import { Parts, type PartsOptions } from "./parts.ts";
import type { Persistence } from "./persistence.ts";
import type { Targets } from "./routes.ts";
import { storeSchema } from "./schema.ts";
import { AttachedQueue } from "./session-queue.ts";
import { ownerOf } from "../../../shared/names.ts";
import type { Session } from "./session.ts";
import type { LeftWill } from "./wills.ts";

/** How a store is opened. */
export interface StoreOptions extends PartsOptions {
  /** Path of the SQLite file, or `:memory:` for none. */
  readonly file: string;
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

/** Opens the store. Throws `registry.invalid` for a file it cannot use. */
export function durableStore(options: StoreOptions): Store {
  return storeOn(openFile(options.file, storeSchema), options);
}

/** The store on a file that is open already, which it closes in the end. */
export function storeOn(db: Database, options: PartsOptions): Store {
  try {
    return new FileStore(db, options);
  } catch (error) {
    db.close();
    throw error;
  }
}

class FileStore extends AedesStore implements Store {
  protected readonly parts: Parts;
  groundsOf: ((client: unknown) => unknown) | undefined;

  constructor(db: Database, options: PartsOptions) {
    super();
    this.parts = new Parts(db, options, (client) => this.groundsOf?.(client));
  }

  get sizes(): DurableStore["sizes"] {
    const { sessions, queues, retained } = this.parts;
    const queuedBytes = queues.weights.bytes;
    return { sessions: sessions.size, queued: queues.queued, queuedBytes, retained: retained.size };
  }

  accept(message: Message, receipt?: Receipt): boolean {
    const { batch, queues, receipts, retained } = this.parts;
    const targets = this.#targets(message);
    const isRetained = message.retain && retained.takes(message);
    if (targets.size === 0 && !isRetained && receipt === undefined) return false;
    let isWritten = isRetained || receipt !== undefined;
    batch.write(() => {
      if (receipt !== undefined) receipts.add(receipt);
      if (isRetained) retained.store(message);
      // a subscription that is there is sent no retained messages but new ones (MQTT-3.3.1-9)
      if (queues.add(withoutBroker(message, false), targets)) isWritten = true;
    });
    // what was not written because writing fails is waited for, too
    return isWritten || batch.isFailed;
  }

  retain(message: Message): void {
    const { batch, retained } = this.parts;
    if (retained.takes(message)) batch.write(() => retained.store(message));
  }

  enqueue(clientId: string, message: Message): void {
    if (message.qos === 0) return;
    const { batch, queues, sessions } = this.parts;
    const session = sessions.get(clientId);
    if (session === undefined) return;
    const targets: Targets = new Map([[session, message.qos]]);
    batch.write(() => queues.add(withoutBroker(message, message.retain), targets));
  }

  hasSession(clientId: string): boolean {
    return this.parts.sessions.get(clientId) !== undefined;
  }

  whenDurable(done: (error?: Error) => void): void {
    this.parts.batch.whenDurable(done);
  }

  attach(clientId: string, news: () => void): SessionQueue {
    const { batch, limits, queues, sessions } = this.parts;
    const session = sessions.open(clientId);
    const queue = new AttachedQueue({ session, queues, limits, news, left: (of: Session) => this.parts.left(of) });
    session.leftAt = null;
    batch.write(() => sessions.changed(session));
    // also when it could not be written: what is on disk is delivered all the same
    batch.whenDurable(() => queue.begin());
    return queue;
  }

  hasReceipt(receipt: Receipt): boolean {
    return this.parts.receipts.has(receipt);
  }
  countReceipts(clientId: string): number {
    return this.parts.receipts.count(clientId);
  }
  removeReceipt(receipt: Receipt): void {
    this.parts.receipts.remove(receipt);
  }

  mayKeepSession(clientId: string): boolean {
    return this.parts.sessions.mayBegin(clientId);
  }

  endSessions(owner: string, clientId?: string): void {
    if (this.parts.db.open) this.parts.endings.begin(owner, clientId);
  }
  purgeRetained(owner: string, kind: PurgeKind, purges: Purges): void {
    this.parts.purging.begin(owner, kind, purges);
  }
  takeBack(before: TakenBackBefore): void {
    const { endings, purging, retained, sessions } = this.parts;
    purging.resume((kind) => before.purgesOf(kind));
    for (const owner of retained.owners()) {
      if (owner !== "" && before.isTakenBack(owner)) purging.begin(owner, "client", before.purgesOf("client"));
    }
    const taken = [...sessions.all()].filter(({ client }) => before.isTakenBack(client));
    for (const { client } of taken) endings.begin(ownerOf(client), client, false);
  }

  takeWills(): LeftWill[] {
    return this.parts.wills.take();
  }

  tidy(): Promise<void> {
    return this.parts.upkeep.run();
  }

  close(): void {
    this.parts.close();
  }

  #targets(message: Message): Targets {
    const targets: Targets = new Map();
    if (message.qos === 0) return targets;
    this.parts.sessions.routes.addMatching(targets, message.topic, message.qos);
    this.parts.addShared(targets, message);
    return targets;
  }
}

/** Others look for a message by its broker and number; whoever takes from a session queue does not. */
function withoutBroker({ topic, payload, qos, clientId }: Message, retain: boolean): StorableMessage {
  return { topic, payload, qos, retain, clientId };
}
