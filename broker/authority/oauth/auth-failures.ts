/**
 * How often somebody may fail to prove who they are: from one network as one client, and from one network at all.
 *
 * Who fails as a client is asked to wait as that client, there, with the right secret as well; another client behind the same
 * address is not. The bound for the whole network is high, and whoever has proven itself there before is let through it.
 */
import { hash } from "node:crypto";
import { meaningOf, Refusal } from "../../../shared/refusal.ts";
import { networkOf } from "../../../shared/network.ts";
import { TooMany } from "../too-many.ts";
import { Windows } from "../windows.ts";

/** Failures in a minute. */
export interface FailureLimits {
  /** From one network as one client. */
  readonly clientFailuresPerMinute: number;
  /** From one network. */
  readonly addressFailuresPerMinute: number;
}

/** Who tries, and from where. */
export interface Attempt {
  readonly address: string | undefined;
  /** Who they say they are, unproven; nothing where what was sent does not say. */
  readonly claimed?: string | undefined;
}

/** The failures of a minute. */
export interface AuthFailures {
  /** Runs an attempt to prove something. Throws what it throws, and {@link TooMany} without running it. */
  guard<T>(attempt: Attempt, nowMs: number, prove: () => T): T;
}

const windowMs = 60_000;
/** Pairs, networks and good ones that are remembered at a time. */
const maxCounted = 20_000;
/** In characters; a longer one is counted by its hash. */
const longestPair = 100;
/** How long one that has proven itself is known. */
const knownMs = 24 * 3_600_000;

/** Counts in the memory of this process. */
export function createAuthFailures(limits: FailureLimits): AuthFailures {
  const pairs = new Windows(windowMs, maxCounted);
  const networks = new Windows(windowMs, maxCounted);
  const known = new Windows(knownMs, maxCounted);
  return {
    guard({ address = "", claimed = "" }, nowMs, prove) {
      const network = networkOf(address);
      const pair = pairOf(network, claimed);
      assertBelow(pairs, pair, limits.clientFailuresPerMinute, nowMs, `failures from ${network} as one client`);
      if (known.read(pair, nowMs) === undefined) {
        assertBelow(networks, network, limits.addressFailuresPerMinute, nowMs, `failures from ${network}`);
      }
      let proven: ReturnType<typeof prove>;
      try {
        proven = prove();
      } catch (error) {
        if (isFailure(error)) {
          pairs.add(pair, nowMs);
          networks.add(network, nowMs);
        }
        throw error;
      }
      if (known.read(pair, nowMs) === undefined) known.add(pair, nowMs);
      return proven;
    },
  };
}

function assertBelow(counted: Windows, name: string, limit: number, nowMs: number, what: string): void {
  const window = counted.read(name, nowMs);
  if (window === undefined || window.count < limit) return;
  throw new TooMany(Math.ceil((window.endsAt - nowMs) / 1000), `${window.count} ${what}`);
}

/** What is said of a client that failed to prove itself; a request that is malformed proves nothing of that kind. */
function isFailure(error: unknown): boolean {
  return error instanceof Refusal && meaningOf(error.reason).oauth === "invalid_client";
}

/** Short, whatever was claimed. A hash has no space in it. */
function pairOf(network: string, claimed: string): string {
  const pair = `${network} ${claimed}`;
  return pair.length <= longestPair ? pair : hash("sha256", pair, "base64url");
}
