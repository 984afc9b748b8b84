/**
 * How long a message takes between two clients that do nobody any harm, while others keep the broker busy.
 */
import type { Installation } from "../installation.ts";
import { BENCH_TOPICS } from "../installation.ts";
import { median, quantile } from "../rounds.ts";
import { formatGoal, printHeading, printNote, printTable } from "../table.ts";
import {
  describeDisturbances,
  listDisturbances,
  warmUp,
  type Disturbance,
  type DisturbancePlan,
} from "./disturbances.ts";
import { startLoad } from "./load-child.ts";
import type { Watched } from "./pair.ts";
import { connectFrame, rivalNames, startRival, type Rival, type RivalName } from "./rivals.ts";

/** How much is measured. */
export interface LatencyPlan extends DisturbancePlan {
  readonly rounds: number;
}

/** What one disturbance did to the pair of one broker, round by round. */
interface Found {
  readonly p50: number[];
  readonly p99: number[];
  readonly ratios: number[];
  worst: number;
  missing: number;
  /** Rounds in which the pair was disconnected or the broker ended. */
  ended: number;
}

const everyMs = 5;
const pairTopic = `${BENCH_TOPICS}/pair`;
/** All of them come from one address here. */
const limits = { connectionsPerAddress: 1_000_000, connectsPerMinute: 1_000_000 };

export async function benchLatency(installation: Installation, plan: LatencyPlan, profileDir?: string): Promise<void> {
  const disturbances = listDisturbances(installation, plan);
  const names = rivalNames();
  const start = async (name: RivalName): Promise<Rival> => {
    const rival = await startRival(name, installation, { limits, profileDir });
    await watchOnce(rival, warmUp(installation));
    return rival;
  };
  const rivals = new Map<RivalName, Rival>();
  for (const name of names) rivals.set(name, await start(name));
  const table = new Map(
    disturbances.map(({ name }) => [
      name,
      new Map(
        names.map((rival): [RivalName, Found] => [
          rival,
          { p50: [], p99: [], ratios: [], worst: 0, missing: 0, ended: 0 },
        ]),
      ),
    ]),
  );

  for (let round = 0; round < plan.rounds; round++) {
    const quiet = new Map<RivalName, number>();
    for (const disturbance of disturbances) {
      for (const name of names) {
        if (!rivals.get(name)!.isRunning()) rivals.set(name, await start(name));
        const rival = rivals.get(name)!;
        const found = table.get(disturbance.name)!.get(name)!;
        const watched = await watchOnce(rival, disturbance).catch((error: unknown) => {
          console.error(`${name}, ${disturbance.name}: ${(error as Error).message}`);
          return undefined;
        });
        if (watched === undefined) {
          // it ended, or answers nobody any more: the next disturbance finds a new one
          found.ended++;
          await rival.kill();
          continue;
        }
        const sorted = watched.latencies.toSorted((a, b) => a - b);
        const p99 = quantile(sorted, 0.99);
        if (disturbance === disturbances[0]) quiet.set(name, p99);
        found.p50.push(quantile(sorted, 0.5));
        found.p99.push(p99);
        found.ratios.push(p99 / quiet.get(name)!);
        found.worst = Math.max(found.worst, sorted.at(-1) ?? 0);
        found.missing += watched.missing;
        if (watched.isClosed || !rival.isRunning()) found.ended++;
        // what lies in its sockets would keep it busy for long: the next disturbance finds a new one
        if (disturbance.leavesBacklog === true || watched.missing > 0) await rival.kill();
      }
    }
  }
  for (const rival of rivals.values()) if (rival.isRunning()) await rival.stop();
  print(plan, disturbances, table);
}

async function watchOnce(rival: Rival, disturbance: Disturbance): Promise<Watched> {
  const [pair, load] = [startLoad(), startLoad()];
  try {
    await load.ask("yieldToOthers");
    const [publisher, subscriber] = [connectFrame(rival, "pair-publisher"), connectFrame(rival, "pair-subscriber")];
    await pair.ask("openPair", { port: rival.port, publisher, subscriber, topic: pairTopic, everyMs });
    await pair.ask("settle");
    return await disturbance.disturb(rival, load, async (meanwhile) => {
      await pair.ask("beginWatch");
      await meanwhile();
      return pair.ask("finishWatch");
    });
  } finally {
    await load.stop();
    await pair.stop();
  }
}

function print(
  plan: LatencyPlan,
  disturbances: readonly Disturbance[],
  table: ReadonlyMap<string, ReadonlyMap<RivalName, Found>>,
): void {
  printHeading("Latency for others");
  printNote(
    `Two clients in a process of their own, plain TCP, one message of QoS 1 and 64 bytes every ${everyMs} ms; how long it takes ` +
      `from one to the other, ${plan.rounds} rounds of ${plan.milliseconds / 1000} s, or of as long as the reconnecting takes. ` +
      "Milliseconds, medians of the rounds; the ratio is of p99 to the broker's own quiet p99 in the same round. A message that " +
      "has not arrived at the end counts as having taken until then. Ours with default limits, but for connections of one " +
      `address. ${describeDisturbances(plan)}`,
  );
  const rows = disturbances.flatMap(({ name, goal }) =>
    [...table.get(name)!].map(([rival, found]) => {
      const ratio = median(found.ratios);
      return [
        name,
        rival,
        format(median(found.p50), 2),
        format(median(found.p99), 2),
        format(ratio, 1),
        rival === "Postern" && goal !== undefined ? formatGoal(ratio, goal) : "",
        found.worst.toFixed(0),
        found.missing === 0 ? "" : String(found.missing),
        found.ended === 0 ? "" : `${found.ended} of ${plan.rounds}`,
      ];
    }),
  );
  printTable(
    [["meanwhile", "broker", "p50", "p99", "ratio", "goal", "longest", "not arrived", "disconnected"], ...rows],
    [0, 1, 5],
  );
}

/** A dash where nothing was found. */
function format(value: number, digits: number): string {
  return Number.isNaN(value) ? "–" : value.toFixed(digits);
}
