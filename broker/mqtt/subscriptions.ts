/**
 * The live subscriptions of one client, as Aedes keeps them on its client object, watched: whose each is, so that
 * groups can choose among clients, and the highest QoS of those that match a topic (MQTT-3.3.5-1).
 */
import { covers, readShared } from "../../shared/topic.ts";
import type { Subscription } from "./aedes-client.ts";
import { introduce } from "./message.ts";

/** What is asked of the client behind the subscriptions. */
export interface Reader {
  readonly client: { readonly id: string };
  readonly isReady: boolean;
  readonly isStored: boolean;
}

/** A record of whatever names, as one without a prototype is, and smaller. */
class Names {}
Object.setPrototypeOf(Names.prototype, null);
delete (Names.prototype as { constructor?: unknown }).constructor;

/** Watches what Aedes sets and deletes: it is the handler of the record's own proxy. */
export class Subscriptions implements ProxyHandler<Record<string, Subscription>> {
  /** Takes the place of the client's own record. */
  readonly record: Record<string, Subscription>;
  readonly #reader: Reader;
  /** How many there are of each QoS. */
  readonly #counts: [number, number, number] = [0, 0, 0];

  constructor(reader: Reader) {
    this.#reader = reader;
    this.record = new Proxy(new Names() as Record<string, Subscription>, this);
  }

  set(filters: Record<string, Subscription>, filter: string, subscription: Subscription): boolean {
    this.deleteProperty(filters, filter);
    filters[filter] = subscription;
    this.#counts[subscription.qos]++;
    introduce(subscription.func, new Member(this.#reader, subscription.qos));
    return true;
  }

  deleteProperty(filters: Record<string, Subscription>, filter: string): boolean {
    const previous = filters[filter];
    if (previous !== undefined) this.#counts[previous.qos]--;
    return delete filters[filter];
  }

  /** The QoS at which a message of this topic is delivered: its own, or the highest of the filters that match. */
  qosOf(topic: string, published: 1 | 2): 0 | 1 | 2 {
    const [none, once, exactly] = this.#counts;
    if (none === 0 && (exactly === 0 || once === 0)) return exactly === 0 ? 1 : published;
    if (once === 0 && exactly === 0) return 0;
    if (published === 1 && none === 0) return 1;
    const known = this.record;
    let highest: 0 | 1 | 2 = 0;
    for (const filter of Object.keys(known)) {
      const { qos } = known[filter]!;
      if (qos > highest && covers(readShared(filter)?.filter ?? filter, topic)) highest = qos;
    }
    return highest < published ? highest : published;
  }
}

/** A client as a member of groups. */
class Member {
  readonly qos: 0 | 1 | 2;
  readonly #reader: Reader;

  constructor(reader: Reader, qos: 0 | 1 | 2) {
    this.#reader = reader;
    this.qos = qos;
  }

  get clientId(): string {
    return this.#reader.client.id;
  }
  get isReady(): boolean {
    return this.#reader.isReady;
  }
  get isStored(): boolean {
    return this.#reader.isStored;
  }
}
