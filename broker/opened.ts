/**
 * What was opened, to be closed in reverse: everything, whatever fails on the way.
 */
import { existsSync, mkdirSync } from "node:fs";
import { dirname } from "node:path";

/** Steps that undo what was done. */
export class Opened {
  readonly #steps: Array<() => void | Promise<void>> = [];

  push(step: () => void | Promise<void>): void {
    this.#steps.push(step);
  }

  /** Takes every step, the last first. Rejects with what failed, after all of them. */
  async close(): Promise<void> {
    const failures: unknown[] = [];
    for (let step = this.#steps.pop(); step !== undefined; step = this.#steps.pop()) {
      try {
        await step();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw new AggregateError(failures, "not everything could be closed");
  }
}

/**
 * Makes a directory that is its owner's alone, and what leads to it; one that is there is left as it is. Not node's own
 * recursive way, which does not end on a file system that lets nothing be made.
 */
export function makeDirectory(path: string): void {
  if (existsSync(path)) return;
  makeDirectory(dirname(path));
  mkdirSync(path, { mode: 0o700 });
}
