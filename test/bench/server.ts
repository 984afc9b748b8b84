/**
 * A server under test, alone in its process: started by kind on a furnished data directory, asked over IPC what CPU time
 * it has used or to collect its garbage, and ended.
 */
import { join } from "node:path";
import { pino } from "pino";
import type { EngineLimits } from "../../broker/mqtt/limits.ts";
import { startPostern } from "../../broker/up.ts";
import { startBareBroker } from "./bare-broker.ts";
import { startBareIssuer } from "./bare-issuer.ts";

export type ServerKind = "postern" | "bare-issuer" | "bare-broker";

/** Where a server listens; 0 for what it does not have. */
export interface Listening {
  readonly httpPort: number;
  readonly mqttsPort: number;
  /** Plain MQTT. */
  readonly mqttPort: number;
}

/** What the parent may ask. `collect` needs a process with --expose-gc. */
export type Question = "usage" | "collect" | "stop";

/** What the child says: once where it listens, then an answer to each question but the last. */
export type Message = { readonly listening: Listening } | { readonly cpuMicroseconds: number };

interface Running extends Listening {
  close(): Promise<void>;
}

type Limits = Partial<EngineLimits>;

const starters: Record<ServerKind, (dataDir: string, limits: Limits) => Promise<Running>> = {
  "bare-issuer": async (dataDir) => ({ mqttsPort: 0, mqttPort: 0, ...(await startBareIssuer(dataDir)) }),
  "bare-broker": async (dataDir) => ({ httpPort: 0, ...(await startBareBroker(dataDir)) }),
  postern: startWhole,
};

/** All of `postern up` with its default log level, to a file, and plain MQTT on loopback. */
async function startWhole(dataDir: string, limits: Limits): Promise<Running> {
  const log = pino({ level: "info" }, pino.destination({ dest: join(dataDir, "postern.log"), sync: true }));
  const ports = { httpPort: 0, mqttsPort: 0, wssPort: 0, mqttPort: 0 };
  const postern = await startPostern({ dataDir, bind: "127.0.0.1", log, ...ports, limits });
  const portOf = (url: string): number => Number(new URL(url).port);
  const { issuer, mqtts, mqtt } = postern;
  return {
    httpPort: portOf(issuer),
    mqttsPort: portOf(mqtts),
    mqttPort: portOf(mqtt!),
    close: () => postern.close(),
  };
}

function tell(message: Message): void {
  process.send?.(message);
}

const [kind, dataDir, limits] = process.argv.slice(2) as [ServerKind, string, string];
const running = await starters[kind](dataDir, JSON.parse(limits) as Limits);
process.on("message", (question: Question) => {
  if (question === "stop") {
    void running.close().then(() => process.disconnect());
    return;
  }
  if (question === "collect") {
    for (let times = 0; times < 3; times++) globalThis.gc?.();
  }
  const { user, system } = process.cpuUsage();
  tell({ cpuMicroseconds: user + system });
});
// the generator is gone: nothing to serve
process.on("disconnect", () => process.exit());
const { httpPort, mqttsPort, mqttPort } = running;
tell({ listening: { httpPort, mqttsPort, mqttPort } });
