/**
 * For which stored sessions a message is: the subscriptions of QoS 1 and 2 that match its topic, and the groups that share one
 * (MQTT 5, section 4.8.2), of which one member gets it.
 */
import { readShared } from "../../../shared/topic.ts";
import { FilterTree } from "../filter-tree.ts";
import type { Session, Stored } from "./session.ts";

/** Whom an emitter has chosen in groups: members with a stored session, and the groups that have a member that is there. */
export interface Choice {
  readonly stored: readonly { readonly clientId: string; readonly qos: 0 | 1 | 2 }[];
  readonly groups: ReadonlySet<string>;
}

/** The sessions for which a message is stored, each with the QoS for it. */
export type Targets = Map<Session, 1 | 2>;

/** The stored members of a group, which take turns. */
interface Group {
  readonly filter: string;
  readonly members: Stored[];
  turn: number;
}

/** The stored subscriptions that take part in routing. */
export class Routes {
  readonly #filters = new FilterTree<Stored>({ hidesDollar: true });
  readonly #groups = new Map<string, Group>();
  readonly #groupFilters = new FilterTree<Group>({ hidesDollar: true });
  /** How many subscriptions there are. */
  count = 0;

  add(stored: Stored): void {
    if (stored.qos === 0) return;
    this.count++;
    const shared = readShared(stored.topic);
    if (shared === undefined) {
      this.#filters.add(stored.topic, stored);
      return;
    }
    let group = this.#groups.get(stored.topic);
    if (group === undefined) {
      this.#groups.set(stored.topic, (group = { filter: stored.topic, members: [], turn: 0 }));
      this.#groupFilters.add(shared.filter, group);
    }
    group.members.push(stored);
  }

  withdraw(stored: Stored): void {
    if (stored.qos === 0) return;
    this.count--;
    const shared = readShared(stored.topic);
    if (shared === undefined) {
      this.#filters.remove(stored.topic, stored);
      return;
    }
    const group = this.#groups.get(stored.topic)!;
    group.members.splice(group.members.indexOf(stored), 1);
    if (group.members.length > 0) return;
    this.#groups.delete(stored.topic);
    this.#groupFilters.remove(shared.filter, group);
  }

  /** The subscriptions that match a topic, those of groups aside; filters without wildcards first. */
  match(topic: string): readonly Stored[] {
    return this.#filters.match(topic);
  }

  /** Adds those whose subscriptions match. */
  addMatching(targets: Targets, topic: string, published: 1 | 2): void {
    for (const { session, qos } of this.#filters.match(topic)) addTarget(targets, session, qos, published);
  }

  /** Adds one member of each group without a member that was chosen. */
  addOfGroups(targets: Targets, topic: string, published: 1 | 2, choice: Choice | undefined): void {
    if (this.#groups.size === 0) return;
    for (const group of this.#groupFilters.match(topic)) {
      if (choice?.groups.has(group.filter) === true) continue;
      const member = takeTurn(group);
      addTarget(targets, member.session, member.qos, published);
    }
  }
}

/** Adds a session, at the lower QoS of publisher and subscriber; what is there with a higher one stays. */
export function addTarget(targets: Targets, session: Session, subscribed: 0 | 1 | 2, published: 1 | 2): void {
  const qos = subscribed < published ? subscribed : published;
  if (qos === 0 || session.isOver || (targets.get(session) ?? 0) >= qos) return;
  targets.set(session, qos);
}

/** The member whose turn it is, of those that are not connected if there are any. */
function takeTurn(group: Group): Stored {
  const { members, turn } = group;
  for (let step = 0; step < members.length; step++) {
    const at = (turn + step) % members.length;
    if (members[at]!.session.attendant !== undefined) continue;
    group.turn = at + 1;
    return members[at]!;
  }
  group.turn = turn + 1;
  return members[turn % members.length]!;
}
