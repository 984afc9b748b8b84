/**
 * What the list of revoked tokens needs done beside the requests: slices of what died with a client, a key or a project,
 * a turn of the event loop apart, and what has expired taken off.
 */
import type { Logger } from "pino";
import type { Registry } from "../../registry/registry.ts";
import { pruneRevoked } from "../../registry/revoked-tokens.ts";
import { listRest } from "../../registry/unlisted.ts";

const pruneEveryMs = 60_000;
/** When nothing can be written. */
const againMs = 10_000;

/** Works until the returned function is called: goes on where the last process ended, and after each change. */
export function startListWork(registry: Registry, log: Logger): () => void {
  let soon: NodeJS.Immediate | undefined;
  let later: NodeJS.Timeout | undefined;

  const step = (): void => {
    soon = undefined;
    try {
      const isMore = [pruneRevoked(registry), listRest(registry)].includes(true);
      if (isMore) schedule();
    } catch (error) {
      // the rows that say what is left to do are still there
      log.error({ err: error }, "the list of revoked tokens could not be written");
      clearTimeout(later);
      later = setTimeout(schedule, againMs).unref();
    }
  };
  const schedule = (): void => {
    soon ??= setImmediate(step);
  };

  const unfollow = registry.onChange(schedule);
  const pruning = setInterval(schedule, pruneEveryMs).unref();
  schedule();
  return () => {
    unfollow();
    clearImmediate(soon);
    clearTimeout(later);
    clearInterval(pruning);
  };
}
