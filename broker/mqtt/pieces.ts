/**
 * The pieces that make an Aedes broker one that an open network cannot end, stall or trick: which of them a broker has.
 */
import type { Gate } from "../gate/hooks.ts";
import type { EngineBroker } from "./aedes-client.ts";
import type { DurableStore } from "./durable.ts";

/** One of the four. The `gate` is there when all its hooks are the broker's. */
export type Piece = "gate" | "guard" | "emitter" | "store";

const hooks = ["preConnect", "authenticate", "authorizePublish", "authorizeSubscribe", "authorizeForward"] as const;

/** The pieces that a broker lacks, but for the guard, which is the one to ask. */
export function missingPieces(broker: EngineBroker, gate: Gate): Piece[] {
  const isGated = hooks.every((hook) => (broker as unknown as Gate["hooks"])[hook] === gate.hooks[hook]);
  const isShared = typeof (broker.mq as { choose?: unknown }).choose === "function";
  return [
    ...(isGated ? [] : (["gate"] as const)),
    ...(isShared ? [] : (["emitter"] as const)),
    ...(storeOf(broker.persistence) === undefined ? (["store"] as const) : []),
  ];
}

/** The durable store that a persistence is, if it is one. */
export function storeOf(persistence: object): DurableStore | undefined {
  const store = persistence as Partial<DurableStore>;
  return typeof store.accept === "function" && typeof store.whenDurable === "function"
    ? (store as DurableStore)
    : undefined;
}
