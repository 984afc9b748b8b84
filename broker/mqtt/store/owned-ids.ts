/**
 * Client ids by the client they belong to: its own id, and that with suffixes. Most clients have one, which takes no set.
 */
import { ownerOf } from "../../../shared/names.ts";

/** An index of client ids. */
export class OwnedIds {
  readonly #byOwner = new Map<string, string | Set<string>>();

  add(id: string): void {
    const owner = ownerOf(id);
    const known = this.#byOwner.get(owner);
    if (known === undefined) this.#byOwner.set(owner, id);
    else if (known instanceof Set) known.add(id);
    else if (known !== id) this.#byOwner.set(owner, new Set([known, id]));
  }

  delete(id: string): void {
    const owner = ownerOf(id);
    const known = this.#byOwner.get(owner);
    if (known instanceof Set) known.delete(id);
    if (known === id || (known instanceof Set && known.size === 0)) this.#byOwner.delete(owner);
  }

  count(owner: string): number {
    const known = this.#byOwner.get(owner);
    return known instanceof Set ? known.size : Number(known !== undefined);
  }

  /** The ids of a client, a copy. */
  of(owner: string): string[] {
    const known = this.#byOwner.get(owner);
    if (known === undefined) return [];
    return known instanceof Set ? [...known] : [known];
  }
}
