/**
 * A server under test as its parent sees it: a child process that says where it listens and what CPU time it has used.
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { PosternLimits } from "../../broker/limits.ts";
import type { Listening, Memory, Message, Question, ServerKind, Settings } from "./server.ts";

export interface Child extends Listening {
  readonly kind: ServerKind;
  readonly pid: number;
  /** Whether it has not ended. */
  isRunning(): boolean;
  /** User and system time of all its threads since it started, in microseconds. */
  cpuMicroseconds(): Promise<number>;
  /** Collects its garbage; for one that was started to be able to. */
  collect(): Promise<void>;
  /** Does so, and says what is left. */
  memory(): Promise<Memory>;
  stop(): Promise<void>;
  kill(): Promise<void>;
}

/** How a server is started. */
export interface StartOptions {
  /** Leaves a CPU profile there when it is stopped. */
  readonly profileDir?: string | undefined;
  /** Limits that are not the default. */
  readonly limits?: Partial<PosternLimits>;
  /** Of the authority. Default a free one. */
  readonly httpPort?: number;
  readonly canCollect?: boolean;
}

const executable = fileURLToPath(new URL("server.js", import.meta.url));

/** Starts a server. */
export async function startChild(kind: ServerKind, dataDir: string, options: StartOptions = {}): Promise<Child> {
  const { profileDir, limits = {}, httpPort = 0, canCollect = false } = options;
  const settings: Settings = { limits, httpPort };
  const profile = ["--cpu-prof", "--cpu-prof-interval=200", `--cpu-prof-dir=${profileDir}`];
  const execArgv = [...(profileDir === undefined ? [] : profile), ...(canCollect ? ["--expose-gc"] : [])];
  // what a server says at its end is not part of the tables; ours is to be heard
  const isOurs = kind === "postern" || kind === "broker";
  const stdio = ["ignore", "inherit", isOurs ? "inherit" : "ignore", "ipc"] as const;
  const child = fork(executable, [kind, dataDir, JSON.stringify(settings)], { execArgv, stdio: [...stdio] });
  const ended = once(child, "exit");

  const next = async (): Promise<Message> => {
    const failed = ended.then(([code]: unknown[]) => {
      throw new Error(`${kind} ended with ${String(code)}`);
    });
    const [message] = (await Promise.race([once(child, "message"), failed])) as [Message];
    return message;
  };
  const ask = (question: Question): void => {
    child.send(question);
  };

  const first = await next();
  if (!("listening" in first)) throw new Error(`${kind} does not say where it listens`);
  return {
    kind,
    ...first.listening,
    pid: child.pid!,
    isRunning: () => child.exitCode === null && child.signalCode === null,
    async cpuMicroseconds() {
      const answer = next();
      ask("usage");
      const message = await answer;
      return "cpuMicroseconds" in message ? message.cpuMicroseconds : Number.NaN;
    },
    async collect() {
      const answer = next();
      ask("collect");
      await answer;
    },
    async memory() {
      const answer = next();
      ask("memory");
      const message = await answer;
      if (!("heapBytes" in message)) throw new Error(`${kind} does not say what memory it has`);
      return message;
    },
    async stop() {
      if (child.connected) ask("stop");
      await ended;
    },
    async kill() {
      child.kill("SIGKILL");
      await ended;
    },
  };
}
