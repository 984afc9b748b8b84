/**
 * Shared subscriptions: of the members of a group with the same filter, one gets a message (MQTT 5, section 4.8.2).
 *
 * Members take turns; one that is not ready is passed over while another is. Only members that are connected are known here.
 * A group is a name and a filter together, written `$share/<name>/<filter>`. A message of a topic that begins with `$` goes
 * to no group whose filter begins with a wildcard (MQTT-4.7.2-1).
 */
import { readShared } from "../../shared/topic.ts";
import { FilterTree } from "./filter-tree.ts";
import type { FilterSyntax } from "./filter-tree.ts";
import { notTaken, subscriberOf } from "./message.ts";
import type { Message, Notify, Subscriber } from "./message.ts";

/** Which members a message is for. */
export interface SharedChoice {
  /** Members that take it from their stored queue; once for each group that chose them. `qos` is of the subscription. */
  readonly stored: readonly { readonly clientId: string; readonly qos: 0 | 1 | 2 }[];
  /** The `$share/…` filters of the groups that had a member to choose. */
  readonly groups: ReadonlySet<string>;
}

/** Calls a notify, and catches what it throws: false then. */
export type Call = (notify: Notify, message: Message, done: (outcome?: unknown) => void) => boolean;

/** All groups of one emitter. */
export class Groups {
  readonly #byName = new Map<string, Group>();
  readonly #byFilter: FilterTree<Group>;
  readonly #choices = new WeakMap<Message, Choice>();

  constructor(syntax: FilterSyntax = {}) {
    this.#byFilter = new FilterTree({ ...syntax, hidesDollar: true });
  }

  /** Whether no group has a member. */
  get isEmpty(): boolean {
    return this.#byName.size === 0;
  }

  /** Adds a member; false if the filter is not that of a group. */
  add(filter: string, notify: Notify): boolean {
    const shared = readShared(filter);
    if (shared === undefined) return false;
    let group = this.#byName.get(filter);
    if (group === undefined) {
      group = new Group(filter);
      this.#byName.set(filter, group);
      this.#byFilter.add(shared.filter, group);
    }
    group.add(notify);
    return true;
  }

  /** Removes a member, or every member; false if the filter is not that of a group. */
  remove(filter: string, notify?: Notify): boolean {
    const shared = readShared(filter);
    if (shared === undefined) return false;
    const group = this.#byName.get(filter);
    if (group === undefined) return true;
    if (notify === undefined) group.clear();
    else group.remove(notify);
    if (group.size === 0) {
      this.#byName.delete(filter);
      this.#byFilter.remove(shared.filter, group);
    }
    return true;
  }

  /** Chooses the members for a message, which `offers` then keeps to. Asked again, answers the same. */
  choose(message: Message): SharedChoice {
    if (this.isEmpty) return nobody;
    let choice = this.#choices.get(message);
    if (choice === undefined) {
      const groups = this.#byFilter.match(message.topic);
      choice = groups.length === 0 ? nobody : new Choice(groups, message.qos);
      this.#choices.set(message, choice);
    }
    return choice;
  }

  /** To whom a message is to be offered now: of each group one member, unless that takes it from its stored queue. */
  offers(message: Message): readonly Offer[] {
    const groups = this.#byFilter.match(message.topic);
    const choice = this.#choices.get(message);
    if (choice === undefined) return groups.map((group) => new Offer(group, group.pick()));
    this.#choices.delete(message);
    const offers: Offer[] = [];
    for (const group of groups) {
      const chosen = choice.members.get(group.name);
      // a group that had nobody when it was chosen is the store's
      if (chosen === undefined) continue;
      offers.push(new Offer(group, group.has(chosen) ? chosen : group.pick()));
    }
    return offers;
  }
}

/** One client, or what else listens, in one group. */
class Member {
  readonly notify: Notify;
  #subscriber: Subscriber | undefined;

  constructor(notify: Notify) {
    this.notify = notify;
  }

  get subscriber(): Subscriber | undefined {
    return (this.#subscriber ??= subscriberOf(this.notify));
  }

  get isReady(): boolean {
    try {
      return this.subscriber?.isReady ?? true;
    } catch {
      return false; // asked all the same when no other is ready
    }
  }
}

class Group {
  readonly name: string;
  readonly #members: Member[] = [];
  readonly #places = new Map<Notify, number>();
  #turn = 0;

  constructor(name: string) {
    this.name = name;
  }

  get size(): number {
    return this.#members.length;
  }

