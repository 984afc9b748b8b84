/**
 * One log line for each refusal: reason, id, client id, address, and where it happened. A fault of ours becomes the
 * reason `internal` and is logged with its stack. Never a token, a password or a payload.
 *
 * A flood of refusals does not fill the disk: in a second there are so many lines of one reason and address, and so many
 * in all, and then one line with the number of those that were left out. A refusal whose id the peer is told is never left
 * out, so that the operator finds it; every refusal is counted.
 */
import type { Logger } from "pino";
import { Refusal } from "../../shared/refusal.ts";
import type { Reason } from "../../shared/refusal.ts";
import { readPeer } from "./connection.ts";
import type { Connection } from "./connection.ts";
import { provenSubject } from "./proven.ts";
import type { Session } from "./session.ts";
import { defaultLimits } from "./limits.ts";
import type { GateLimits } from "./limits.ts";
import type { Gateway, GateMeter } from "./meter.ts";

/** Counts and logs what was thrown and gives it back as a Refusal. `isTold`: the peer learns the id. */
export type Report = (error: unknown, client: object | null, at: Gateway, topic?: string, isTold?: boolean) => Refusal;

/** A refusal at the gate, for whoever keeps a record of them. */
export interface RefusedAtGate {
  readonly at: Gateway;
  readonly reason: Reason;
  readonly id: string;
  readonly detail: string;
  readonly address: string;
  /** Who was refused, where they had been admitted or had proven it: the `sub` of their token or their client. */
  readonly subject: string | undefined;
  /** What the connection calls itself. */
  readonly clientId: string | null;
  readonly topic: string | undefined;
}

/** Where refusals are told beside the log; must return at once and never throw. */
export interface RefusalRecord {
  readonly refused?: ((refused: RefusedAtGate) => void) | undefined;
  readonly sessionOf: (client: object) => Session | undefined;
}

/** A reporter, to be closed with its gate. */
export interface Reporter {
  readonly report: Report;
  /** Logs what was left out of the second under way. */
  close(): void;
}

/** What a peer chose is cut to this many characters. */
const longestText = 128;
const windowMilliseconds = 1000;

/** Opens the reporter on a log. */
export function openReporter(
  log: Logger,
  meter: GateMeter,
  limits: GateLimits = defaultLimits,
  record?: RefusalRecord,
): Reporter {
  const lines = openWindow(log, limits);
  const report: Report = (error, client, at, topic, isTold = false) => {
    const refusal = error instanceof Refusal ? error : new Refusal("internal");
    const { reason, id } = refusal;
    meter.refused(at, reason);
    const names = client === null ? undefined : namesOf(client);
    // what still arrives of a session that is ending was explained by what ended it
    const isEcho = reason === "session.closed";
    if (!isEcho) {
      const session = client === null ? undefined : record?.sessionOf(client);
      const subject = session?.admission.subject ?? provenSubject(refusal);
      record?.refused?.({
        at,
        reason,
        id,
        detail: refusal.detail.slice(0, longestText),
        address: names?.address ?? "none",
        // an anonymous client has none
        subject: subject === "" ? undefined : subject,
        clientId: names?.clientId ?? null,
        topic: topic?.slice(0, longestText),
      });
    }
    if (!isEcho && !lines.mayWrite(reason, names?.address ?? "none", isTold)) return refusal;
    const facts = {
      at,
      reason,
      id,
      ...names,
      ...(topic !== undefined && { topic: topic.slice(0, longestText) }),
      ...(refusal.detail !== "" && { detail: refusal.detail.slice(0, longestText) }),
    };
    if (isEcho) log.debug(facts, "refused");
    else if (refusal === error) log.warn(facts, "refused");
    else log.error({ ...facts, err: error }, "refused because of a fault of ours");
    return refusal;
  };
  return { report, close: () => lines.close() };
}

/** Who a connection is, for a log line. */
export function namesOf(client: object): { clientId: string | null; address: string } {
  const connection = client as Connection;
  return { clientId: connection.id?.slice(0, longestText) ?? null, address: readPeer(connection).address };
}

interface Source {
  readonly reason: Reason;
  readonly address: string;
  written: number;
  suppressed: number;
}

/**
 * The lines of one second, which begins with the first of them. Only what has a line of its own is remembered by
 * its source, so that no more of them are than lines, however many addresses take part.
 */
function openWindow(
  log: Logger,
  limits: GateLimits,
): {
  mayWrite(reason: Reason, address: string, isTold: boolean): boolean;
  close(): void;
} {
  const sources = new Map<string, Source>();
  let written = 0;
  let suppressedOfOthers = 0;
  let timer: NodeJS.Timeout | undefined;

  const close = (): void => {
    clearTimeout(timer);
    timer = undefined;
    for (const { reason, address, suppressed } of sources.values()) {
      if (suppressed > 0) log.warn({ reason, address, suppressed }, "refusals suppressed");
    }
    if (suppressedOfOthers > 0) log.warn({ suppressed: suppressedOfOthers }, "refusals of many suppressed");
    sources.clear();
    written = 0;
    suppressedOfOthers = 0;
  };

  return {
    close,
    mayWrite(reason, address, isTold) {
      timer ??= setTimeout(close, windowMilliseconds).unref();
      const name = `${reason} ${address}`;
      const source = sources.get(name);
      if (!isTold && (source?.written ?? 0) >= limits.refusalLinesPerAddress) {
        source!.suppressed++;
        return false;
      }
      if (!isTold && written >= limits.refusalLines) {
        if (source === undefined) suppressedOfOthers++;
        else source.suppressed++;
        return false;
      }
      written++;
      if (source === undefined) sources.set(name, { reason, address, written: 1, suppressed: 0 });
      else source.written++;
      return true;
    },
  };
}
