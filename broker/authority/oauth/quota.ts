/**
 * How many tokens a client gets in a minute, and how it is told (draft-ietf-httpapi-ratelimit-headers-10; RFC 6585, section
 * 4): the policy and what is left of it with every answer to a client that has proven itself, and when to come back with the
 * one that refuses.
 *
 * Counts clients that have proven themselves, so nobody uses up what is another's.
 */
import { TooMany, type QuotaState } from "../too-many.ts";
import { Windows } from "../windows.ts";

/** The quota of each client. */
export interface Quota {
  /** Takes one. Throws {@link TooMany} when nothing is left; that costs nothing more. */
  take(clientId: string, nowMs: number): QuotaState;
  /** Gives one back, for a request that failed by no fault of the client's. */
  giveBack(clientId: string, nowMs: number): QuotaState;
}

/** The window of the quota. */
export const QUOTA_SECONDS = 60;
/** Clients that are counted at a time; beyond it the one that began first is let off. */
const maxCounted = 100_000;

/** Counts in the memory of this process: a quota starts anew with it. */
export function createQuota(tokensPerMinute: number): Quota {
  const windows = new Windows(QUOTA_SECONDS * 1000, maxCounted);
  const stateOf = (count: number, endsAt: number, nowMs: number): QuotaState => ({
    limit: tokensPerMinute,
    remaining: tokensPerMinute - count,
    resetSeconds: Math.ceil((endsAt - nowMs) / 1000),
  });
  return {
    take(clientId, nowMs) {
      const used = windows.read(clientId, nowMs);
      if (used !== undefined && used.count >= tokensPerMinute) {
        const state = stateOf(used.count, used.endsAt, nowMs);
        throw new TooMany(state.resetSeconds, `${clientId}: ${tokensPerMinute} tokens a minute`, state);
      }
      const { count, endsAt } = windows.add(clientId, nowMs);
      return stateOf(count, endsAt, nowMs);
    },
    giveBack(clientId, nowMs) {
      const { count, endsAt } = windows.undo(clientId, nowMs) ?? { count: 0, endsAt: nowMs + QUOTA_SECONDS * 1000 };
      return stateOf(count, endsAt, nowMs);
    },
  };
}

/** The header fields that say so. */
export function quotaHeaders({ limit, remaining, resetSeconds }: QuotaState): Readonly<Record<string, string>> {
  return {
    "RateLimit-Policy": `"client";q=${limit};w=${QUOTA_SECONDS}`,
    RateLimit: `"client";r=${remaining};t=${resetSeconds}`,
  };
}
