/**
 * DPoP proofs that were used, each for as long as it would be good, so that none counts twice (RFC 9449, section 11.1).
 *
 * Bounded, and shared fairly: a client may have as many in it as there is room left, so that no number of busy clients keeps a
 * new one out. The count is by client and not by key, because a client makes as many keys as it likes. The memory is that of
 * this process; of several processes each has its own.
 */
import { createHash } from "node:crypto";
import { Refusal, refuse } from "../shared/refusal.ts";

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
  /** By the second at which they end, so that ending them is no search; each with its client. */
  readonly #byEnd = new Map<number, Map<string, string>>();
  readonly #ofClient = new Map<string, number>();
  #size = 0;
  /** What ended until here is forgotten, and does not come back where the clock is put back. */
  #forgottenUntil = -Infinity;

  constructor(most: number) {
    this.#most = most;
  }

  get size(): number {
    return this.#size;
  }

  /**
   * Throws `dpop.replayed` for a proof that was used, `dpop.time` for one that may have been before the clock was put back, and
   * `rate.limited` where there is no room. `id` is that of the proof and its key. Times in seconds.
   */
  spend(client: string, id: string, endsAt: number, nowSeconds: number): void {
    this.#end(nowSeconds);
    if (endsAt <= this.#forgottenUntil) refuse("dpop.time", "the clock was put back");
    const name = createHash("sha256").update(`${client}\n${id}`).digest("base64url").slice(0, 22);
    // the same id may stand in a proof of another second
    for (const clients of this.#byEnd.values()) if (clients.has(name)) refuse("dpop.replayed");
    const own = this.#ofClient.get(client) ?? 0;
    if (own >= this.#most - this.#size) throw new TooManyProofs(1);
    const clients = this.#byEnd.get(endsAt);
    if (clients === undefined) this.#byEnd.set(endsAt, new Map([[name, client]]));
    else clients.set(name, client);
    this.#ofClient.set(client, own + 1);
    this.#size++;
  }

  /** A proof is good up to and including the second at which it ends. */
  #end(nowSeconds: number): void {
    for (const [endsAt, clients] of this.#byEnd) {
      if (endsAt >= nowSeconds) continue;
      this.#byEnd.delete(endsAt);
      this.#forgottenUntil = Math.max(this.#forgottenUntil, endsAt);
      this.#size -= clients.size;
      for (const client of clients.values()) {
        const left = this.#ofClient.get(client)! - 1;
        if (left === 0) this.#ofClient.delete(client);
        else this.#ofClient.set(client, left);
      }
    }
  }
}
