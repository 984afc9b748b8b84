/** The authority's time and the age of a view, on clocks that the test turns. */
import { pino } from "pino";
import { beforeEach, describe, expect, it, test } from "vitest";
import type { RememberedTime } from "../../broker/trust/copy.ts";
import { openFeedClock, type FeedClock } from "../../broker/trust/feed-clock.ts";

const NOW = 1_800_000_000;

let wall = NOW;
let monotonic = 0;
let lines: Record<string, unknown>[] = [];
const log = pino({}, { write: (line) => lines.push(JSON.parse(line) as Record<string, unknown>) });
const open = (remembered?: RememberedTime): FeedClock =>
  openFeedClock(log, remembered, { wallMs: () => wall * 1000, monotonicMs: () => monotonic * 1000 });
const pass = (seconds: number): void => {
  wall += seconds;
  monotonic += seconds;
};
const dateAt = (seconds: number): string => new Date(Math.floor(seconds) * 1000).toUTCString();

beforeEach(() => {
  wall = NOW;
  monotonic = 5000;
  lines = [];
});

describe("the time at the authority", () => {
  const learn = (clock: FeedClock, ahead: number, [sent, answered, isHeld]: [number, number, boolean]): void => {
    const madeAt = isHeld ? answered : (sent + answered) / 2;
    const date = dateAt(NOW + (madeAt - monotonic) + ahead);
    clock.learn({ sentMs: sent * 1000, answeredMs: answered * 1000, isHeld, date });
  };

  it("is that of this machine while they differ by less than can be told", () => {
    const clock = open();
    learn(clock, 1.4, [monotonic - 0.2, monotonic, false]);
    learn(clock, -1.3, [monotonic - 0.2, monotonic, false]);
    expect([clock.nowSeconds(), clock.offsetSeconds, lines]).toEqual([NOW, 0, []]);
  });

  it.each([
    ["behind", -300],
    ["ahead", 86_400],
  ])("is told by the middle of a request where this machine is %s, and said once", (_name, ahead) => {
    const clock = open();
    for (let times = 0; times < 3; times++) learn(clock, ahead, [monotonic - 4, monotonic, false]);
    expect(Math.abs(clock.nowSeconds() - NOW - ahead)).toBeLessThanOrEqual(0.5);
    expect(Math.abs(clock.offsetSeconds - ahead)).toBeLessThanOrEqual(0.5);
    expect(lines.map((line) => line["offsetSeconds"])).toEqual([Math.round(clock.offsetSeconds)]);
  });

  it("is told by the end of a request that was held", () => {
    const clock = open();
    learn(clock, 100, [monotonic - 25, monotonic, true]);
    expect(Math.abs(clock.nowSeconds() - NOW - 100)).toBeLessThanOrEqual(0.5);
  });

  it("does not jump with the clock of this machine", () => {
    const clock = open();
    wall += 3600;
    pass(10);
    expect([clock.nowSeconds(), clock.offsetSeconds]).toEqual([NOW + 10, -3600]);
  });

  it.each([
    ["no date", undefined],
    ["a date that is none", "yesterday"],
  ])("is not learnt from %s", (_name, date) => {
    const clock = open();
    clock.learn({ sentMs: 0, answeredMs: monotonic * 1000, isHeld: false, date });
    expect(clock.nowSeconds()).toBe(NOW);
  });

  it("is remembered over a restart, and never runs backwards", () => {
    const clock = open();
    clock.current(monotonic * 1000);
    learn(clock, 300, [monotonic, monotonic, false]);
    const remembered = clock.remember()!;
    expect(Math.abs(remembered.offsetSeconds - 300)).toBeLessThanOrEqual(0.5);
    pass(10);
    expect(Math.abs(open(remembered).nowSeconds() - NOW - 310)).toBeLessThanOrEqual(0.5);
    wall = NOW - 5000;
    expect(open(remembered).nowSeconds()).toBe(remembered.authorityAt);
  });
});

describe("the age of the view", () => {
  it("is not known before the authority was heard, and is not written down", () => {
    const clock = open();
    expect([clock.ageSeconds, clock.remember()]).toEqual([Infinity, undefined]);
  });

  it("grows from then on, whatever the clock of this machine does", () => {
    const clock = open();
    clock.current(monotonic * 1000);
    pass(100);
    wall -= 86_400;
    expect(clock.ageSeconds).toBe(100);
  });

  test.each([
    ["goes on over a restart", 1000, 3600, 3600 + 1000],
    ["is what it was where the clock went back by what a clock is put right by", -30, 3600, 3630],
    ["is not known where the clock went back", -61, 0, Infinity],
    ["is not known where the clock went back to the beginning", -NOW, 3600, Infinity],
  ])("%s", (_name, passed, ageSeconds, expected) => {
    const remembered = { notedAt: NOW, ageSeconds, authorityAt: NOW, offsetSeconds: 0 };
    wall = NOW + passed;
    expect(open(remembered).ageSeconds).toBe(expected);
  });
});
