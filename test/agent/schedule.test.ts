/** When the agent tries again and when it renews. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import * as schedule from "../../agent/schedule.ts";

const { offlineBackoff, refusedBackoff } = schedule;

describe("backoff", () => {
  it.each([
    [1, 1_000],
    [2, 2_000],
    [3, 4_000],
    [6, 32_000],
    [7, 60_000],
    [1_000_000, 60_000],
  ])("after %i failures waits up to %i ms", (failures, ceiling) => {
    expect(schedule.nextAttemptDelayMs(failures, offlineBackoff, 0)).toBe(100);
    expect(schedule.nextAttemptDelayMs(failures, offlineBackoff, 0.999999)).toBeGreaterThan(ceiling * 0.99);
    expect(schedule.nextAttemptDelayMs(failures, offlineBackoff, 0.999999)).toBeLessThanOrEqual(ceiling);
  });

  it("is more patient with a no than with a silence", () => {
    expect(schedule.nextAttemptDelayMs(20, refusedBackoff, 0.5)).toBeGreaterThan(
      schedule.nextAttemptDelayMs(20, offlineBackoff, 0.999),
    );
  });

  it("never comes back before the Retry-After it was told, nor in step with others", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 3600 }),
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        (asked, random) => {
          expect(schedule.nextAttemptDelayMs(3, offlineBackoff, random, asked)).toBeGreaterThanOrEqual(asked * 1000);
        },
      ),
    );
    const [one, other] = [0.1, 0.9].map((random) => schedule.nextAttemptDelayMs(3, offlineBackoff, random, 30));
    expect(other! - one!).toBeGreaterThan(1_000);
  });

  it("goes on counting after a session that did not hold, and starts again after one that did", () => {
    expect(schedule.failuresAfterSession(4, 9_999)).toBe(5);
    expect(schedule.failuresAfterSession(4, 10_000)).toBe(1);
  });
});

describe("renewal", () => {
  it.each([
    [3600, 3600, 0, 2_700_000],
    [3600, 3600, 0.999999, 2_160_000],
    [10, 10, 0.5, 6_750],
    [3600, 1000, 0, 100_000],
    [3600, 900, 0, 0],
    [3600, -5, 0.5, 0],
  ])("of a token of %i s with %i s left, random %d, comes in %i ms", (lifetime, remaining, random, expected) => {
    expect(Math.abs(schedule.renewalDelayMs(lifetime, remaining, random) - expected)).toBeLessThanOrEqual(1);
  });

  it("leaves at least a quarter of the life for retries", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 5, max: 2_592_000 }),
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        (life, random) => {
          expect(schedule.renewalDelayMs(life, life, random)).toBeLessThanOrEqual(life * 750 + 1);
        },
      ),
    );
  });

  it("does not let a timer overflow into firing at once", () => {
    expect(schedule.capTimerMs(schedule.renewalDelayMs(2_592_000, 2_592_000, 0))).toBeLessThan(2 ** 31);
  });
});

describe("presenting a token", () => {
  it.each([
    [3600, 31, true],
    [3600, 30, false],
    [10, 3, true],
    [10, 2, false],
    [3600, -1, false],
  ])("of %i s with %i s left: %s", (lifetime, remaining, worth) => {
    expect(schedule.isWorthPresenting(lifetime, remaining)).toBe(worth);
  });
});
