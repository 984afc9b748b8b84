/**
 * A load generator, alone in its process: does the jobs that its parent asks for over IPC, one at a time.
 */
import { setPriority } from "node:os";
import { fetchWhole } from "../revocation/fetch.ts";
import { Crowd, type CrowdSpec } from "./crowd.ts";
import { Deaf, type DeafSpec } from "./deaf.ts";
import { Pair, type PairSpec, type Watched } from "./pair.ts";
import { Swarm, type RoundOutcome, type SwarmSpec } from "./swarm.ts";
import { Sessions, type Ended, type Revocation, type SessionsSpec } from "../revocation/sessions.ts";

let swarm: Swarm | undefined;
let crowd: Crowd | undefined;
let pair: Pair | undefined;
let deaf: Deaf | undefined;
let sessions: Sessions | undefined;

/** What may be asked. */
const jobs = {
  /** Lets other processes go first, which is what load is to those whose latency is measured. */
  yieldToOthers: (): void => setPriority(10),

  openSwarm: async (spec: SwarmSpec): Promise<void> => {
    swarm = await Swarm.open(spec);
  },
  runSwarm: (messages: number): Promise<RoundOutcome> => swarm!.run(messages),
  runSwarmSteadily: (messages: number, perSecond: number): Promise<RoundOutcome> =>
    swarm!.runSteadily(messages, perSecond),
  floodWithSwarm: (): void => swarm!.flood(),
  closeSwarm: (): Promise<void> => swarm!.close(),
  breakOff: (): void => swarm!.breakOff(),

  /** Subscribers alone, that are sent what has waited for them. */
  drain: async (spec: SwarmSpec, messages: number): Promise<RoundOutcome> => {
    const started = performance.now();
    const readers = await Swarm.open(spec);
    const delivered = await readers.receive(messages);
    const seconds = (performance.now() - started) / 1000;
    await readers.close();
    return { seconds, sent: 0, delivered };
  },

  gather: (spec: CrowdSpec): void => {
    crowd = new Crowd(spec);
  },
  grow: (clients: number, atATime: number): Promise<{ seconds: number; failed: number }> =>
    crowd!.grow(clients, atATime),
  leave: (): Promise<void> => crowd!.leave(),

  stopReading: async (spec: DeafSpec): Promise<void> => {
    deaf = await Deaf.open(spec);
  },
  leaveDeaf: (): void => deaf!.leave(),

  openPair: async (spec: PairSpec): Promise<void> => {
    pair = await Pair.open(spec);
  },
  settle: (): Promise<void> => pair!.settle(),
  beginWatch: (): void => pair!.begin(),
  finishWatch: (): Promise<Watched> => pair!.finish(),
  closePair: (): void => pair!.close(),

  openSessions: async (spec: SessionsSpec, atATime: number): Promise<void> => {
    sessions = await Sessions.open(spec, atATime);
  },
  revoke: (revocations: readonly Revocation[], pauseMs: number): Promise<Ended[]> =>
    sessions!.revoke(revocations, pauseMs),
  closeSessions: (): void => sessions!.close(),

  /** Asks for something large. */
  fetchWhole,

  /** Of this process, user and system, since it started. */
  cpuMicroseconds: (): number => {
    const { user, system } = process.cpuUsage();
    return user + system;
  },
};

/** The jobs, for whoever asks. */
export type Jobs = typeof jobs;

/** What comes over IPC: a job, and its answer. */
export interface Asked {
  readonly job: keyof Jobs;
  readonly given: readonly unknown[];
}
export type Answered = { readonly result: unknown } | { readonly failure: string };

process.on("message", ({ job, given }: Asked) => {
  const run = async (): Promise<unknown> => (jobs[job] as (...values: readonly unknown[]) => unknown)(...given);
  const answer = (answered: Answered): void => {
    process.send?.(answered);
  };
  run().then(
    (result) => answer({ result }),
    (error: unknown) => answer({ failure: (error as Error).message }),
  );
});
// nobody left to measure for
process.on("disconnect", () => process.exit());
