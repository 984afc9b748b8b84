/**
 * A server under test, alone in its process: started by kind on a furnished data directory, asked over IPC what CPU time
 * it has used or to collect its garbage, and ended.
 */
import { join } from "node:path";
import { pino, type Logger } from "pino";
import { highestLimits, type PosternLimits } from "../../broker/limits.ts";
import { startBroker } from "../../broker/standalone.ts";
import { startPostern } from "../../broker/up.ts";
import { startBareBroker } from "./bare-broker.ts";
import { startBareIssuer } from "./bare-issuer.ts";
import { readBrokerFile } from "./revocation/broker-file.ts";

export type ServerKind = "postern" | "broker" | "bare-issuer" | "bare-broker" | "oidc-provider";

/** What a server is told beside its data directory. */
export interface Settings {
  /** Those that are not the default. */
  readonly limits: Partial<PosternLimits>;
  /** Of the authority; 0 takes a free one. */
  readonly httpPort: number;
}

/** Where a server listens; 0 for what it does not have. */
export interface Listening {
  readonly httpPort: number;
  readonly mqttsPort: number;
  /** Plain MQTT. */
  readonly mqttPort: number;
}

/** What the parent may ask. `collect` and `memory` need a process with --expose-gc. */
export type Question = "usage" | "collect" | "memory" | "stop";

/** What is left after a garbage collection. */
export interface Memory {
  readonly residentBytes: number;
  readonly heapBytes: number;
  /** Of objects of JavaScript, but outside the heap. */
  readonly externalBytes: number;
}

/** What the child says: once where it listens, then an answer to each question but the last. */
export type Message = { readonly listening: Listening } | { readonly cpuMicroseconds: number } | Memory;

interface Running extends Listening {
  close(): Promise<void>;
}

const starters: Record<ServerKind, (dataDir: string, settings: Settings) => Promise<Running>> = {
  "bare-issuer": async (dataDir) => ({ mqttsPort: 0, mqttPort: 0, ...(await startBareIssuer(dataDir)) }),
  "bare-broker": async (dataDir) => ({ httpPort: 0, ...(await startBareBroker(dataDir)) }),
  "oidc-provider": startOidc,
  postern: startWhole,
  broker: startElsewhere,
};

/** Nothing of it is loaded where another is measured. */
async function startOidc(dataDir: string): Promise<Running> {
  const { startOidcProvider } = await import("./http/oidc-provider.ts");
  return { mqttsPort: 0, mqttPort: 0, ...(await startOidcProvider(dataDir)) };
}

/** All of `postern up` with its default log level, to a file, and plain MQTT on loopback. One client is many here. */
async function startWhole(dataDir: string, { limits, httpPort }: Settings): Promise<Running> {
  const { tokensPerMinute } = highestLimits;
  const postern = await startPostern({ ...common(dataDir), httpPort, limits: { tokensPerMinute, ...limits } });
  const { issuer, mqtts, mqtt } = postern;
  return {
    httpPort: portOf(issuer),
    mqttsPort: portOf(mqtts),
    mqttPort: portOf(mqtt!),
    close: () => postern.close(),
  };
}

/** A broker elsewhere, with the same log level and ports. */
async function startElsewhere(dataDir: string, { limits }: Settings): Promise<Running> {
  const broker = await startBroker({ ...common(dataDir), identity: readBrokerFile(dataDir), limits });
  const { mqtts, mqtt } = broker;
  return { httpPort: 0, mqttsPort: portOf(mqtts), mqttPort: portOf(mqtt!), close: () => broker.close() };
}

function common(dataDir: string): {
  readonly dataDir: string;
  readonly bind: string;
  readonly log: Logger;
  readonly mqttsPort: number;
  readonly wssPort: number;
  readonly mqttPort: number;
} {
  const log = pino({ level: "info" }, pino.destination({ dest: join(dataDir, "postern.log"), sync: true }));
  return { dataDir, bind: "127.0.0.1", log, mqttsPort: 0, wssPort: 0, mqttPort: 0 };
}

function portOf(url: string): number {
  return Number(new URL(url).port);
}

function tell(message: Message): void {
  process.send?.(message);
}

const [kind, dataDir, settings] = process.argv.slice(2) as [ServerKind, string, string];
const running = await starters[kind](dataDir, JSON.parse(settings) as Settings);
process.on("message", (question: Question) => {
  if (question === "stop") {
    void running.close().then(() => process.disconnect());
    return;
  }
  if (question === "collect" || question === "memory") {
    for (let times = 0; times < 3; times++) globalThis.gc?.();
  }
  if (question === "memory") {
    const { rss, heapUsed, external } = process.memoryUsage();
    tell({ residentBytes: rss, heapBytes: heapUsed, externalBytes: external });
    return;
  }
  const { user, system } = process.cpuUsage();
  tell({ cpuMicroseconds: user + system });
});
// the generator is gone: nothing to serve
process.on("disconnect", () => process.exit());
const { httpPort, mqttsPort, mqttPort } = running;
tell({ listening: { httpPort, mqttsPort, mqttPort } });
