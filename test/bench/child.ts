/**
 * A server under test as its parent sees it: a child process that says where it listens and what CPU time it has used.
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { Listening, Message, Question, ServerKind } from "./server.ts";

export interface Child extends Listening {
  readonly kind: ServerKind;
  /** User and system time of all its threads since it started, in microseconds. */
  cpuMicroseconds(): Promise<number>;
  stop(): Promise<void>;
}

const executable = fileURLToPath(new URL("server.js", import.meta.url));

/** Starts a server; with `profileDir` it leaves a CPU profile there when it is stopped. */
export async function startChild(kind: ServerKind, dataDir: string, profileDir?: string): Promise<Child> {
  const profile = ["--cpu-prof", "--cpu-prof-interval=200", `--cpu-prof-dir=${profileDir}`];
  const child = fork(executable, [kind, dataDir], { execArgv: profileDir === undefined ? [] : profile });
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
    async cpuMicroseconds() {
      const answer = next();
      ask("usage");
      const message = await answer;
      return "cpuMicroseconds" in message ? message.cpuMicroseconds : Number.NaN;
    },
    async stop() {
      ask("stop");
      await ended;
    },
  };
}
