/**
 * Ends sessions that were taken back, many at a time: first nothing passes any of them any more, then whoever keeps things of
 * them is told, then their connections are closed and logged, some in each turn of the event loop, because that takes time.
 */
import type { Logger } from "pino";
import type { Reason } from "../../shared/refusal.ts";
import type { Trust } from "../trust/trust.ts";
import type { GateMeter } from "./meter.ts";
import type { Session } from "./session.ts";
import type { Sessions } from "./sessions.ts";
import { openPurges } from "./taken-back.ts";
import type { TakenBackNews } from "./taken-back.ts";

/** What endings stand on. */
export interface EndingsDesk {
  readonly trust: Trust;
  readonly sessions: Sessions;
  readonly takenBack: TakenBackNews;
  readonly meter: GateMeter;
  readonly log: Logger;
}

/** A session and why it ends. */
export interface Ending {
  readonly session: Session;
  readonly reason: Reason;
}

/** Ends sessions. `client`: the client itself was taken back, of which its sessions are only a part; live or not. */
export type End = (endings: readonly Ending[], client?: string) => void;

/** Connections closed in one turn: a few milliseconds of work. */
const closedATurn = 100;

/** Opens the way to end sessions. */
export function openEndings({ trust, sessions, takenBack, meter, log }: EndingsDesk): End {
  const closing: Ending[] = [];
  let isClosing = false;

  const close = (): void => {
    for (const { session, reason } of closing.splice(0, closedATurn)) {
      const { clientId, subject, address } = session.admission;
      log.info({ clientId, sub: subject, address, reason }, "session taken back");
      sessions.close(session, true);
    }
    isClosing = closing.length > 0;
    if (isClosing) setImmediate(close);
  };

  return (endings, client) => {
    const ended = endings.filter(({ session }) => !session.isTakenBack);
    for (const { session } of ended) session.takeBack();

    if (client !== undefined) takenBack.tell({ kind: "client", subject: client, purges: openPurges(trust, "client") });
    const purges = openPurges(trust, "credential");
    for (const { session, reason } of ended) {
      const { clientId, subject } = session.admission;
      meter.takenBack(reason);
      if (client === undefined) takenBack.tell({ kind: "credential", clientId, subject, purges });
    }
    closing.push(...ended);
    if (!isClosing) close();
  };
}
