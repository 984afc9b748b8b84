/**
 * The hashes that the authority lists as revoked, and for a while those that it lists no more.
 *
 * The authority takes a token off its list when that has expired by its clock. By the clock of this machine, or with a leeway,
 * it may not have: so what left the list is refused for some time yet.
 */
import { HashSet } from "../broker/trust/hash-set.ts";
import { HASH_BYTES, type TrlPatch } from "../shared/trl.ts";

/** The set. Times are those of a clock that never jumps, in milliseconds. */
export class RevokedHashes {
  readonly #keptMs: number;
  #listed = new HashSet();
  /** What left the list, and until when it counts; the newest last. */
  #left: { readonly hashes: HashSet; readonly untilMs: number }[] = [];
  /** Collects what leaves now; it is put away after {@link #keptMs}, and counts as long again. */
  #leaving: { readonly hashes: HashSet; readonly sinceMs: number } | undefined;

  /** `keptSeconds`: how long what left the list counts yet, at least. */
  constructor(keptSeconds: number) {
    this.#keptMs = keptSeconds * 1000;
  }

  get size(): number {
    return this.#listed.size;
  }

  /** Whether one of these hashes (hex) is of a revoked token. */
  has(hashes: readonly string[]): boolean {
    return this.#isIn(this.#listed, hashes) || this.#left.some((left) => this.#isIn(left.hashes, hashes));
  }

  /** Puts exactly these on the list. What is not among them counts until `keptMs` from now, if that is longer. */
  replace(packed: Uint8Array, nowMs: number, keptMs = 0): void {
    this.#forget(nowMs);
    if (this.#listed.size > 0) {
      this.#left.push({ hashes: this.#listed, untilMs: nowMs + Math.max(this.#keptMs, keptMs) });
    }
    this.#listed = new HashSet(packed.length / HASH_BYTES);
    for (let at = 0; at < packed.length; at += HASH_BYTES) this.#listed.addAt(packed, at);
  }

  /** Takes updates, the newest first. */
  update(patches: readonly TrlPatch[], nowMs: number): void {
    this.#forget(nowMs);
    for (const { removed, added } of patches.toReversed()) {
      for (let at = 0; at < removed.length; at += HASH_BYTES) {
        const hash = removed.subarray(at, at + HASH_BYTES);
        if (this.#listed.delete(hash)) this.#leavingAt(nowMs).add(hash);
      }
      for (let at = 0; at < added.length; at += HASH_BYTES) this.#listed.addAt(added, at);
    }
  }

  #leavingAt(nowMs: number): HashSet {
    if (this.#leaving === undefined || nowMs - this.#leaving.sinceMs >= this.#keptMs) {
      const hashes = new HashSet();
      this.#leaving = { hashes, sinceMs: nowMs };
      this.#left.push({ hashes, untilMs: nowMs + 2 * this.#keptMs });
    }
    return this.#leaving.hashes;
  }

  #forget(nowMs: number): void {
    this.#left = this.#left.filter(({ untilMs }) => untilMs > nowMs);
  }

  #isIn(set: HashSet, hashes: readonly string[]): boolean {
    return set.size > 0 && hashes.some((hash) => set.hasHex(hash));
  }
}
