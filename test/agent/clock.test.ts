/** The authority's time on a device whose own clock cannot be trusted. */
import { describe, expect, it } from "vitest";
import { openServerClock, readDateHeader, type ClockSource } from "../../agent/clock.ts";

function fakeSource(wallSeconds: number): ClockSource & { advance(seconds: number): void; set(seconds: number): void } {
  let wallMs = wallSeconds * 1000;
  let monotonicMs = 5_000;
  return {
    wallMs: () => wallMs,
    monotonicMs: () => monotonicMs,
    advance(seconds) {
      wallMs += seconds * 1000;
      monotonicMs += seconds * 1000;
    },
    set: (seconds) => (wallMs = seconds * 1000),
  };
}

describe("the server clock", () => {
  it("is the local clock until the authority was heard", () => {
    expect(openServerClock(undefined, fakeSource(1_000)).nowSeconds()).toBe(1_000);
  });

  it("follows the authority from then on, whatever the local clock does", () => {
    const source = fakeSource(0);
    const clock = openServerClock(undefined, source);
    clock.learn(1_790_000_000);
    source.advance(10);
    source.set(42);
    expect(clock.nowSeconds()).toBe(1_790_000_010);
  });

  it("starts with the offset of the last run", () => {
    const first = fakeSource(100);
    const clock = openServerClock(undefined, first);
    clock.learn(1_100);
    first.advance(5);
    const remembered = clock.remember();
    expect(remembered).toEqual({ offsetSeconds: 1_000, lastSeenSeconds: 1_105 });
    expect(openServerClock(remembered, fakeSource(300)).nowSeconds()).toBe(1_300);
  });

  it("never starts before a time that was seen: a machine without a battery boots in 1970", () => {
    const remembered = { offsetSeconds: 0, lastSeenSeconds: 1_790_000_000 };
    expect(openServerClock(remembered, fakeSource(0)).nowSeconds()).toBe(1_790_000_000);
  });

  it.each([
    ["Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777],
    ["yesterday", undefined],
    [undefined, undefined],
  ])("reads the Date header %s", (header, seconds) => {
    expect(readDateHeader(header)).toBe(seconds);
  });
});
