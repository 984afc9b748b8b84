/**
 * Log lines for what is refused before anybody is known: one for the first refusal of a reason and a network, and from then
 * on at most one a second that says how many there were, so that a flood of connections is not a flood of lines.
 */
import type { Logger } from "pino";
import { Refusal } from "../../shared/refusal.ts";
import type { Reason } from "../../shared/refusal.ts";

/** Counts refusals and logs them. */
export interface RefusalLines {
  note(reason: Reason, address: string, detail: string): void;
  /** Logs what was counted and not logged. */
  close(): void;
}

interface Count {
  readonly reason: Reason;
  readonly address: string;
  readonly detail: string;
  times: number;
}

const pauseMilliseconds = 1000;
/** Networks and reasons with lines of their own in one second; further ones share a line for each reason. */
const mostCounts = 100;

/** Opens the counter on a log. */
export function openRefusalLines(log: Logger): RefusalLines {
  const counts = new Map<string, Count>();
  let timer: NodeJS.Timeout | undefined;

  const write = ({ reason, address, detail }: Count, times: number): void => {
    const { id } = new Refusal(reason);
    log.warn({ at: "arrival", reason, id, address, detail, times }, "refused");
  };
  const flush = (): void => {
    for (const [key, count] of counts) {
      if (count.times === 0) {
        counts.delete(key);
        continue;
      }
      write(count, count.times);
      count.times = 0;
    }
    if (counts.size === 0) {
      clearInterval(timer);
      timer = undefined;
    }
  };

  return {
    note(reason, address, detail) {
      let key = `${reason} ${address}`;
      let count = counts.get(key);
      if (count === undefined && counts.size >= mostCounts) {
        key = reason;
        count = counts.get(key);
      }
      if (count !== undefined) {
        count.times++;
        return;
      }
      count = { reason, address: key === reason ? "many" : address, detail, times: 0 };
      counts.set(key, count);
      write(count, 1);
      timer ??= setInterval(flush, pauseMilliseconds).unref();
    },
    close() {
      flush();
      clearInterval(timer);
      timer = undefined;
      counts.clear();
    },
  };
}
