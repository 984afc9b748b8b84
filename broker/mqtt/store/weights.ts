/**
 * What the messages in the queues weigh: each once in all, and once for each project that has it in a queue. A message
 * is forgotten with the last queue that has it.
 */
import type { Database } from "../../sqlite/database.ts";
import type { Session } from "./session.ts";
import { Shares } from "./shares.ts";

/** A message while it is put into queues. */
export interface Weighed {
  readonly bytes: number;
  /** Queues that have it. */
  count: number;
  /** The tenant of the first; when there are several, how many queues of each have it. */
  tenant: string;
  byTenant: Map<string, number> | undefined;
}

interface SharedRow {
  readonly message: number;
  readonly bytes: number;
  readonly sessions: string;
}

const selectShared = `SELECT message, octet_length(topic) + octet_length(payload) AS bytes, sessions FROM
  (SELECT message, json_group_array(session) AS sessions FROM queue GROUP BY message HAVING count(*) > 1)
  JOIN message ON message.id = message`;

/** The weights of all messages that are in a queue. */
export class Weights {
  readonly shares: Shares;
  /** In all. */
  bytes = 0;
  /** How many queues have a message, where more than one has it; and of each tenant, where there are several. */
  readonly #shared = new Map<number, number>();
  readonly #byTenant = new Map<number, Map<string, number>>();
  /** What this turn has added. */
  #bytesOfTurn = 0;
  #ofTurn: { readonly tenant: string; bytes: number }[] = [];

  constructor(limit: number) {
    this.shares = new Shares(limit);
  }

  /** A message that no queue has yet. */
  weigh(bytes: number): Weighed {
    return { bytes, count: 0, tenant: "", byTenant: undefined };
  }

  /** Whether a queue of a tenant may have it; that takes no room where another queue of the tenant has it already. */
  hasRoom(weighed: Weighed, tenant: string): boolean {
    if (isCounted(weighed, tenant)) return true;
    return this.shares.mayTake(tenant, weighed.bytes, this.bytes + (weighed.count === 0 ? weighed.bytes : 0));
  }

  /** Counts it for one more queue of a tenant. */
  add(weighed: Weighed, tenant: string): void {
    const { bytes, count } = weighed;
    if (!isCounted(weighed, tenant)) {
      this.shares.add(tenant, bytes);
      const last = this.#ofTurn.at(-1);
      if (last?.tenant === tenant) last.bytes += bytes;
      else this.#ofTurn.push({ tenant, bytes });
    }
    if (count === 0) {
      weighed.tenant = tenant;
      this.bytes += bytes;
      this.#bytesOfTurn += bytes;
    } else if (tenant !== weighed.tenant) weighed.byTenant ??= new Map([[weighed.tenant, count]]);
    weighed.byTenant?.set(tenant, (weighed.byTenant.get(tenant) ?? 0) + 1);
    weighed.count++;
  }

  /** Notes which message it was, once all queues have it. */
  keep({ count, byTenant }: Weighed, message: number): void {
    if (count > 1) this.#shared.set(message, count);
    if (byTenant !== undefined) this.#byTenant.set(message, byTenant);
  }

  /** A queue of a tenant has it no longer. True if it was the last one. */
  remove(message: number, bytes: number, tenant: string): boolean {
    const count = this.#shared.get(message);
    if (count === undefined) {
      this.bytes -= bytes;
      this.shares.add(tenant, -bytes);
      return true;
    }
    if (count === 2) this.#shared.delete(message);
    else this.#shared.set(message, count - 1);
    if (this.#byTenant.size > 0) this.#removeOf(tenant, message, bytes);
    return false;
  }

  committed(): void {
    this.#bytesOfTurn = 0;
    if (this.#ofTurn.length > 0) this.#ofTurn = [];
  }

  /** Nothing of the turn is there; it began with the first of these messages. */
  rolledBack(first: number, last: number): void {
    for (let id = first; id <= last; id++) {
      this.#shared.delete(id);
      this.#byTenant.delete(id);
    }
    this.bytes -= this.#bytesOfTurn;
    for (const { tenant, bytes } of this.#ofTurn) this.shares.add(tenant, -bytes);
    this.committed();
  }

  /** Counts what is on disk, once the sessions know their bytes. */
  load(db: Database, sessions: ReadonlyMap<number, Session>): void {
    for (const { tenant, bytes } of sessions.values()) {
      this.bytes += bytes;
      if (bytes > 0) this.shares.add(tenant, bytes);
    }
    for (const row of db.prepare(selectShared).iterate() as IterableIterator<SharedRow>) {
      const ids = JSON.parse(row.sessions) as number[];
      const byTenant = new Map<string, number>();
      for (const id of ids) {
        const { tenant } = sessions.get(id)!;
        byTenant.set(tenant, (byTenant.get(tenant) ?? 0) + 1);
      }
      this.#shared.set(row.message, ids.length);
      if (byTenant.size > 1) this.#byTenant.set(row.message, byTenant);
      // each session has all of its bytes
      this.bytes -= (ids.length - 1) * row.bytes;
      for (const [tenant, count] of byTenant) this.shares.add(tenant, -(count - 1) * row.bytes);
    }
  }

  /** One of several tenants, perhaps, has it in one queue less. */
  #removeOf(tenant: string, message: number, bytes: number): void {
    const byTenant = this.#byTenant.get(message);
    if (byTenant === undefined) return;
    const left = byTenant.get(tenant)! - 1;
    byTenant.set(tenant, left);
    if (left > 0) return;
    byTenant.delete(tenant);
    this.shares.add(tenant, -bytes);
    // the last one's goes with the last queue
    if (byTenant.size === 1) this.#byTenant.delete(message);
  }
}

/** Whether a message counts for a tenant already. */
function isCounted({ count, tenant, byTenant }: Weighed, other: string): boolean {
  return count > 0 && (tenant === other || byTenant?.has(other) === true);
}
