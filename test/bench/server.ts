/**
 * A server under test, alone in its process: started by kind on a furnished data directory, asked over IPC what CPU time
 * it has used, and ended.
 */
import { join } from "node:path";
import { pino } from "pino";
import { startPostern } from "../../broker/up.ts";
import { startBareBroker } from "./bare-broker.ts";
import { startBareIssuer } from "./bare-issuer.ts";

export type ServerKind = "postern" | "bare-issuer" | "bare-broker";

/** Where a server listens; 0 for what it does not have. */
export interface Listening {
  readonly httpPort: number;
  readonly mqttsPort: number;
}

/** What the parent may ask. */
export type Question = "usage" | "stop";

/** What the child says: once where it listens, then an answer to each question about usage. */
export type Message = { readonly listening: Listening } | { readonly cpuMicroseconds: number };

interface Running extends Listening {
  close(): Promise<void>;
}

const starters: Record<ServerKind, (dataDir: string) => Promise<Running>> = {
  "bare-issuer": async (dataDir) => ({ mqttsPort: 0, ...(await startBareIssuer(dataDir)) }),
  "bare-broker": async (dataDir) => ({ httpPort: 0, ...(await startBareBroker(dataDir)) }),
  postern: startWhole,
};

/** All of `postern up` with its default log level, to a file. */
async function startWhole(dataDir: string): Promise<Running> {
  const log = pino({ level: "info" }, pino.destination({ dest: join(dataDir, "postern.log"), sync: true }));
  const ports = { httpPort: 0, mqttsPort: 0, wssPort: 0, mqttPort: null };
  const postern = await startPostern({ dataDir, bind: "127.0.0.1", log, ...ports });
  const portOf = (url: string): number => Number(new URL(url).port);
  return { httpPort: portOf(postern.issuer), mqttsPort: portOf(postern.mqtts), close: () => postern.close() };
}

function tell(message: Message): void {
  process.send?.(message);
}

const [kind, dataDir] = process.argv.slice(2) as [ServerKind, string];
const running = await starters[kind](dataDir);
process.on("message", (question: Question) => {
  if (question === "stop") {
    void running.close().then(() => process.disconnect());
    return;
  }
  const { user, system } = process.cpuUsage();
  tell({ cpuMicroseconds: user + system });
});
// the generator is gone: nothing to serve
process.on("disconnect", () => process.exit());
tell({ listening: { httpPort: running.httpPort, mqttsPort: running.mqttsPort } });
