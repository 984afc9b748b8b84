/** The delay of the event loop is that of the last half to whole minute, whoever reads it. */
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { monitorEventLoop, type EventLoopMonitor } from "../../broker/event-loop-delay.ts";

const halfMinute = 30_000;
let monitor: EventLoopMonitor;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
  monitor = monitorEventLoop();
});
afterEach(() => {
  monitor.close();
  vi.useRealTimers();
});

async function stall(): Promise<void> {
  const until = performance.now() + 100;
  while (performance.now() < until);
  await new Promise((resolve) => setTimeout(resolve));
}

it("keeps a stall for half a minute at least and for a minute at most, however often it is read", async () => {
  // as often as it takes the monitor to have begun, and then some
  while (monitor.read().max < 0.05) await stall();
  for (let i = 0; i < 2; i++) await stall();
  const { max } = monitor.read();
  expect(monitor.read().max).toBe(max);
  vi.advanceTimersByTime(halfMinute);
  expect(monitor.read().max).toBeGreaterThan(0.05);
  vi.advanceTimersByTime(halfMinute);
  expect(monitor.read()).toEqual({ p50: 0, p99: 0, max: 0 });
});
