/**
 * Milliseconds of many events, summed up.
 */
import { quantile } from "../rounds.ts";

export interface Spread {
  readonly p50: number;
  readonly p99: number;
  readonly longest: number;
}

export function spread(milliseconds: readonly number[]): Spread {
  const sorted = milliseconds.toSorted((a, b) => a - b);
  return { p50: quantile(sorted, 0.5), p99: quantile(sorted, 0.99), longest: sorted.at(-1) ?? Number.NaN };
}

/** Tenths, where whole ones would say nothing. */
export function formatMilliseconds(milliseconds: number): string {
  return milliseconds.toFixed(milliseconds < 100 ? 1 : 0);
}
