/**
 * What the engine room counts, told to whoever makes metrics of it. The gate tells of connects and refusals itself.
 */
import type { StoreDrop } from "./durable.ts";

/** Why a message did not reach a subscriber or the store. */
export type Drop = StoreDrop | "slow-reader" | "waiting-full";

/** Told of what happens; must return at once and never throw. */
export interface EngineMeter {
  accepted(): void;
  received(qos: 0 | 1 | 2): void;
  sent(qos: 0 | 1 | 2): void;
  dropped(why: Drop): void;
  /** How long a commit of the store took. */
  stored(seconds: number): void;
}

/** Counts nothing. */
export const noMeter: EngineMeter = {
  accepted() {},
  received() {},
  sent() {},
  dropped() {},
  stored() {},
};
