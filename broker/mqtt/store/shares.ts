/**
 * Fair shares of a limit that is of the whole installation: what each project uses of it, and whether it may take more.
 *
 * A project that is alone has all of a limit. Where there are others, half of it is for whoever comes first, and of the other half
 * a project may take only up to a share, which depends on how many use any of the limit: with two of them half of that half, with
 * three a sixth, with n one part of n(n-1). These parts add up to one half, so whoever comes next finds a whole share, whatever
 * those before took and in whatever order, unless one of them was alone until then.
 */
import { ownerOf } from "../../../shared/names.ts";

/** The project of a client, as its id names it; clients that have none in their id count as one. */
export function tenantOf(clientId: string): string {
  const owner = ownerOf(clientId);
  return owner.slice(0, Math.max(0, owner.indexOf(".")));
}

/** What is used of one limit, by tenant. */
export class Shares {
  readonly #limit: number;
  readonly #uses = new Map<string, { amount: number }>();

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** What each tenant uses; none uses nothing. */
  get uses(): ReadonlyMap<string, number> {
    return new Map([...this.#uses].map(([tenant, { amount }]) => [tenant, amount]));
  }

  /** Counts what a tenant takes, or gives back when it is below zero. */
  add(tenant: string, amount: number): void {
    const use = this.#uses.get(tenant);
    if (use === undefined) {
      if (amount !== 0) this.#uses.set(tenant, { amount });
      return;
    }
    use.amount += amount;
    if (use.amount === 0) this.#uses.delete(tenant);
  }

  /** Whether a tenant may take so much more, when that makes so much in all. */
  mayTake(tenant: string, more: number, inAll: number): boolean {
    if (inAll > this.#limit) return false;
    const forAll = Math.ceil(this.#limit / 2);
    if (more <= 0 || inAll <= forAll) return true;
    const use = this.#uses.get(tenant);
    const tenants = this.#uses.size + (use === undefined ? 1 : 0);
    return tenants === 1 || (use?.amount ?? 0) + more <= (this.#limit - forAll) / (tenants * (tenants - 1));
  }
}
