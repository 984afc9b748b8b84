/**
 * Messages that were not kept: each is counted, and told in the log once a minute for each client.
 */
import type { Logger } from "pino";
import type { StoreDrop } from "../durable.ts";
import type { EngineMeter } from "../meter.ts";

/** Says that a message was not kept for a client, or of one. */
export type TellDrop = (why: StoreDrop, clientId: string) => void;

const quietSeconds = 60;

/** Counts and tells. */
export class Drops {
  readonly #meter: EngineMeter;
  readonly #log: Logger;
  readonly #nowSeconds: () => number;
  readonly #told = new Map<string, { at: number; since: number }>();

  constructor(meter: EngineMeter, log: Logger, nowSeconds: () => number) {
    this.#meter = meter;
    this.#log = log;
    this.#nowSeconds = nowSeconds;
  }

  readonly tell: TellDrop = (why, clientId) => {
    this.#meter.dropped(why);
    const now = this.#nowSeconds();
    const told = this.#told.get(clientId);
    if (told !== undefined && now - told.at < quietSeconds) {
      told.since++;
      return;
    }
    const dropped = 1 + (told?.since ?? 0);
    this.#told.set(clientId, { at: now, since: 0 });
    this.#log.warn({ clientId, why, dropped }, "a message was not kept");
  };

  /** Forgets of whom nothing was dropped lately. */
  forget(): void {
    const now = this.#nowSeconds();
    for (const [clientId, { at }] of this.#told) if (now - at >= quietSeconds) this.#told.delete(clientId);
  }
}
