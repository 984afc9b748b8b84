/**
 * Where requests are held until there is news for them: bounded in number, in time, and for each requester.
 *
 * Everybody is asked once after each turn in which the registry changed. Whoever hangs up leaves, and when the authority
 * closes all are let go at once.
 */
import type { ServerResponse } from "node:http";
import type { Registry } from "../registry/registry.ts";

/** Why the waiting ended. */
export type WaitEnd = "news" | "time" | "gone" | "closing";

/** How many may wait. */
export interface WaitingLimits {
  readonly total: number;
  readonly perRequester: number;
}

/** What is waited for. */
export interface Wait {
  readonly requester: string;
  readonly milliseconds: number;
  /** What is held; a peer that goes closes it. */
  readonly response: ServerResponse;
  /** Asked after each change; cheap. */
  hasNews(): boolean;
}

/** The room. */
export interface WaitingRoom {
  /** Resolves when the waiting ends and never rejects; undefined where there is no room for it. */
  enter(wait: Wait): Promise<WaitEnd> | undefined;
  /** Lets all go; nobody enters any more. */
  close(): void;
}

/** What applies. Every broker has one request waiting; a thousand are a quarter of a megabyte. */
export const waitingLimits: WaitingLimits = { total: 1000, perRequester: 8 };

interface Waiter {
  readonly wait: Wait;
  end(why: WaitEnd): void;
}

/** Opens the room on a registry. */
export function openWaitingRoom(registry: Registry, limits: WaitingLimits = waitingLimits): WaitingRoom {
  const waiters = new Set<Waiter>();
  const perRequester = new Map<string, number>();
  let isAsking = false;
  let isClosed = false;

  function askAll(): void {
    isAsking = false;
    for (const waiter of waiters) if (hasNews(waiter.wait)) waiter.end("news");
  }

  const stopListening = registry.onChange(() => {
    if (isAsking || waiters.size === 0) return;
    isAsking = true;
    setImmediate(askAll);
  });

  function count(requester: string, by: 1 | -1): void {
    const now = (perRequester.get(requester) ?? 0) + by;
    if (now === 0) perRequester.delete(requester);
    else perRequester.set(requester, now);
  }

  return {
    enter(wait) {
      const { requester, response, milliseconds } = wait;
      const isFull = waiters.size >= limits.total || (perRequester.get(requester) ?? 0) >= limits.perRequester;
      if (isClosed || isFull) return undefined;
      return new Promise((resolve) => {
        const leave = (): void => waiter.end("gone");
        const timer = setTimeout(() => waiter.end("time"), milliseconds);
        const waiter: Waiter = {
          wait,
          end(why) {
            if (!waiters.delete(waiter)) return;
            count(requester, -1);
            clearTimeout(timer);
            response.off("close", leave);
            resolve(why);
          },
        };
        waiters.add(waiter);
        count(requester, 1);
        response.once("close", leave);
        if (response.destroyed) leave();
      });
    },
    close() {
      isClosed = true;
      stopListening();
      for (const waiter of waiters) waiter.end("closing");
    },
  };
}

/** What fails is found by whoever was waiting, when it looks again. */
function hasNews(wait: Wait): boolean {
  try {
    return wait.hasNews();
  } catch {
    return true;
  }
}
