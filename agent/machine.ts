/**
 * What this machine says about itself: load, memory and temperature. A reading that the machine does not offer is null.
 */
import { readdir, readFile } from "node:fs/promises";
import { freemem, loadavg, totalmem, uptime } from "node:os";
import { join } from "node:path";

/** What one reading of the machine gave. */
export interface MachineReading {
  /** Load averages over 1, 5 and 15 minutes; null where the system keeps none. */
  readonly load: readonly [number, number, number] | null;
  /** Bytes. `available` counts what caches would give back. */
  readonly memory: { readonly total: number; readonly available: number };
  /** Degrees Celsius of the hottest thermal zone. */
  readonly temperature: number | null;
  readonly uptimeSeconds: number;
}

/** Reads the machine now. */
export async function readMachine(thermalDir: string = "/sys/class/thermal"): Promise<MachineReading> {
  const [one = 0, five = 0, fifteen = 0] = loadavg();
  return {
    load: process.platform === "win32" ? null : [round(one), round(five), round(fifteen)],
    memory: { total: totalmem(), available: (await readAvailableMemory()) ?? freemem() },
    temperature: await readTemperature(thermalDir),
    uptimeSeconds: Math.round(uptime()),
  };
}

async function readAvailableMemory(): Promise<number | null> {
  const text = await readFile("/proc/meminfo", "utf8").catch(() => "");
  const kibibytes = /^MemAvailable:\s+(\d+) kB$/m.exec(text)?.[1];
  return kibibytes === undefined ? null : Number(kibibytes) * 1024;
}

/** The hottest of the zones; a zone that cannot be read or says nonsense is left out. */
async function readTemperature(dir: string): Promise<number | null> {
  const zones = (await readdir(dir).catch(() => [])).filter((name) => /^thermal_zone\d+$/.test(name));
  const texts = await Promise.all(zones.map((zone) => readFile(join(dir, zone, "temp"), "utf8").catch(() => "")));
  const degrees = texts.filter((text) => /^-?\d+\s*$/.test(text)).map((text) => Number(text) / 1000);
  const plausible = degrees.filter((value) => value > -60 && value < 150);
  return plausible.length === 0 ? null : round(Math.max(...plausible));
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}
