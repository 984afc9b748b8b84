/**
 * DPoP proofs that were used, each for as long as it would be good, so that none counts twice (RFC 9449, section 11.1).
 *
 * Bounded: beyond the bound, and for one key beyond a part of it, further proofs are refused until others have ended. The memory
 * is that of this process; of several processes each has its own.
 */
import { createHash } from "node:crypto";
import { Refusal, refuse } from "../shared/refusal.ts";

/** One key may take half of it. */
const PART = 2;

/** Too many proofs at a time; `retryAfterSeconds` later there is room. */
export class TooManyProofs extends Refusal {
  readonly retryAfterSeconds: number;
  constructor(retryAfterSeconds: number) {
    super("rate.limited", "too many DPoP proofs at a time");
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

/** The memory. */
export class SpentProofs {
  readonly #most: number;
  readonly #mostOfKey: number;
  /** By the second at which they end, so that ending them is no search. */
  readonly #byEnd = new Map<number, Set<string>>();
  readonly #ofKey = new Map<string, number>();
  #size = 0;

  constructor(most: number) {
    this.#most = most;
    this.#mostOfKey = Math.max(1, Math.floor(most / PART));
  }

  get size(): number {
    return this.#size;
  }

  /** Throws `dpop.replayed` for a proof that was used, and `rate.limited` where there is no room. Times in seconds. */
  spend(thumbprint: string, jti: string, endsAt: number, nowSeconds: number): void {
    this.#end(nowSeconds);
    const name = `${thumbprint}.${createHash("sha256").update(jti).digest("base64url").slice(0, 22)}`;
    // the same jti may stand in a proof of another second
    for (const names of this.#byEnd.values()) if (names.has(name)) refuse("dpop.replayed");
    const ofKey = this.#ofKey.get(thumbprint) ?? 0;
    if (this.#size >= this.#most || ofKey >= this.#mostOfKey) throw new TooManyProofs(1);
    const names = this.#byEnd.get(endsAt);
    if (names === undefined) this.#byEnd.set(endsAt, new Set([name]));
    else names.add(name);
    this.#ofKey.set(thumbprint, ofKey + 1);
    this.#size++;
  }

  /** A proof is good up to and including the second at which it ends. */
  #end(nowSeconds: number): void {
    for (const [endsAt, names] of this.#byEnd) {
      if (endsAt >= nowSeconds) continue;
      this.#byEnd.delete(endsAt);
      this.#size -= names.size;
      for (const name of names) {
        const thumbprint = name.slice(0, name.lastIndexOf("."));
        const left = this.#ofKey.get(thumbprint)! - 1;
        if (left === 0) this.#ofKey.delete(thumbprint);
        else this.#ofKey.set(thumbprint, left);
      }
    }
  }
}
