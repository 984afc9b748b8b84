/**
 * Retained messages (MQTT 3.1.1, section 3.3.1.3): topics and whose they are in memory, payloads on disk, read by key
 * when a subscription asks for them.
 */
import { Readable } from "node:stream";
import { ownerOf } from "../../../shared/names.ts";
import { statement, type Database } from "../../sqlite/database.ts";
import type { StoreDrop } from "../durable.ts";
import type { StoreLimits } from "../limits.ts";
import { TopicTree } from "../topic-tree.ts";
import type { Batch } from "./batch.ts";
import type { TellDrop } from "./drops.ts";
import type { PurgesUnderWay } from "./purges.ts";
import { Shares, tenantOf } from "./shares.ts";

/** A message to retain; other members are kept and given back. */
export interface RetainableMessage {
  readonly topic: string;
  readonly payload: Buffer | string;
  readonly qos: 0 | 1 | 2;
  readonly clientId?: string | undefined;
}

interface Weight {
  readonly bytes: number;
}

interface RetainedRow {
  readonly payload: Buffer | string;
  readonly qos: 0 | 1 | 2;
  readonly further: string | null;
  readonly after_purge: number;
}

/** Members of a packet that say something of one delivery, or that have a column. */
const known: ReadonlySet<string> = new Set(
  "cmd topic payload qos retain dup length messageId clientId brokerId brokerCounter".split(" "),
);
/** So many are looked up before others have their turn. */
const perTurn = 64;

const upsert = `INSERT INTO retained (topic, payload, qos, publisher, further, after_purge) VALUES (?, ?, ?, ?, ?, ?)
  ON CONFLICT (topic) DO UPDATE SET payload = excluded.payload, qos = excluded.qos, publisher = excluded.publisher,
  further = excluded.further, after_purge = excluded.after_purge`;
const select = "SELECT payload, qos, further, after_purge FROM retained WHERE topic = ?";
const selectBytes = "SELECT octet_length(payload) AS bytes FROM retained WHERE topic = ?";

/** What one client has, and who that counts for. */
interface Share {
  readonly tenant: string;
  topics: number;
  bytes: number;
}

/** What retained messages are kept with. */
export interface RetainedOptions {
  readonly limits: StoreLimits;
  readonly tellDrop: TellDrop;
  readonly purges: PurgesUnderWay;
}

/** All retained messages. */
export class Retained {
  readonly #db: Database;
  readonly #batch: Batch;
  readonly #limits: StoreLimits;
  readonly #tellDrop: TellDrop;
  readonly #purges: PurgesUnderWay;
  /** Topics, each with the client that published it, without the suffix of its id. */
  readonly #topics = new TopicTree<string>();
  readonly #byPublisher = new Map<string, Share>();
  #bytes = 0;
  readonly shares: { readonly topics: Shares; readonly bytes: Shares };

  constructor(db: Database, batch: Batch, options: RetainedOptions) {
    this.#db = db;
    this.#batch = batch;
    this.#limits = options.limits;
    this.#tellDrop = options.tellDrop;
    this.#purges = options.purges;
    const { retainedTopics, retainedBytes } = options.limits;
    this.shares = { topics: new Shares(retainedTopics), bytes: new Shares(retainedBytes) };
    const rows = db
      .prepare("SELECT topic, publisher, octet_length(payload) AS bytes FROM retained")
      .iterate() as IterableIterator<{ topic: string; publisher: string | null; bytes: number }>;
    // one string for all topics of a publisher
    const publishers = new Map<string, string>();
    for (const { topic, publisher, bytes } of rows) {
      const name = ownerOf(publisher ?? "");
      let shared = publishers.get(name);
      if (shared === undefined) publishers.set(name, (shared = name));
      this.#set(topic, shared);
      this.#weigh(shared, bytes);
    }
  }

