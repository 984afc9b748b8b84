/**
 * The options with which an Aedes broker becomes one that the gate guards: the hooks, our emitter, the store behind the
 * gate's guard, and the limits that are Aedes' own to keep.
 */
import type { AedesOptions } from "aedes";
import type { Gate } from "../gate/hooks.ts";
import { defaultLimits } from "./limits.ts";
import type { EngineLimits } from "./limits.ts";
import { guardStore } from "./store/guard-store.ts";

/** What a broker is made of beside the gate. `store`: ours, or another persistence for Aedes. */
export interface BrokerPieces {
  readonly emitter: object | undefined;
  readonly store: object;
  readonly limits?: Partial<EngineLimits> | undefined;
}

/** The options for a broker behind this gate. */
export function brokerOptions(gate: Gate, pieces: BrokerPieces): AedesOptions {
  const limits: EngineLimits = { ...defaultLimits, ...pieces.limits };
  return {
    ...gate.hooks,
    persistence: guardStore(gate, pieces.store),
    ...(pieces.emitter !== undefined && { mq: pieces.emitter }),
    connectTimeout: limits.connectMilliseconds,
    drainTimeout: limits.stallMilliseconds,
    maxInflightInbound: limits.receipts,
    // MQTT 3.1 allows 23 characters; client ids here are longer
    maxClientsIdLength: 200,
    // listeners of one connection, of which our outbound needs few
    concurrency: 100,
  };
}
