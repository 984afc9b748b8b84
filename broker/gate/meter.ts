/**
 * What the gate counts, told to whoever makes metrics of it. Words of closed lists alone: no client, no address, no topic.
 */
import type { Reason } from "../../shared/refusal.ts";
import type { Rights } from "./session.ts";

/** Where a refusal happened: the five gates, the token topic, and before all of them the arrival and the wire. */
export type Gateway = "connect" | "publish" | "subscribe" | "deliver" | "will" | "authz-info" | "arrival" | "wire";

/** Told of what happens; must return at once and never throw. */
export interface GateMeter {
  /** A CONNECT became a session that stands on this. */
  admitted(kind: Rights["kind"]): void;
  /** Something was refused, whether or not the log has a line of it. */
  refused(at: Gateway, reason: Reason): void;
  /** The connection of a session is gone. */
  ended(): void;
  /** A session was ended because what it stands on was taken back. */
  takenBack(reason: Reason): void;
}

/** Counts nothing. */
export const noGateMeter: GateMeter = {
  admitted() {},
  refused() {},
  ended() {},
  takenBack() {},
};
