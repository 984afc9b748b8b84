/** A queue that serves its owners in turn, compared with one that counts turns. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { FairQueue } from "../../broker/mqtt/fair-queue.ts";

interface Entry {
  readonly owner: string | undefined;
  readonly number: number;
  next: Entry | undefined;
}

const entry = (owner: string | undefined, number: number): Entry => ({ owner, number, next: undefined });

it("serves each owner in its order, and the owners in turn", () => {
  const queue = new FairQueue<Entry>();
  for (let number = 0; number < 4; number += 1) queue.push(entry("a", number));
  queue.push(entry(undefined, 4));
  queue.push(entry("b", 5));
  queue.push(entry("b", 6));
  const served = Array.from({ length: 7 }, () => queue.shift()?.number);
  expect([served, queue.size, queue.shift()]).toEqual([[0, 4, 5, 1, 6, 2, 3], 0, undefined]);
});

it("loses nothing and keeps no owner waiting while another is served twice", () => {
  const owner = fc.constantFrom(undefined, "a", "b", "constructor");
  fc.assert(
    fc.property(fc.array(fc.option(owner, { nil: "take" }), { maxLength: 100 }), (steps) => {
      const queue = new FairQueue<Entry>();
      const waiting: Entry[] = [];
      const passed = new Map<Entry, Set<string | undefined>>();
      const take = (): void => {
        const served = queue.shift();
        expect(served).toBe(waiting.find(({ owner }) => owner === served?.owner));
        if (served === undefined) return;
        waiting.splice(waiting.indexOf(served), 1);
        for (const first of new Set(waiting.map(({ owner }) => waiting.find((one) => one.owner === owner)!))) {
          const before = passed.get(first) ?? new Set();
          if (first.owner !== served.owner) {
            expect(before.has(served.owner)).toBe(false);
            passed.set(first, before.add(served.owner));
          }
        }
      };
      for (const [number, step] of steps.entries()) {
        if (step === "take") {
          take();
        } else {
          const one = entry(step, number);
          queue.push(one);
          waiting.push(one);
        }
        expect(queue.size).toBe(waiting.length);
      }
      while (queue.size > 0) take();
      expect(waiting).toEqual([]);
    }),
  );
});
