/**
 * The broker under attack, alone in its process: all of `postern up` on a furnished data directory, plain MQTT included.
 *
 * Started with one argument, {@link VictimOptions} as JSON; asked over IPC what memory it takes and how long its event
 * loop stood still. Samples its own memory, so a peak between two samples is missed unless it is the highest so far.
 */
import { monitorEventLoopDelay } from "node:perf_hooks";
import { pino } from "pino";
import type { EngineLimits } from "../../../broker/mqtt/limits.ts";
import { startPostern } from "../../../broker/up.ts";

export interface VictimOptions {
  readonly dataDir: string;
  readonly logFile: string;
  /** What differs from the defaults. */
  readonly limits?: Partial<EngineLimits>;
}

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
const ports = { httpPort: 0, mqttsPort: 0, wssPort: 0, mqttPort: 0 };
const limits = { limits: options.limits ?? {} };
const postern = await startPostern({ dataDir: options.dataDir, log, bind: "127.0.0.1", ...ports, ...limits });

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
    void postern.close().then(() => process.disconnect());
    return;
  }
  const usage = readUsage();
  if (question === "mark") forgetPeaks();
  tell({ usage });
});
// whoever asks is gone: nothing to serve
process.on("disconnect", () => process.exit());

const portOf = (url: string): number => Number(new URL(url).port);
tell({
  listening: {
    http: portOf(postern.issuer),
    mqtts: portOf(postern.mqtts),
    wss: portOf(postern.wss),
    mqtt: portOf(postern.mqtt!),
  },
});
