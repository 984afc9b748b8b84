/**
 * The options with which an Aedes broker becomes one that the gate guards: the hooks, the guarded persistence, and the
 * limits that go with them (docs/protocol.md, section 12). Our own emitter joins here.
 */
import type { AedesOptions } from "aedes";
import type { Gate } from "../gate/hooks.ts";
import { guardPersistence } from "./store.ts";

/** The options for a broker behind this gate. `persistence` default: the one in memory. */
export function brokerOptions(gate: Gate, persistence?: object): AedesOptions {
  return {
    ...gate.hooks,
    persistence: guardPersistence(gate, persistence),
    connectTimeout: 10_000,
    drainTimeout: 5000,
    maxInflightInbound: 50,
    // MQTT 3.1 allows 23 characters; client ids here are longer
    maxClientsIdLength: 200,
    concurrency: 1000,
  };
}