  has(member: Member): boolean {
    const place = this.#places.get(member.notify);
    return place !== undefined && this.#members[place] === member;
  }

  add(notify: Notify): void {
    if (this.#places.has(notify)) return;
    this.#places.set(notify, this.#members.length);
    this.#members.push(new Member(notify));
  }

  /** The last one moves to the place that is free, so that many leave as fast as they came. */
  remove(notify: Notify): void {
    const place = this.#places.get(notify);
    if (place === undefined) return;
    this.#places.delete(notify);
    const last = this.#members.pop()!;
    if (last.notify === notify) return;
    this.#members[place] = last;
    this.#places.set(last.notify, place);
  }

  clear(): void {
    this.#members.length = 0;
    this.#places.clear();
  }

  /** Whose turn it is, of those that are ready if any is; there is at least one member. */
  pick(): Member {
    const { length } = this.#members;
    let place = this.#turn % length;
    for (let tried = 0; tried < length; tried += 1) {
      const candidate = (this.#turn + tried) % length;
      if (this.#members[candidate]!.isReady) {
        place = candidate;
        break;
      }
    }
    this.#turn = place + 1;
    return this.#members[place]!;
  }

  /** The others in the order of their turns, those that are ready first. */
  after(member: Member): Member[] {
    const others: Member[] = [];
    const unready: Member[] = [];
    const { length } = this.#members;
    for (let offset = 0; offset < length; offset += 1) {
      const other = this.#members[(this.#turn + offset) % length]!;
      if (other !== member) (other.isReady ? others : unready).push(other);
    }
    for (const other of unready) others.push(other);
    return others;
  }
}

class Choice implements SharedChoice {
  readonly stored: { readonly clientId: string; readonly qos: 0 | 1 | 2 }[] = [];
  readonly groups = new Set<string>();
  /** The member of each of them; undefined where it takes the message from its stored queue. */
  readonly members = new Map<string, Member | undefined>();

  constructor(groups: readonly Group[], qos: 0 | 1 | 2) {
    for (const group of groups) {
      const member = group.pick();
      const { subscriber } = member;
      const isStored = qos > 0 && subscriber !== undefined && subscriber.isStored && subscriber.qos > 0;
      if (isStored) this.stored.push({ clientId: subscriber.clientId, qos: subscriber.qos });
      this.groups.add(group.name);
      this.members.set(group.name, isStored ? undefined : member);
    }
  }
}

/** Whether a message reaches a subscriber through its stored queue alone. */
function isForStore(
  message: Message,
  subscriber: Subscriber | undefined,
): subscriber is Subscriber & Required<Pick<Subscriber, "keep">> {
  return message.qos > 0 && subscriber?.keep !== undefined && subscriber.isStored && subscriber.qos > 0;
}

/** Of a message that is for no group. */
const nobody = new Choice([], 0);

/** A message on its way to one member of a group: when that does not take it, the next is asked, each at most once. */
export class Offer {
  readonly #group: Group;
  readonly #first: Member;
  #others: Member[] | undefined;

  constructor(group: Group, first: Member) {
    this.#group = group;
    this.#first = first;
  }

  /** `done` is called once: when a member took the message or failed with it, or when none is left. */
  make(message: Message, call: Call, done: () => void): void {
    this.#ask(this.#first, message, call, done);
  }

  #ask(first: Member | undefined, message: Message, call: Call, done: () => void): void {
    for (let member = first; member !== undefined; member = this.#next()) {
      const asked: { isWithin: boolean; answer?: "taken" | "not taken" } = { isWithin: true };
      const answer = (outcome?: unknown): void => {
        if (asked.answer !== undefined) return;
        asked.answer = outcome === notTaken ? "not taken" : "taken";
        if (asked.isWithin) return;
        if (asked.answer === "taken") done();
        else this.#ask(this.#next(), message, call, done);
      };
      if (isForStore(message, member.subscriber)) answer(member.subscriber.keep(message) ? undefined : notTaken);
      else if (!call(member.notify, message, answer)) answer();
      asked.isWithin = false;
      if (asked.answer === undefined) return; // it will answer later
      if (asked.answer === "taken") break;
    }
    done();
  }

  /** The next one that is still there. */
  #next(): Member | undefined {
    this.#others ??= this.#group.after(this.#first).reverse();
    let member = this.#others.pop();
    while (member !== undefined && !this.#group.has(member)) member = this.#others.pop();
    return member;
  }
}
