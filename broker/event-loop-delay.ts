/**
 * How late the event loop comes to what is due: over the last half to whole minute, whoever asks and however often.
 *
 * Two monitors are emptied by turns, and the elder is the one that is read. So nobody's question takes the figures from
 * somebody else's, as it would if each emptied what it had read.
 */
import { monitorEventLoopDelay } from "node:perf_hooks";

/** Delays in seconds. */
export interface EventLoopDelay {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

/** A monitor that runs. */
export interface EventLoopMonitor {
  read(): EventLoopDelay;
  close(): void;
}

const resolutionMilliseconds = 20;
const turnMilliseconds = 30_000;

/** Starts to measure; keeps no process alive. */
export function monitorEventLoop(): EventLoopMonitor {
  let elder = monitorEventLoopDelay({ resolution: resolutionMilliseconds });
  let younger = monitorEventLoopDelay({ resolution: resolutionMilliseconds });
  elder.enable();
  younger.enable();
  const turn = setInterval(() => {
    elder.reset();
    [elder, younger] = [younger, elder];
  }, turnMilliseconds);
  turn.unref();
  return {
    read() {
      if (elder.count === 0) return { p50: 0, p99: 0, max: 0 };
      return {
        p50: toDelay(elder.percentile(50)),
        p99: toDelay(elder.percentile(99)),
        max: toDelay(elder.max),
      };
    },
    close() {
      clearInterval(turn);
      elder.disable();
      younger.disable();
    },
  };
}

/** What is measured is the time from one look to the next, in nanoseconds; what is more than was asked for is delay. */
function toDelay(nanoseconds: number): number {
  return Math.max(0, nanoseconds / 1e9 - resolutionMilliseconds / 1000);
}
