/**
 * `postern`: the gate for a program with an Aedes of its own, and the whole of authority and broker for one that embeds
 * them.
 */
export { createGate, type EmbeddedGate, type EmbeddedGateOptions } from "./embed.ts";
export { startPostern, type Postern, type PosternOptions } from "./up.ts";
export { Refusal, type Reason } from "../shared/refusal.ts";
