/**
 * What time it is at the authority, and how old the view of it is, on a broker whose own clock may be wrong or may jump.
 *
 * Within a process both run on a clock that never jumps and goes on while the machine sleeps. Over a restart there is only the
 * wall clock: where that has gone backwards, nobody knows how much time has passed, and the view is as old as can be.
 */
import { uptime } from "node:os";
import type { Logger } from "pino";
import type { RememberedTime } from "./copy.ts";

/** The clocks of this machine. */
export interface ClockSource {
  /** Wall clock, milliseconds since 1970. */
  wallMs(): number;
  /** A clock that never jumps, milliseconds from anywhere. */
  monotonicMs(): number;
}

/** When an answer came, on the clock that never jumps. */
export interface Exchange {
  readonly sentMs: number;
  /** When its header was there. */
  readonly answeredMs: number;
  /** Whether the authority was asked to hold it: then it was made when it came. */
  readonly isHeld: boolean;
  /** The Date header, of whole seconds. */
  readonly date: string | undefined;
}

/** The authority's time, and the age of the view. */
export interface FeedClock {
  /** Seconds since 1970 at the authority, with fractions. */
  nowSeconds(): number;
  /** By how much that is ahead of the clock of this machine. */
  readonly offsetSeconds: number;
  /** Since the view was all that the authority knows; Infinity where that is not known. */
  readonly ageSeconds: number;
  /** The view is all that the authority knew at that time. */
  current(atMs: number): void;
  /** Learns what time it is from an answer. */
  learn(exchange: Exchange): void;
  /** For the next process; undefined while the age is not known. */
  remember(): RememberedTime | undefined;
  monotonicMs(): number;
}

/** Less is the second that the header cuts off, and the network. */
const TOLERATED_SECONDS = 2;
/** A wall clock is put right by so much without anybody calling it wrong. */
const ADJUSTED_SECONDS = 60;

/** Opens the clock with what an earlier process remembered. */
export function openFeedClock(
  log: Logger,
  remembered?: RememberedTime,
  source: ClockSource = { wallMs: () => Date.now(), monotonicMs: openMonotonic() },
): FeedClock {
  const wallSeconds = (): number => source.wallMs() / 1000;
  let anchorMs = source.monotonicMs();
  // time does not run backwards at the authority while this machine is off
  let anchorSeconds = Math.max(wallSeconds() + (remembered?.offsetSeconds ?? 0), remembered?.authorityAt ?? 0);
  let currentMs = anchorMs - ageAtStart(log, wallSeconds(), remembered) * 1000;

  const at = (ms: number): number => anchorSeconds + (ms - anchorMs) / 1000;
  const now = (): number => at(source.monotonicMs());
  const age = (): number => Math.max(0, (source.monotonicMs() - currentMs) / 1000);
  return {
    nowSeconds: now,
    get offsetSeconds() {
      return now() - wallSeconds();
    },
    get ageSeconds() {
      return age();
    },
    current: (ms) => void (currentMs = ms),
    learn({ sentMs, answeredMs, isHeld, date }) {
      const seconds = date === undefined ? Number.NaN : Date.parse(date) / 1000;
      if (!Number.isFinite(seconds)) return;
      const madeMs = isHeld ? answeredMs : (sentMs + answeredMs) / 2;
      const ahead = seconds + 0.5 - at(madeMs);
      if (Math.abs(ahead) <= TOLERATED_SECONDS) return;
      anchorMs = madeMs;
      anchorSeconds = seconds + 0.5;
      const offsetSeconds = Math.round(now() - wallSeconds());
      log.warn({ offsetSeconds }, "the clocks of the authority and of this machine differ: the authority's counts");
    },
    remember: () =>
      Number.isFinite(age())
        ? {
            notedAt: wallSeconds(),
            ageSeconds: age(),
            authorityAt: now(),
            offsetSeconds: Math.abs(now() - wallSeconds()) <= TOLERATED_SECONDS ? 0 : now() - wallSeconds(),
          }
        : undefined,
    monotonicMs: () => source.monotonicMs(),
  };
}

function ageAtStart(log: Logger, wallSeconds: number, remembered: RememberedTime | undefined): number {
  if (remembered === undefined) return Infinity;
  const passed = wallSeconds - remembered.notedAt;
  if (passed < -ADJUSTED_SECONDS) {
    log.warn({ seconds: Math.round(-passed) }, "the clock has gone backwards: nobody knows how old the view is");
    return Infinity;
  }
  return remembered.ageSeconds + Math.abs(passed);
}

/**
 * A clock that never jumps, milliseconds from anywhere. That of the process stands still while the machine sleeps; that of the
 * system does not.
 */
export function openMonotonic(): () => number {
  const startMs = performance.now();
  const startSeconds = uptime();
  let sleptMs = 0;
  let lookedMs = startMs;
  return () => {
    const nowMs = performance.now();
    if (nowMs - lookedMs > 1000) {
      lookedMs = nowMs;
      const missedMs = (uptime() - startSeconds) * 1000 - (nowMs - startMs);
      // less is rounding
      if (missedMs > sleptMs + 1000) sleptMs = missedMs;
    }
    return nowMs + sleptMs;
  };
}
