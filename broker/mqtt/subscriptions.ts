/**
 * The live subscriptions of one client, as Aedes keeps them on its client object, watched: whose each is, so that
 * groups can choose among clients, and the highest QoS of those that match a topic (MQTT-3.3.5-1).
 */
import { readShared } from "../../shared/topic.ts";
import type { Subscription } from "./aedes-client.ts";
import { FilterTree } from "./filter-tree.ts";
import { introduce } from "./message.ts";
import type { Message } from "./message.ts";

/** What is asked of the client behind the subscriptions. */
export interface Reader {
  readonly client: { readonly id: string };
  readonly isReady: boolean;
  readonly isStored: boolean;
  keep(message: Message, subscribed: 1 | 2): boolean;
}

/** Makes a record of whatever names, as one without a prototype is, and smaller. */
const Names = function () {} as unknown as new () => Record<string, Subscription>;
Names.prototype = Object.create(null) as object;

/** Watches what Aedes sets and deletes: it is the handler of the record's own proxy. */
export class Subscriptions implements ProxyHandler<Record<string, Subscription>> {
  /** Takes the place of the client's own record. */
  readonly record: Record<string, Subscription>;
  readonly #reader: Reader;
  /** How many there are of each QoS. */
  readonly #counts: [number, number, number] = [0, 0, 0];
  /** By what they match, each with its filter; made when they differ in QoS and it matters. */
  #byTopic: FilterTree<string> | undefined;

  constructor(reader: Reader) {
    this.#reader = reader;
    this.record = new Proxy(new Names(), this);
  }

  set(filters: Record<string, Subscription>, filter: string, subscription: Subscription): boolean {
    this.deleteProperty(filters, filter);
    filters[filter] = subscription;
    this.#counts[subscription.qos]++;
    this.#byTopic?.add(matchedBy(filter), filter);
    introduce(subscription.func, new Member(this.#reader, subscription.qos));
    return true;
  }

  deleteProperty(filters: Record<string, Subscription>, filter: string): boolean {
    const previous = filters[filter];
    if (previous === undefined) return true;
    this.#counts[previous.qos]--;
    this.#byTopic?.remove(matchedBy(filter), filter);
    return delete filters[filter];
  }

  /** The QoS at which a message of this topic is delivered: its own, or the highest of the filters that match. */
  qosOf(topic: string, published: 1 | 2): 0 | 1 | 2 {
    const [none, once, exactly] = this.#counts;
    if (none === 0 && (exactly === 0 || once === 0)) return exactly === 0 ? 1 : published;
    if (once === 0 && exactly === 0) return 0;
    if (published === 1 && none === 0) return 1;
    let highest: 0 | 1 | 2 = 0;
    for (const filter of (this.#byTopic ??= this.#plant()).match(topic)) {
      const { qos } = this.record[filter]!;
      if (qos > highest) highest = qos;
    }
    return highest < published ? highest : published;
  }

  #plant(): FilterTree<string> {
    const tree = new FilterTree<string>({ hidesDollar: true });
    for (const filter of Object.keys(this.record)) tree.add(matchedBy(filter), filter);
    return tree;
  }
}

/** What a filter matches, that of a group without its name. */
function matchedBy(filter: string): string {
  return readShared(filter)?.filter ?? filter;
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
  keep(message: Message): boolean {
    return this.qos > 0 && this.#reader.keep(message, this.qos as 1 | 2);
  }
}
