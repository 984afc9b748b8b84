/**
 * `postern`: the four pieces for a program with an Aedes of its own: gate, guard, emitter and store. Authority and broker as a whole are in `postern/server`, which
 * loads far more.
 */
export { createGate, guard } from "./embed.ts";
export type { EmbeddedGate, EmbeddedGateOptions, EmbeddedGuard } from "./embed.ts";
export { emitter, type Emitter, type EmitterOptions } from "./mqtt/emitter.ts";
export { durableStore, type Store, type StoreOptions } from "./mqtt/store/durable-store.ts";
export { Refusal, type Reason } from "../shared/refusal.ts";
