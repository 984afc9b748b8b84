/**
 * The bounds and times of a feed. They are between a broker and its authority, and none of an operator's business but the
 * longest staleness.
 */
import type { RequestLimits } from "./feed-request.ts";

/** Bounds and times of a feed. */
export interface FeedLimits extends RequestLimits {
  /** How long the authority is asked to hold an answer. */
  readonly waitSeconds: number;
  /** After so long without a complete view nobody new is admitted. */
  readonly maxStalenessSeconds: number;
  /** How often everything is read again, give or take a tenth. */
  readonly everythingSeconds: number;
  /** Before the second attempt, and at most; in between it doubles. */
  readonly firstRetryMilliseconds: number;
  readonly longestRetryMilliseconds: number;
  /** The largest cursor that the authority gives out; after it comes 0. */
  readonly maxIndex: number;
}

/** What applies where nothing else is set. */
export const defaultFeedLimits: FeedLimits = {
  waitSeconds: 25,
  maxStalenessSeconds: 24 * 3600,
  everythingSeconds: 3600,
  answerMilliseconds: 15_000,
  bodyMilliseconds: 120_000,
  listBytes: 256 * 1024 * 1024,
  updatesBytes: 64 * 1024 * 1024,
  firstRetryMilliseconds: 250,
  longestRetryMilliseconds: 10_000,
  maxIndex: 2 ** 32 - 1,
};
