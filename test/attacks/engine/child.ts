/**
 * A child process that answers over IPC, one answer to each question, in their order.
 */
import { fork, type ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";

export interface Child {
  /** Sends a question that has an answer, and waits for it. Rejects when the child ends before. */
  ask<T>(question: string): Promise<T>;
  tell(question: string): void;
  /** The next message that nobody asked for. */
  next<T>(): Promise<T>;
  readonly isAlive: boolean;
  /** What ended it, in words; undefined while it runs. */
  readonly end: string | undefined;
  /** What it wrote to stderr. */
  readonly complaints: string;
  signal(name: NodeJS.Signals): Promise<void>;
  /** Asks it to end in an orderly way. */
  stop(): Promise<void>;
}

// tests run from their sources and the programs of this folder from what is built of them
const here = new URL(".", import.meta.url);
const built = here.pathname.includes("/dist/test/") ? here : new URL("../../../dist/test/attacks/engine/", here);

/** Starts a program of this folder with one argument. */
export function startChild(program: "victim" | "innocent", options: unknown): Child {
  const file = fileURLToPath(new URL(`${program}.js`, built));
  const child: ChildProcess = fork(file, [JSON.stringify(options)], { stdio: ["ignore", "ignore", "pipe", "ipc"] });
  const answers: unknown[] = [];
  const waiting = new Set<() => void>();
  const wake = (): void => {
    for (const resolve of waiting) resolve();
    waiting.clear();
  };
  let complaints = "";
  let end: string | undefined;
  child.stderr!.setEncoding("utf8").on("data", (text: string) => (complaints += text));
  child.on("message", (message) => {
    answers.push(message);
    wake();
  });
  const exited = new Promise<void>((resolve) => {
    child.once("close", (code, signal) => {
      end = signal === null ? `ended with ${code}` : `ended by ${signal}`;
      wake();
      resolve();
    });
  });

  const next = async <T>(): Promise<T> => {
    for (;;) {
      if (answers.length > 0) return answers.shift() as T;
      if (end !== undefined) throw new Error(`${program} ${end}: ${complaints.slice(0, 2000)}`);
      await new Promise<void>((resolve) => waiting.add(resolve));
    }
  };
  const tell = (question: string): void => {
    // to one that has just ended nothing can be said; `next` tells of it
    if (child.connected) child.send(question, () => undefined);
  };
  return {
    next,
    tell,
    ask(question) {
      tell(question);
      return next();
    },
    get isAlive() {
      return end === undefined;
    },
    get end() {
      return end;
    },
    get complaints() {
      return complaints;
    },
    async signal(name) {
      child.kill(name);
      await exited;
    },
    async stop() {
      if (end !== undefined) return;
      tell("stop");
      await exited;
    },
  };
}
