/**
 * Mails that wait to be sent: so many and no more, a few at a time, each tried again after pauses. What sending is, is said
 * by who opens the queue.
 */
import type { Logger } from "pino";
import type { Mail } from "../context.ts";

/** Bounds on what sending may cost. */
export interface MailLimits {
  /** Mails that are not sent yet, those that are tried again among them; further ones are dropped. */
  readonly waiting: number;
  /** Tries at a time. */
  readonly atOnce: number;
  /** From the first packet to the server's word, for each try. */
  readonly tryMilliseconds: number;
  /** The pauses after the first tries; a mail is tried once more than there are of them. */
  readonly pausesMilliseconds: readonly number[];
  /** How long closing waits for the tries that are under way. */
  readonly closeMilliseconds: number;
}

/** What came of a try. `facts` are for the log; `isFinal` where another try is of no use. */
export type Outcome =
  | { readonly isSent: true }
  | { readonly isSent: false; readonly isFinal: boolean; readonly facts: Readonly<Record<string, unknown>> };

/** One try; never rejects. It ends early when the signal says so. */
export type TrySending = (mail: Mail, messageId: string, signal: AbortSignal) => Promise<Outcome>;

/** Mails on their way. */
export interface MailQueue {
  /** Never throws. What does not fit is dropped, and the log says so. */
  add(mail: Mail, messageId: string): void;
  /** Takes nothing more, waits a moment for the tries that are under way, and gives the rest up. */
  close(): Promise<void>;
}

interface Waiting {
  readonly mail: Mail;
  readonly messageId: string;
  tries: number;
}

/** Opens a queue without mails. */
export function openMailQueue(trySending: TrySending, limits: MailLimits, log: Logger): MailQueue {
  const ready: Waiting[] = [];
  const pauses = new Map<NodeJS.Timeout, Waiting>();
  const abort = new AbortController();
  let [sending, dropped, isClosed] = [0, 0, false];
  let idle: (() => void) | undefined;
  const held = (): number => ready.length + pauses.size + sending;

  const work = (): void => {
    while (sending < limits.atOnce && ready.length > 0) {
      sending++;
      void tryOnce(ready.shift()!).finally(() => {
        sending--;
        work();
        sayDropped();
        if (sending === 0) idle?.();
      });
    }
  };

  const tryOnce = async (waiting: Waiting): Promise<void> => {
    const { mail, messageId } = waiting;
    waiting.tries++;
    const signal = AbortSignal.any([abort.signal, AbortSignal.timeout(limits.tryMilliseconds)]);
    const outcome = await trySending(mail, messageId, signal);
    if (outcome.isSent) return log.info({ messageId, tries: waiting.tries }, "mail sent");
    const facts = { messageId, tries: waiting.tries, ...outcome.facts };
    const pause = outcome.isFinal ? undefined : limits.pausesMilliseconds[waiting.tries - 1];
    if (pause === undefined || isClosed) return log.error(facts, "mail given up");
    log.warn({ ...facts, pauseMilliseconds: pause }, "mail not sent");
    const timer = setTimeout(() => {
      pauses.delete(timer);
      ready.push(waiting);
      work();
    }, pause);
    timer.unref();
    pauses.set(timer, waiting);
  };

  /** One line when the queue overflows and one when it has emptied by half, however many were dropped. */
  const sayDropped = (): void => {
    if (dropped === 0 || held() > limits.waiting / 2) return;
    log.error({ dropped }, "mails were dropped");
    dropped = 0;
  };

  return {
    add(mail, messageId) {
      if (isClosed) return log.error({ messageId }, "mail given up");
      if (held() >= limits.waiting) {
        if (dropped++ === 0) log.error({ waiting: held() }, "mails are dropped");
        return undefined;
      }
      ready.push({ mail, messageId, tries: 0 });
      return work();
    },
    async close() {
      isClosed = true;
      const given = ready.length + pauses.size;
      if (given > 0) log.error({ mails: given }, "mails given up");
      ready.length = 0;
      for (const timer of pauses.keys()) clearTimeout(timer);
      pauses.clear();
      if (sending === 0) return;
      const late = setTimeout(() => abort.abort(), limits.closeMilliseconds);
      await new Promise<void>((resolve) => (idle = resolve));
      clearTimeout(late);
    },
  };
}
