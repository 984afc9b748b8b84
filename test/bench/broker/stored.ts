/**
 * QoS 1 for stored sessions: while their clients are connected, and while they are away and when they come back.
 */
import { BENCH_TOPICS, type Installation } from "../installation.ts";
import { cpuRatio, measure, median, type Contestant, type Measured, type Plan } from "../rounds.ts";
import { formatCpu, formatRate, printHeading, printNote, printTable } from "../table.ts";
import { startLoad, type LoadChild } from "./load-child.ts";
import { connectFrame, startRivals, type Rival } from "./rivals.ts";
import type { SwarmSpec } from "./swarm.ts";

/** How much is measured. */
export interface StoredPlan {
  readonly connected: Plan;
  /** Each client finds `operations` divided by {@link clients} messages. */
  readonly away: Plan;
}

/** Each with a publisher of its own. */
const clients = 10;
const window = 100;
const payloadBytes = 64;
/** For publishers at full speed, and because all sessions are those of one device here. */
const limits = { packetsPerSecond: 10_000_000, sessionsPerClient: 1000 };

export async function benchStored(installation: Installation, plan: StoredPlan, profileDir?: string): Promise<void> {
  const rivals = await startRivals(installation, { limits, profileDir, isPersistent: true });
  const loads: LoadChild[] = [];
  const start = (): LoadChild => {
    const load = startLoad();
    loads.push(load);
    return load;
  };

  const connected: Contestant[] = [];
  const away: Contestant[] = [];
  for (const rival of rivals) {
    const load = start();
    await load.ask("openSwarm", specify(rival, "connected", { hasPublishers: true, hasSubscribers: true }));
    connected.push({ name: rival.name, cpuMicroseconds: rival.cpuMicroseconds, run: runWith(load, 1) });

    const reader = start();
    const toReaders = specify(rival, "away", { hasPublishers: false, hasSubscribers: true });
    await reader.ask("openSwarm", toReaders);
    await reader.ask("closeSwarm");
    const writer = start();
    await writer.ask("openSwarm", specify(rival, "away", { hasPublishers: true, hasSubscribers: false }));
    const { cpuMicroseconds } = rival;
    const returning = toReaders.subscribers.map(({ connect }) => ({ connect }));
    away.push({ name: rival.name, cpuMicroseconds, run: runWith(writer, 0) });
    away.push({
      name: rival.name,
      cpuMicroseconds,
      async run(operations) {
        const { seconds, delivered } = await reader.ask("drain", { ...toReaders, subscribers: returning }, operations);
        return { seconds, latencies: [], done: delivered, share: delivered / operations };
      },
    });
  }

  const live = await measure(connected, plan.connected);
  for (const load of loads.filter((_, index) => index % 3 === 0)) await load.ask("closeSwarm");
  const kept = await measure(away, plan.away);
  for (const load of loads) await load.stop();
  for (const rival of rivals) await rival.stop();
  print(plan, live, kept);
}

function runWith(load: LoadChild, copies: number): Contestant["run"] {
  return async (operations) => {
    const { seconds, sent, delivered } = await load.ask("runSwarm", operations);
    return { seconds, latencies: [], done: sent, share: copies === 0 ? 1 : delivered / sent };
  };
}

function specify(
  rival: Rival,
  what: string,
  { hasPublishers, hasSubscribers }: { readonly hasPublishers: boolean; readonly hasSubscribers: boolean },
): SwarmSpec {
  const numbers = Array.from({ length: clients }, (_, index) => index);
  const topicOf = (index: number): string => `${BENCH_TOPICS}/stored/${what}-${index}`;
  return {
    port: rival.port,
    publishers: numbers
      .filter(() => hasPublishers)
      .map((index) => ({ connect: connectFrame(rival, `${what}-writer-${index}`), topic: topicOf(index) })),
    subscribers: numbers
      .filter(() => hasSubscribers)
      .map((index) => ({ connect: connectFrame(rival, `${what}-${index}`, false), filter: topicOf(index) })),
    qos: 1,
    payloadBytes,
    copies: hasSubscribers ? 1 : 0,
    window,
    lead: null,
  };
}

function print(plan: StoredPlan, live: readonly Measured[], kept: readonly Measured[]): void {
  printHeading("QoS 1 for stored sessions");
  printNote(
    `${clients} publishers, each to a client of its own with a stored session, window ${window}, payload ${payloadBytes} bytes: ` +
      `${plan.connected.rounds} rounds of ${plan.connected.operations} messages to clients that are connected, then ` +
      `${plan.away.rounds} rounds of ${plan.away.operations} messages to clients that are away, which then come back for ` +
      "them (CONNECT included). CPU of the broker in µs for a message, user and system: median (least–most) of the rounds; " +
      "the ratio is of CPU, round by round, to mosquitto with `persistence true`. Ours with default limits, but for the " +
      "packets a client may send in a second and the sessions it may keep.",
  );
  printNote(
    "They promise different things. Ours answers PUBLISH with PUBACK once the message is committed to disk, so that an end of " +
      "the process at any moment loses nothing it has acknowledged. mosquitto writes its file when it ends and every " +
      "`autosave_interval`, 30 minutes by default; between two of them its queues are in memory. Bare Aedes is here for scale: " +
      "its queues are in memory alone.",
  );
  const ofPhase = (phase: string, results: readonly Measured[]): string[][] => {
    const base = results.find(({ name }) => name === "mosquitto");
    return results.map((measured) => [
      phase,
      measured.name,
      formatCpu(measured, 1),
      base === undefined ? "" : cpuRatio(measured, base).toFixed(2),
      formatRate(measured),
      `${(median(measured.shares) * 100).toFixed(0)} %`,
    ]);
  };
  printTable(
    [
      ["case", "broker", "CPU µs", "ratio", "per s", "delivered"],
      ...ofPhase("connected", live),
      ...ofPhase(
        "queued while away",
        kept.filter((_, index) => index % 2 === 0),
      ),
      ...ofPhase(
        "fetched on return",
        kept.filter((_, index) => index % 2 === 1),
      ),
    ],
    [0, 1],
  );
}
