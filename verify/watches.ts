/**
 * Answers that live longer than the decision they stand on, such as streams: each is told once when the token that opened it
 * is good no more.
 */
import type { Reason } from "../shared/refusal.ts";
import type { KnownToken } from "./known-tokens.ts";

/** Told why the token is good no more: `token.expired`, `token.revoked`, `token.key-unknown`, or `session.closed`. */
export type OnEnd = (reason: Reason) => void;

interface Watch {
  readonly token: KnownToken;
  readonly onEnd: OnEnd;
  timer: NodeJS.Timeout | undefined;
}

/** A clock that was put forward, or a machine that slept, is noticed after so long. */
const longestMs = 60_000;

/** All that is watched. */
export class Watches {
  readonly #watches = new Set<Watch>();
  /** Why a token is good no more; undefined while it is. */
  readonly #whyEnded: (token: KnownToken) => Reason | undefined;
  /** How long until it expires, in seconds. */
  readonly #secondsLeft: (token: KnownToken) => number;

  constructor(whyEnded: (token: KnownToken) => Reason | undefined, secondsLeft: (token: KnownToken) => number) {
    this.#whyEnded = whyEnded;
    this.#secondsLeft = secondsLeft;
  }

  get size(): number {
    return this.#watches.size;
  }

  /** Watches until the returned function is called. A token that has ended already is told of in the next turn. */
  add(token: KnownToken, onEnd: OnEnd): () => void {
    const watch: Watch = { token, onEnd, timer: undefined };
    this.#watches.add(watch);
    this.#wait(watch);
    return () => this.#remove(watch);
  }

  /** Looks at all of them: keys or the list of revoked tokens have changed. */
  look(): void {
    for (const watch of this.#watches) this.#lookAt(watch);
  }

  close(): void {
    for (const watch of this.#watches) this.#end(watch, "session.closed");
  }

  #wait(watch: Watch): void {
    const isOver = this.#whyEnded(watch.token) !== undefined;
    const delayMs = isOver ? 0 : Math.min(Math.max(0, this.#secondsLeft(watch.token) * 1000), longestMs);
    watch.timer = setTimeout(() => {
      if (this.#lookAt(watch)) return;
      this.#wait(watch);
    }, Math.ceil(delayMs));
    watch.timer.unref();
  }

  /** Whether it has ended. */
  #lookAt(watch: Watch): boolean {
    const reason = this.#whyEnded(watch.token);
    if (reason === undefined) return false;
    this.#end(watch, reason);
    return true;
  }

  #end(watch: Watch, reason: Reason): void {
    if (this.#remove(watch)) watch.onEnd(reason);
  }

  #remove(watch: Watch): boolean {
    clearTimeout(watch.timer);
    return this.#watches.delete(watch);
  }
}
