/**
 * The certificate of a broker that runs is followed by another when two thirds of its life are over, and asked for again and
 * again, with jitter, while the answer is no or none: what is left of its life is the time to mend what is wrong.
 */
import type { Logger } from "pino";
import { AgentFailure } from "../agent/failure.ts";
import { pause } from "../agent/pause.ts";
import { isRenewalDue } from "../agent/renew.ts";
import { nextAttemptDelayMs, type Backoff } from "../agent/schedule.ts";
import type { OwnIdentity } from "./broker-identity.ts";

/** What renewal needs beside the identity. */
export interface RenewalOptions {
  readonly log: Logger;
  /** Ends it. */
  readonly signal: AbortSignal;
  /** Called with each new certificate in place. */
  readonly use: () => void;
  readonly nowSeconds?: () => number;
  readonly timing?: RenewalTiming;
}

/** How often the certificate is looked at, and how soon a failure is followed by another attempt. */
export interface RenewalTiming {
  readonly checkMs: number;
  readonly backoff: Backoff;
}

const usual: RenewalTiming = { checkMs: 3_600_000, backoff: { firstMs: 30_000, longestMs: 3_600_000 } };

/** Runs until aborted; never rejects. */
export async function keepRenewed(identity: OwnIdentity, options: RenewalOptions): Promise<void> {
  const { log, signal, use, nowSeconds = () => Date.now() / 1000, timing = usual } = options;
  let failures = 0;
  let delayMs = timing.checkMs;
  while (!signal.aborted) {
    await pause(delayMs, signal);
    delayMs = timing.checkMs;
    if (signal.aborted || !isRenewalDue(identity.current().cert, nowSeconds())) continue;
    try {
      await identity.renew();
      failures = 0;
      use();
      log.info({ broker: identity.name }, "certificate renewed");
    } catch (error) {
      failures += 1;
      const asked = error instanceof AgentFailure ? error.retryAfterSeconds : undefined;
      delayMs = nextAttemptDelayMs(failures, timing.backoff, Math.random(), asked);
      log.error({ err: error, broker: identity.name, failures, nextAttemptMs: delayMs }, "certificate not renewed");
    }
  }
}
