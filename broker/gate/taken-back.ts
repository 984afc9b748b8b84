/**
 * What was taken back, for whoever keeps things of a client beyond its connection: stored sessions, queues, retained
 * messages. Told in the turn in which trust tells it, also of a client that is not connected.
 */
import type { Logger } from "pino";
import { ownerOf } from "../../shared/names.ts";
import { coversLevels } from "../../shared/topic.ts";
import type { Trust } from "../trust/trust.ts";

/** Whether a retained message of this topic goes, by what the apis say whose topic it is. */
export type Purges = (topic: string) => boolean;

/** A session whose credential was taken back, by its MQTT client id; or a client, with everything that it ever had. */
export type TakenBack =
  | { readonly kind: "credential"; readonly clientId: string; readonly subject: string; readonly purges: Purges }
  | { readonly kind: "client"; readonly subject: string; readonly purges: Purges };

/** Hears of what was taken back; in the same turn, so it must not take long. */
export type TakenBackListener = (event: TakenBack) => void;

/** Who is told, and the telling. */
export interface TakenBackNews {
  /** Until the returned function is called. */
  on(listener: TakenBackListener): () => void;
  /** Never throws: what one listener fails at is logged, and the others are told. */
  tell(event: TakenBack): void;
}

/** Opens a list of listeners. */
export function openTakenBackNews(log: Logger): TakenBackNews {
  const listeners = new Set<TakenBackListener>();
  return {
    on(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    tell(event) {
      for (const listener of listeners) {
        try {
          listener(event);
        } catch (error) {
          log.error({ err: error, kind: event.kind, sub: event.subject }, "what was taken back was not cleared away");
        }
      }
    },
  };
}

/**
 * Which retained messages go. With a client: all but those of an api that keeps them in any case. With a credential: only
 * those of an api that says so, and of no other that keeps them. The apis are read once, when it is first asked.
 */
export function openPurges(trust: Pick<Trust, "apis">, kind: TakenBack["kind"]): Purges {
  const read = (purge: "always" | "never"): string[][] =>
    [...trust.apis()]
      .filter((api) => api.purge === purge)
      .flatMap((api) => (api.topics ?? []).map((filter) => filter.split("/")));
  let filters: { readonly always: string[][]; readonly never: string[][] } | undefined;
  return (topic) => {
    filters ??= { always: read("always"), never: read("never") };
    const levels = topic.split("/");
    const isIn = (some: readonly string[][]): boolean => some.some((filter) => coversLevels(filter, levels));
    return (kind === "client" || isIn(filters.always)) && !isIn(filters.never);
  };
}

/**
 * Whether the client that an MQTT client id belongs to is gone or disabled; never where nobody tells of clients. Who has not
 * heard of one says nothing of it while the view is too old, or empty: what is kept for it is not to be lost by that.
 */
export function isOwnerTakenBack(trust: Trust, clientId: string): boolean {
  if (!trust.knowsClients) return false;
  const client = trust.client(ownerOf(clientId));
  return client === undefined ? !trust.isStale : !client.enabled;
}
