/**
 * When the agent tries again and when it renews: pure functions of what happened and of a random number.
 *
 * Full jitter spreads a fleet that lost its broker at the same moment; the count of failures starts again only after a
 * session that held (`stableAfterMs`), so that a broker that admits and closes at once is not met with a storm.
 */

/** A session younger than this does not count as a success. */
const stableAfterMs = 10_000;

/** The bounds of a growing delay. */
export interface Backoff {
  readonly firstMs: number;
  readonly longestMs: number;
}

/** While nobody answers. */
export const offlineBackoff: Backoff = { firstMs: 1_000, longestMs: 60_000 };
/** While the answer is no: it stays no until an operator acts, so asking often only costs both sides. */
export const refusedBackoff: Backoff = { firstMs: 1_000, longestMs: 600_000 };

/**
 * Milliseconds until the next attempt, by full jitter: uniform between a tenth of a second and the ceiling, which doubles
 * with each failure. `failures` counts from 1, `random` is in [0, 1). A peer's Retry-After is a floor.
 */
export function nextAttemptDelayMs(
  failures: number,
  backoff: Backoff,
  random: number,
  retryAfterSeconds: number = 0,
): number {
  const exponent = Math.min(Math.max(failures - 1, 0), 30);
  const ceiling = Math.min(backoff.longestMs, backoff.firstMs * 2 ** exponent);
  const floor = 100;
  const jittered = floor + random * (ceiling - floor);
  // whoever was told the same Retry-After should not come back in the same instant
  const asked = retryAfterSeconds * 1000;
  return Math.round(asked === 0 ? jittered : asked + random * Math.min(asked, ceiling));
}

/** The failures to count after a session ended that lasted this long. */
export function failuresAfterSession(failures: number, lastedMs: number): number {
  return lastedMs >= stableAfterMs ? 1 : failures + 1;
}

/**
 * Milliseconds until the token is renewed: between 60 and 75 percent of its life, spread by `random`, so that a quarter
 * of the life is left for retries. A token that is past that point is renewed now.
 */
export function renewalDelayMs(lifetimeSeconds: number, remainingSeconds: number, random: number): number {
  const keep = lifetimeSeconds * (0.25 + 0.15 * random);
  return Math.max(0, Math.round((remainingSeconds - keep) * 1000));
}

/** Whether a token is worth presenting: enough life left for a handshake, measured against its whole life. */
export function isWorthPresenting(lifetimeSeconds: number, remainingSeconds: number): boolean {
  return remainingSeconds > Math.min(30, lifetimeSeconds * 0.2);
}

/** Timers longer than 2³¹−1 ms fire at once in Node: wait at most a day and look again. */
export function capTimerMs(delayMs: number): number {
  return Math.min(delayMs, 86_400_000);
}
