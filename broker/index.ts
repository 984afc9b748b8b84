/**
 * `postern`: the gate for a program with an Aedes of its own. Authority and broker as a whole are in `postern/server`, which
 * loads far more.
 */
export { createGate, type EmbeddedGate, type EmbeddedGateOptions } from "./embed.ts";
export { Refusal, type Reason } from "../shared/refusal.ts";
