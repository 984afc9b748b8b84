/** Durations, numbers and names as people type them: `90s`, `30m`, `1h`, `7d`; ports 0 to 65535; whole counts; hosts. */
import { InvalidArgumentError } from "commander";
import { isHost } from "../shared/names.ts";

const unitSeconds = { s: 1, m: 60, h: 3600, d: 86_400 } as const;

/** Seconds. Throws commander's usage error. */
export function parseDuration(text: string): number {
  const match = /^(?!0+\D)(\d{1,9})([smhd])$/.exec(text);
  if (match === null)
    throw new InvalidArgumentError("A duration is a number and a unit, for example 90s, 30m, 1h, 7d.");
  return Number(match[1]) * unitSeconds[match[2] as keyof typeof unitSeconds];
}

/** A TCP port; 0 takes a free one. */
export function parsePort(text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN;
  if (!(port <= 65_535)) throw new InvalidArgumentError("A port is a number from 0 to 65535.");
  return port;
}

/** A host name or address. */
export function parseHost(text: string): string {
  if (!isHost(text)) throw new InvalidArgumentError("It is no host name or address.");
  return text;
}

/** A count of at least one. */
export function parseCount(text: string): number {
  const count = /^\d{1,9}$/.test(text) ? Number(text) : 0;
  if (count < 1) throw new InvalidArgumentError("A count is a whole number, 1 or more.");
  return count;
}

/** A quality of service. */
export function parseQos(text: string): 0 | 1 | 2 {
  if (text !== "0" && text !== "1" && text !== "2") throw new InvalidArgumentError("QoS is 0, 1 or 2.");
  return Number(text) as 0 | 1 | 2;
}

/** Collects an option that may be given several times. */
export function collect(value: string, before: readonly string[] = []): string[] {
  return [...before, value];
}

/** Collects lists with commas in an option that may be given several times. */
export function collectList(value: string, before: readonly string[] = []): string[] {
  return [
    ...before,
    ...value
      .split(",")
      .map((part) => part.trim())
      .filter((part) => part !== ""),
  ];
}

/** The largest unit that says the same: 3600 is `1h`. */
export function formatDuration(seconds: number): string {
  for (const unit of ["d", "h", "m"] as const) {
    if (seconds > 0 && seconds % unitSeconds[unit] === 0) return `${seconds / unitSeconds[unit]}${unit}`;
  }
  return `${seconds}s`;
}
