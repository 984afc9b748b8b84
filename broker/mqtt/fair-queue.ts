/**
 * A queue that serves everyone in it in turn: first in, first out for each, and one of each at a time.
 *
 * Every step costs the same however long it is. An entry belongs to one queue at a time.
 */

/** What can wait in a queue. */
export interface Waiting<T> {
  /** Whose turn it takes. */
  readonly owner: string | undefined;
  next: T | undefined;
}

/** Entries wait in one line per owner. */
export class FairQueue<T extends Waiting<T>> {
  readonly #lines = new Map<string | undefined, Line<T>>();
  // the line whose turn it is, and the one that comes last
  #first: Line<T> | undefined;
  #last: Line<T> | undefined;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  push(entry: T): void {
    entry.next = undefined;
    this.#size += 1;
    const line = this.#lines.get(entry.owner);
    if (line !== undefined) {
      line.last.next = entry;
      line.last = entry;
      return;
    }
    const started: Line<T> = { first: entry, last: entry, next: undefined };
    this.#lines.set(entry.owner, started);
    this.#append(started);
  }

  shift(): T | undefined {
    const line = this.#first;
    if (line === undefined) return undefined;
    const entry = line.first;
    this.#first = line.next;
    if (this.#first === undefined) this.#last = undefined;
    if (entry.next === undefined) {
      this.#lines.delete(entry.owner);
    } else {
      line.first = entry.next;
      this.#append(line);
    }
    entry.next = undefined;
    this.#size -= 1;
    return entry;
  }

  #append(line: Line<T>): void {
    line.next = undefined;
    if (this.#last === undefined) this.#first = line;
    else this.#last.next = line;
    this.#last = line;
  }
}

interface Line<T> {
  first: T;
  last: T;
  next: Line<T> | undefined;
}
