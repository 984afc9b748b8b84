/**
 * The MQTT side of an installation, which is the same beside an authority and without one: the store, the gate on a trust, and
 * the engine behind its listeners.
 */
import type { RequestListener } from "node:http";
import { join } from "node:path";
import type { Logger } from "pino";
import { openGate } from "./gate/hooks.ts";
import type { RefusedAtGate } from "./gate/report.ts";
import type { PosternLimits } from "./limits.ts";
import type { Figures, Metrics } from "./metrics.ts";
import { startEngine } from "./mqtt/engine.ts";
import type { ServerTls } from "./mqtt/listeners.ts";
import { durableStore } from "./mqtt/store/durable-store.ts";
import type { Opened } from "./opened.ts";
import type { MemoryTrust } from "./trust/memory-trust.ts";

/** Where to listen. */
export interface MqttPlace {
  /** The address to listen on. Default all. */
  readonly bind?: string;
  /** Ports; 0 takes a free one. */
  readonly mqttsPort: number;
  readonly wssPort: number;
  /** Plain MQTT, null for none. */
  readonly mqttPort: number | null;
  /** The address for plain MQTT. Default loopback. */
  readonly mqttHost?: string;
}

/** What it stands on. */
export interface MqttOptions {
  readonly dataDir: string;
  readonly place: MqttPlace;
  /** The name of this machine as it stands in a URL. */
  readonly name: string;
  readonly trust: MemoryTrust;
  readonly tls: ServerTls;
  readonly limits: PosternLimits;
  readonly metrics: Metrics;
  /** Beside those of the MQTT side. */
  readonly figures?: Partial<Figures>;
  readonly log: Logger;
  /** Seconds since 1970. Default: the clock. */
  readonly nowSeconds?: () => number;
  /** Answers requests on the port of the WebSockets that are none. Default: 426. */
  readonly pages?: RequestListener;
  /** See the gate. */
  readonly refused?: (refused: RefusedAtGate) => void;
  /** See the engine. */
  readonly beforeServing?: () => Promise<void>;
}

/** The addresses it took, as URLs. */
export interface Mqtt {
  readonly mqtts: string;
  readonly wss: string;
  readonly mqtt: string | null;
  /** Uses another certificate from now on; connections stay. */
  renewTls(tls: ServerTls): void;
}

/** Starts it; what was opened is for `opened` to close, also when this rejects. */
export async function serveMqtt(options: MqttOptions, opened: Opened): Promise<Mqtt> {
  const { trust, limits, metrics, log, place, name, nowSeconds } = options;
  const { meter } = metrics;
  const store = durableStore({ file: join(options.dataDir, "mqtt.db"), limits, meter, log });
  opened.push(() => store.close());
  const mayKeepSession = (clientId: string): boolean => store.mayKeepSession(clientId);
  const { refused } = options;
  const gate = openGate({ trust, log, limits, meter, mayKeepSession, nowSeconds, refused, isGuardNeeded: true });
  opened.push(() => gate.close());
  const engine = await startEngine({
    gate,
    store,
    limits,
    meter,
    log,
    tls: options.tls,
    host: place.bind,
    mqttsPort: place.mqttsPort,
    wssPort: place.wssPort,
    mqttPort: place.mqttPort,
    plainHost: place.mqttHost ?? "127.0.0.1",
    pages: options.pages,
    beforeServing: options.beforeServing,
  });
  opened.push(() => engine.close());
  metrics.follow({
    sessions: () => gate.sessions.size,
    sizes: () => store.sizes,
    revoked: () => ({ tokens: trust.revokedTokens, certificates: trust.revokedCertificates }),
    ...options.figures,
  });
  return {
    mqtts: `mqtts://${name}:${engine.mqttsPort}`,
    wss: `wss://${name}:${engine.wssPort}`,
    mqtt: engine.mqttPort === null ? null : `mqtt://${place.mqttHost ?? "localhost"}:${engine.mqttPort}`,
    renewTls: (tls) => engine.renewTls(tls),
  };
}
