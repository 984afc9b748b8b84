/**
 * The `postern` command as a child process: started, waited for, and ended.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const executable = fileURLToPath(new URL("../cli/main.js", import.meta.url));

/** A command that runs. */
export interface RunningCommand {
  /** The first line on its stdout. */
  firstLine(): Promise<string>;
  /** Rejects when the command ends by itself, with the last line it wrote on stderr. */
  failed(): Promise<never>;
  /** Asks it to end and waits until it has. */
  stop(): Promise<void>;
}

/** Starts `postern` with these arguments. */
export function startCommand(args: readonly string[]): RunningCommand {
  const child = spawn(process.execPath, [executable, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  let lastError = "";
  createInterface({ input: child.stderr }).on("line", (line) => (lastError = line));
  const lines = createInterface({ input: child.stdout });
  const firstLine = once(lines, "line");
  const exited = once(child, "exit");
  return {
    firstLine: async () => String((await firstLine)[0]),
    failed: async () => {
      const [code] = (await exited) as [number | null];
      throw new Error(lastError === "" ? `postern ${args[0]} ended with ${code}` : lastError);
    },
    stop: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill("SIGTERM");
      await exited;
    },
  };
}
