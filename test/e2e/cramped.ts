/**
 * An authority that has no room, in two ways: a file system that is full, where this machine lets us make one, and a bound on the
 * size of files.
 */
import { spawnSync } from "node:child_process";
import { rmSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { executable, makeFolder, start, type Running } from "./fixture.ts";

/** An authority whose room can be taken away. */
export interface Cramped {
  readonly running: Running;
  readonly dataDir: string;
  readonly fill: () => void;
  readonly free: () => void;
}

const freePorts = ["--http-port", "0", "--mqtts-port", "0", "--wss-port", "0"];
const mount = "mount -t tmpfs -o size=12m,mode=0700 tmpfs";
/** Whether there may be a file system of our own here. */
export const canMount = spawnSync("unshare", ["-rm", "sh", "-c", `${mount} "$0"`, makeFolder()]).status === 0;
/** Whether files may be bounded here. */
export const canLimit = spawnSync("prlimit", ["--pid", `${process.pid}`]).status === 0;

/** On a file system of its own, which only it sees. */
export function startOnFullDisk(): Cramped {
  const folder = makeFolder();
  const script = `${mount} "$0" && exec "$@"`;
  const own = [process.execPath, executable, "up", "--json", "--data", join(folder, "data"), ...freePorts];
  const running = start("unshare", ["-rm", "sh", "-euc", script, folder, ...own]);
  const seen = join(`/proc/${running.pid}/root`, folder);
  const filler = join(seen, "filler");
  return {
    running,
    dataDir: join(seen, "data"),
    fill() {
      const { bavail, bsize } = statfsSync(seen);
      try {
        writeFileSync(filler, Buffer.alloc(bavail * bsize));
      } catch (error) {
        // somebody else was given a part of it meanwhile
        if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
      }
    },
    free: () => rmSync(filler),
  };
}

/** Bounds the size of the files of a process. */
export function limitFiles({ pid }: Running, bytes: "4096" | "unlimited"): void {
  const { status } = spawnSync("prlimit", ["--pid", `${pid}`, `--fsize=${bytes}:`]);
  if (status !== 0) throw new Error(`prlimit ended with ${status}`);
}

/** With files that may not grow. */
export function startBounded(): Cramped {
  const folder = makeFolder();
  const dataDir = join(folder, "data");
  const running = start(process.execPath, [executable, "up", "--json", "--data", dataDir, ...freePorts]);
  return { running, dataDir, fill: () => limitFiles(running, "4096"), free: () => limitFiles(running, "unlimited") };
}
