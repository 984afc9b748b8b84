/**
 * The filters of a session beside its rights: granting one, and taking back those that the rights no longer cover, from
 * the live connection and from what is stored for its return.
 */
import type { Logger } from "pino";
import { Refusal } from "../../shared/refusal.ts";
import type { Connection } from "./connection.ts";
import type { Session } from "./session.ts";

/** Grants a filter to a session; throws a Refusal. At most `most` filters at one time. */
export function grantFilter(session: Session, filter: string, most: number): void {
  const reason = session.refusalOf("sub", filter);
  if (reason !== null) throw new Refusal(reason);
  if (session.filters.size >= most && !session.filters.has(filter)) throw new Refusal("limit.reached", "subscriptions");
  session.filters.add(filter);
}

/**
 * Ends the subscriptions that the session may no longer have, those that are only being made too, and says which they were.
 * Delivery is refused from the moment the rights change.
 */
export function dropUncovered(session: Session, log: Logger): string[] {
  const { connection } = session;
  const held = new Set([...Object.keys(connection.subscriptions), ...session.filters]);
  const filters = [...held].filter((filter) => !session.may("sub", filter));
  if (filters.length === 0) return [];
  for (const filter of filters) session.filters.delete(filter);
  log.info({ clientId: connection.id, filters: filters.length }, "subscriptions no longer allowed");
  forgetStored(connection, filters, log);
  connection.unsubscribe(filters, (error) => {
    if (error) log.error({ err: error, clientId: connection.id }, "a subscription did not end");
  });
  return filters;
}

/** Removes filters from what is stored for a client's return. */
export function forgetStored(connection: Connection, filters: string[], log: Logger): void {
  connection.broker.persistence.removeSubscriptions({ id: connection.id }, filters).catch((error: unknown) => {
    log.error({ err: error, clientId: connection.id }, "a stored subscription was not removed");
  });
}
