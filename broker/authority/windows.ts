/**
 * Counting what somebody does, in windows of fixed length: the first thing opens a window, and what is over when it ends is
 * forgotten. Holds at most a number of names; then those whose windows have ended go, and after them the oldest.
 */

/** A window as it stands. */
export interface Window {
  readonly count: number;
  /** When it ends, in milliseconds. */
  readonly endsAt: number;
}

/** Counts by name. Times in milliseconds. */
export class Windows {
  readonly #lengthMs: number;
  readonly #capacity: number;
  readonly #open = new Map<string, { count: number; endsAt: number }>();

  constructor(lengthMs: number, capacity: number) {
    this.#lengthMs = lengthMs;
    this.#capacity = capacity;
  }

  get size(): number {
    return this.#open.size;
  }

  /** The window of a name, while it has one. */
  read(name: string, nowMs: number): Window | undefined {
    const window = this.#open.get(name);
    return window !== undefined && this.#isOpen(window, nowMs) ? window : undefined;
  }

  /** Counts one. */
  add(name: string, nowMs: number): Window {
    const window = this.#open.get(name);
    if (window !== undefined && this.#isOpen(window, nowMs)) {
      window.count++;
      return window;
    }
    // last in the order of the map, which is that of the windows' ends
    this.#open.delete(name);
    if (this.#open.size >= this.#capacity) this.#makeRoom(nowMs);
    const opened = { count: 1, endsAt: nowMs + this.#lengthMs };
    this.#open.set(name, opened);
    return opened;
  }

  /** Takes one of those back that were counted, where its window is still open. */
  undo(name: string, nowMs: number): Window | undefined {
    const window = this.#open.get(name);
    if (window === undefined || !this.#isOpen(window, nowMs)) return undefined;
    window.count = Math.max(window.count - 1, 0);
    return window;
  }

  forget(name: string): void {
    this.#open.delete(name);
  }

  /** A clock that was set back does not make a window longer. */
  #isOpen({ endsAt }: Window, nowMs: number): boolean {
    return nowMs < endsAt && endsAt - nowMs <= this.#lengthMs;
  }

  #makeRoom(nowMs: number): void {
    for (const [name, window] of this.#open) {
      if (this.#open.size < this.#capacity || this.#isOpen(window, nowMs)) break;
      this.#open.delete(name);
    }
    const [oldest] = this.#open.keys();
    if (this.#open.size >= this.#capacity && oldest !== undefined) this.#open.delete(oldest);
  }
}
