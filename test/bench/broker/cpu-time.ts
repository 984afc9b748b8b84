/**
 * What a process has used, as Linux knows it: to the nanosecond, and without asking the process.
 */
import { readdirSync, readFileSync } from "node:fs";

/** User and system time of all its threads, in microseconds. NaN for a process that has ended. */
export function cpuMicrosecondsOf(pid: number): number {
  try {
    const nanoseconds = readdirSync(`/proc/${pid}/task`).map((thread) =>
      Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "latin1").split(" ", 1)[0]),
    );
    return nanoseconds.reduce((sum, part) => sum + part, 0) / 1000;
  } catch {
    return Number.NaN;
  }
}

/** Resident memory, in bytes. */
export function residentBytesOf(pid: number): number {
  const line = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"));
  return Number(line?.[1]) * 1024;
}
