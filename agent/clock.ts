/**
 * What time it is at the authority, seen from a device whose own clock may be wrong or may jump.
 *
 * The authority's time comes with its answers (the Date header, `time` of /v1/self) and is carried on by the monotonic
 * clock. Before the first answer of this run the local clock and the offset of the last run are all there is; the latest
 * authority time ever seen is a floor, because time does not run backwards over a reboot without a clock battery.
 */

/** The authority's time. */
export interface ServerClock {
  /** Seconds since 1970 at the authority. */
  nowSeconds(): number;
  /** Learns from an answer of the authority. */
  learn(serverSeconds: number): void;
  /** What to write down for the next run. */
  remember(): RememberedTime;
}

/** What one run leaves to the next. */
export interface RememberedTime {
  /** Authority time minus local time, seconds. */
  readonly offsetSeconds: number;
  /** The latest authority time seen. */
  readonly lastSeenSeconds: number;
}

/** The clocks of this device. */
export interface ClockSource {
  /** Local wall clock, milliseconds since 1970. */
  wallMs(): number;
  /** A clock that never jumps, milliseconds from anywhere. */
  monotonicMs(): number;
}

const systemClock: ClockSource = { wallMs: () => Date.now(), monotonicMs: () => performance.now() };

/** Opens the clock with what an earlier run remembered. */
export function openServerClock(remembered?: RememberedTime, source: ClockSource = systemClock): ServerClock {
  const guess = source.wallMs() / 1000 + (remembered?.offsetSeconds ?? 0);
  let anchorSeconds = Math.max(guess, remembered?.lastSeenSeconds ?? 0);
  let anchorMs = source.monotonicMs();
  const now = (): number => anchorSeconds + (source.monotonicMs() - anchorMs) / 1000;
  return {
    nowSeconds: () => Math.floor(now()),
    learn(serverSeconds) {
      anchorSeconds = serverSeconds;
      anchorMs = source.monotonicMs();
    },
    remember: () => ({
      offsetSeconds: Math.round(now() - source.wallMs() / 1000),
      lastSeenSeconds: Math.floor(now()),
    }),
  };
}

/** The time in a Date header, or undefined. */
export function readDateHeader(value: string | undefined): number | undefined {
  const ms = value === undefined ? Number.NaN : Date.parse(value);
  return Number.isFinite(ms) ? ms / 1000 : undefined;
}