  get size(): number {
    return this.#topics.size;
  }
  /** Who has any. */
  owners(): string[] {
    return [...this.#byPublisher.keys()];
  }
  hasOf(owner: string): boolean {
    return this.#byPublisher.has(owner);
  }

  /** Whether storing this message writes anything: not when there is nothing to remove, and not beyond the limits. */
  takes(message: RetainableMessage): boolean {
    const { topic, payload, clientId = "" } = message;
    const publisher = this.#topics.get(topic);
    const owner = ownerOf(clientId);
    if (payload.length === 0) return publisher !== undefined;
    const { retainedPerClient, retainedBytesPerClient } = this.#limits;
    const share = owner === "" ? undefined : this.#byPublisher.get(owner);
    const tenant = share?.tenant ?? tenantOf(owner);
    const bytes = Buffer.byteLength(payload);
    let why: StoreDrop | undefined;
    if (publisher !== owner && !this.#mayTakeTopic(tenant, publisher)) why = "retained-topics";
    else if (publisher !== owner && (share?.topics ?? 0) >= retainedPerClient) why = "retained-of-client";
    else if (!this.#mayTakeBytes(tenant, bytes, topic, publisher)) why = "retained-bytes";
    else if (owner !== "" && (share?.bytes ?? 0) + bytes > retainedBytesPerClient) {
      // what is replaced makes room
      const more = bytes - (publisher === owner ? this.#bytesOf(topic) : 0);
      if ((share?.bytes ?? 0) + more > retainedBytesPerClient) why = "retained-of-client";
    }
    if (why !== undefined) this.#tellDrop(why, clientId);
    return why === undefined;
  }

  /** Stores one that {@link takes} said yes to, or removes it if it is empty; within a write of the batch. */
  store(message: RetainableMessage): void {
    const { topic, payload, qos, clientId = "" } = message;
    if (payload.length === 0) return this.remove(topic);
    this.#turn(topic, ownerOf(clientId), Buffer.byteLength(payload));
    const publisher = clientId === "" ? null : clientId;
    statement(this.#db, upsert).run(topic, payload, qos, publisher, furtherOf(message), this.#purges.last);
  }

  /** Removes that of a topic; within a write of the batch. */
  remove(topic: string): void {
    this.#turn(topic, undefined, 0);
    statement(this.#db, "DELETE FROM retained WHERE topic = ?").run(topic);
  }

  /** The retained messages that any of the filters matches, each once for each such filter. */
  stream(filters: readonly string[]): Readable {
    return Readable.from(this.#matching(filters), { objectMode: true, highWaterMark: 1 });
  }

  async *#matching(filters: readonly string[]): AsyncGenerator<object, void, undefined> {
    let count = 0;
    for (const filter of filters) {
      for (const found of this.#topics.search(filter)) {
        const packet = found && this.#read(...found);
        if (packet !== undefined) yield packet;
        // whoever asks for everything, or for what takes long to find, must not keep the others waiting
        if (++count % perTurn === 0 || found === undefined) await nextTurn();
      }
      if (++count % perTurn === 0) await nextTurn();
    }
  }

  #read(topic: string, owner: string): object | undefined {
    // a stream that fails would have nobody to tell
    return this.#batch.safely(() => {
      if (!this.#db.open) return undefined;
      const row = statement<RetainedRow>(this.#db, select).get(topic);
      if (row === undefined || this.#purges.takes(owner, topic, row.after_purge)) return undefined;
      const further = row.further === null ? {} : (JSON.parse(row.further) as object);
      return { cmd: "publish", topic, payload: row.payload, qos: row.qos, retain: true, ...further };
    });
  }

  /** Whether a tenant may have one topic more: that of a publisher, or one that nobody has. */
  #mayTakeTopic(tenant: string, publisher: string | undefined): boolean {
    if (publisher === undefined) return this.shares.topics.mayTake(tenant, 1, this.#topics.size + 1);
    return this.#tenantOf(publisher) === tenant || this.shares.topics.mayTake(tenant, 1, this.#topics.size);
  }

  /** Whether a tenant may have so many bytes in a topic, in place of what a publisher has there. */
  #mayTakeBytes(tenant: string, bytes: number, topic: string, publisher: string | undefined): boolean {
    const { bytes: shares } = this.shares;
    if (shares.mayTake(tenant, bytes, this.#bytes + bytes)) return true;
    if (publisher === undefined) return false;
    const before = this.#bytesOf(topic);
    const more = bytes - (this.#tenantOf(publisher) === tenant ? before : 0);
    return shares.mayTake(tenant, more, this.#bytes + bytes - before);
  }

  #tenantOf(publisher: string): string {
    return this.#byPublisher.get(publisher)!.tenant;
  }

  #bytesOf(topic: string): number {
    return statement<Weight>(this.#db, selectBytes).get(topic)?.bytes ?? 0;
  }

  /** Notes whose the message of a topic is from now on, and how large; as it was when the turn is rolled back. */
  #turn(topic: string, owner: string | undefined, bytes: number): void {
    const previous = this.#topics.get(topic);
    const before = previous === undefined ? 0 : this.#bytesOf(topic);
    const turn = (from: string | undefined, to: string | undefined, less: number, more: number): void => {
      if (from !== undefined) this.#weigh(from, -less);
      this.#set(topic, to);
      if (to !== undefined) this.#weigh(to, more);
    };
    turn(previous, owner, before, bytes);
    this.#batch.onRollback(() => turn(owner, previous, bytes, before));
  }

  /** Counts bytes of a client that has a message. */
  #weigh(publisher: string, bytes: number): void {
    const share = this.#byPublisher.get(publisher)!;
    share.bytes += bytes;
    this.#bytes += bytes;
    this.shares.bytes.add(share.tenant, bytes);
  }

  /** Notes whose the message of a topic is; undefined: there is none. */
  #set(topic: string, publisher: string | undefined): void {
    const previous = this.#topics.get(topic);
    if (previous === publisher) return;
    if (previous !== undefined) {
      const share = this.#byPublisher.get(previous)!;
      if (--share.topics === 0) this.#byPublisher.delete(previous);
      this.shares.topics.add(share.tenant, -1);
    }
    if (publisher === undefined) this.#topics.delete(topic);
    else {
      this.#topics.set(topic, publisher);
      let share = this.#byPublisher.get(publisher);
      if (share === undefined) {
        share = { tenant: tenantOf(publisher), topics: 0, bytes: 0 };
        this.#byPublisher.set(publisher, share);
      }
      share.topics++;
      this.shares.topics.add(share.tenant, 1);
    }
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function furtherOf(message: object): string | null {
  const further = Object.entries(message).filter(([name, value]) => !known.has(name) && value !== undefined);
  return further.length === 0 ? null : JSON.stringify(Object.fromEntries(further));
}
