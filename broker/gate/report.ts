/**
 * One log line for each refusal: reason, id, client id, address, and where it happened. A fault of ours becomes the
 * reason `internal` and is logged with its stack. Never a token, a password or a payload.
 */
import type { Logger } from "pino";
import { Refusal } from "../../shared/refusal.ts";
import { readPeer } from "./connection.ts";
import type { Connection } from "./connection.ts";

/** Where a refusal happened: the five gates, and the token topic. */
export type Gateway = "connect" | "publish" | "subscribe" | "deliver" | "will" | "authz-info";

/** Logs what was thrown and gives it back as a Refusal. */
export type Report = (error: unknown, client: object | null, at: Gateway, topic?: string) => Refusal;

/** What a peer chose is cut to this many characters. */
const longestText = 128;

/** Opens the reporter on a log. */
export function openReport(log: Logger): Report {
  return (error, client, at, topic) => {
    const refusal = error instanceof Refusal ? error : new Refusal("internal");
    const facts = {
      at,
      reason: refusal.reason,
      id: refusal.id,
      ...(client !== null && namesOf(client)),
      ...(topic !== undefined && { topic: topic.slice(0, longestText) }),
      ...(refusal.detail !== "" && { detail: refusal.detail.slice(0, longestText) }),
    };
    // what still arrives of a session that is ending was explained by what ended it
    if (refusal.reason === "session.closed") log.debug(facts, "refused");
    else if (refusal === error) log.warn(facts, "refused");
    else log.error({ ...facts, err: error }, "refused because of a fault of ours");
    return refusal;
  };
}

/** Who a connection is, for a log line. */
export function namesOf(client: object): { clientId: string | null; address: string } {
  const connection = client as Connection;
  return { clientId: connection.id?.slice(0, longestText) ?? null, address: readPeer(connection).address };
}
