/**
 * The broker under attack, alone in its process: all of `postern up` on a furnished data directory, plain MQTT included; or,
 * where the keys are to come from elsewhere, an Aedes with the four pieces and a plain port.
 *
 * Started with one argument, {@link VictimOptions} as JSON; asked over IPC what memory it takes and how long its event
 * loop stood still. Samples its own memory, so a peak between two samples is missed unless it is the highest so far.
 */
import { once } from "node:events";
import { createServer, type AddressInfo } from "node:net";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { Aedes } from "aedes";
import { pino } from "pino";
import { createGate, durableStore, emitter, guard } from "../../../broker/index.ts";
import type { EngineLimits } from "../../../broker/mqtt/limits.ts";
import { startPostern } from "../../../broker/up.ts";

export interface VictimOptions {
  readonly dataDir: string;
  readonly logFile: string;
  /** What differs from the defaults. */
  readonly limits?: Partial<EngineLimits>;
  /** Whose tokens it takes when it is no authority itself. */
  readonly authority?: { readonly issuer: string; readonly keysUrl: string; readonly audience: string };
}

/** 0 for what it does not have. */
export interface VictimPorts {
  readonly http: number;
  readonly mqtts: number;
  readonly wss: number;
  readonly mqtt: number;
}

/** Since the last "mark". Bytes and milliseconds. */
export interface VictimUsage {
  readonly rss: number;
  readonly peakRss: number;
  readonly stallMs: number;
}

/** `mark` forgets peaks and is answered with the usage at that moment. */
export type VictimQuestion = "mark" | "usage" | "stop";

export type VictimMessage = { readonly listening: VictimPorts } | { readonly usage: VictimUsage };

const options = JSON.parse(process.argv[2]!) as VictimOptions;
const log = pino({ level: "info" }, pino.destination({ dest: options.logFile, sync: true, append: true }));
const { authority, dataDir, limits = {} } = options;
const running = await (authority === undefined ? startWhole() : startEmbedded(authority));

const delay = monitorEventLoopDelay({ resolution: 5 });
delay.enable();
let peakRss = 0;
let peakEver = process.resourceUsage().maxRSS;
const sample = (): void => {
  peakRss = Math.max(peakRss, process.memoryUsage.rss());
};
setInterval(sample, 10).unref();

function readUsage(): VictimUsage {
  sample();
  // kilobytes, and the highest of this process's life: news only where it has grown
  const { maxRSS } = process.resourceUsage();
  if (maxRSS > peakEver) peakRss = Math.max(peakRss, maxRSS * 1024);
  return { rss: process.memoryUsage.rss(), peakRss, stallMs: delay.max / 1e6 };
}

function forgetPeaks(): void {
  peakEver = process.resourceUsage().maxRSS;
  peakRss = 0;
  delay.reset();
}

function tell(message: VictimMessage): void {
  process.send?.(message);
}

process.on("message", (question: VictimQuestion) => {
  if (question === "stop") {
    void running.close().then(() => process.disconnect());
    return;
  }
  const usage = readUsage();
  if (question === "mark") forgetPeaks();
  tell({ usage });
});
// whoever asks is gone: nothing to serve
process.on("disconnect", () => process.exit());

tell({ listening: running.ports });

interface Running {
  readonly ports: VictimPorts;
  close(): Promise<void>;
}

async function startWhole(): Promise<Running> {
  const ports = { httpPort: 0, mqttsPort: 0, wssPort: 0, mqttPort: 0 };
  const postern = await startPostern({ dataDir, log, bind: "127.0.0.1", ...ports, limits });
  const [http, mqtts, wss, mqtt] = [postern.issuer, postern.mqtts, postern.wss, postern.mqtt!].map((url) =>
    Number(new URL(url).port),
  ) as [number, number, number, number];
  return { ports: { http, mqtts, wss, mqtt }, close: () => postern.close() };
}

async function startEmbedded(issuer: NonNullable<VictimOptions["authority"]>): Promise<Running> {
  const store = durableStore({ file: join(dataDir, "embedded.db") });
  const gate = await createGate({ ...issuer, bearer: true, emitter: emitter(), store, log, limits });
  const broker = await Aedes.createBroker(gate.options);
  const door = guard(broker, gate);
  const server = createServer({ noDelay: true }, door.handle);
  door.watch(server);
  await once(server.listen(0, "127.0.0.1"), "listening");
  const close = async (): Promise<void> => {
    door.close();
    server.close();
    await new Promise<void>((resolve) => broker.close(() => resolve()));
    gate.close();
  };
  return { ports: { http: 0, mqtts: 0, wss: 0, mqtt: (server.address() as AddressInfo).port }, close };
}
