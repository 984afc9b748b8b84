/**
 * Says aloud that the list of an authority elsewhere is too old or was never there: at start, when it happens, and once an
 * hour from then on. What that means for its certificates is the operator's to choose when the authority is added; here
 * nothing is decided.
 */
import type { Logger } from "pino";
import { listDeviceAuthorities, type AuthorityRecord } from "../../registry/device-authorities.ts";
import type { Registry } from "../../registry/registry.ts";

/** The lists that are looked after. */
export interface ListWatch {
  /** The authorities by name, and whether their list is too old or not there. */
  read(): ReadonlyMap<string, boolean>;
  /** Looks now, for whoever has a better clock than a timer. */
  check(): void;
  close(): void;
}

const checkMs = 60_000;
const repeatSeconds = 3_600;

/** Starts to look; {@link ListWatch.close} ends it. */
export function watchLists(r: Registry, log: Logger): ListWatch {
  const saidAt = new Map<string, number>();
  const check = (): void => {
    const now = r.nowSeconds();
    const authorities = listDeviceAuthorities(r);
    for (const authority of authorities) {
      const { name } = authority;
      if (!isExpired(authority, now)) {
        saidAt.delete(name);
        continue;
      }
      const last = saidAt.get(name);
      if (last !== undefined && now >= last && now - last < repeatSeconds) continue;
      saidAt.set(name, now);
      say(log, authority);
    }
    const names = new Set(authorities.map(({ name }) => name));
    for (const name of saidAt.keys()) if (!names.has(name)) saidAt.delete(name);
  };
  check();
  const timer = setInterval(() => {
    try {
      check();
    } catch (error) {
      log.error({ err: error }, "lists of revoked certificates not looked at");
    }
  }, checkMs);
  timer.unref();
  return {
    read: () => new Map(listDeviceAuthorities(r).map((one) => [one.name, isExpired(one, r.nowSeconds())])),
    check,
    close: () => clearInterval(timer),
  };
}

/** Whether there is no list, or its nextUpdate is over. */
function isExpired({ list }: AuthorityRecord, now: number): boolean {
  return list === null || now >= list.endsAt;
}

function say(log: Logger, { name: authority, list, needsList }: AuthorityRecord): void {
  const facts = { authority, endedAt: list?.endsAt, certificates: needsList ? "refused" : "accepted" };
  log.error(facts, list === null ? "no list of revoked certificates" : "the list of revoked certificates is too old");
}
