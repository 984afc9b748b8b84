/**
 * The options with which an Aedes broker becomes one that the gate guards: the hooks, the guarded persistence, and the
 * limits that go with them (contract, section 7). Our own emitter joins here.
 */
import type { AedesOptions } from "aedes";
import type { Gate } from "../gate/hooks.ts";
import { guardPersistence } from "./store.ts";

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
