/**
 * A load generator as its parent sees it: a child process that is asked for one job after the other.
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { Answered, Asked, Jobs } from "./load.ts";

/** A server that has not answered by then answers no more. */
const patienceMs = 120_000;
const executable = fileURLToPath(new URL("load.js", import.meta.url));

type Answer<Job extends keyof Jobs> = Promise<Awaited<ReturnType<Jobs[Job]>>>;

/** A process of its own that generates load. */
export interface LoadChild {
  /** Does a job. Rejects when the job fails or the process ends. */
  ask<Job extends keyof Jobs>(job: Job, ...given: Parameters<Jobs[Job]>): Answer<Job>;
  stop(): Promise<void>;
}

/** Starts one. Many connections at one time need as many files: see `ulimit -n`. */
export function startLoad(): LoadChild {
  const child = fork(executable, { serialization: "advanced" });
  const ended = once(child, "exit");
  return {
    async ask<Job extends keyof Jobs>(job: Job, ...given: Parameters<Jobs[Job]>): Answer<Job> {
      const answer = once(child, "message");
      const asked: Asked = { job, given };
      child.send(asked);
      const failed = ended.then(([code]: unknown[]): never => {
        throw new Error(`the load generator ended with ${String(code)}`);
      });
      const timeout = new AbortController();
      const late = sleep(patienceMs, undefined, { ref: false, signal: timeout.signal }).then(() => {
        child.kill("SIGKILL");
        throw new Error(`${job} takes too long`);
      });
      const [answered] = (await Promise.race([answer, failed, late])) as [Answered];
      timeout.abort();
      if ("failure" in answered) throw new Error(`${job}: ${answered.failure}`);
      return answered.result as Awaited<Answer<Job>>;
    },
    async stop() {
      if (child.connected) child.disconnect();
      await ended;
    },
  };
}
