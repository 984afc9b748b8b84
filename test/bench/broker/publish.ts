/**
 * PUBLISH from one to one, from one to a hundred, and from fifty that flood one, of QoS 0 and 1 over plain TCP: the CPU time
 * of the broker for each message that is delivered.
 */
import { BENCH_TOPICS, type Installation } from "../installation.ts";
import { cpuRatio, measure, median, type Contestant, type Measured, type Plan } from "../rounds.ts";
import { formatCpu, formatGoal, formatRate, printHeading, printNote, printTable } from "../table.ts";
import { startLoad, type LoadChild } from "./load-child.ts";
import type { SwarmSpec } from "./swarm.ts";
import { connectFrame, startRivals, type Rival } from "./rivals.ts";

/** How much is measured. */
export interface PublishPlan {
  readonly rounds: number;
  /** Published in each round, for each case. */
  readonly toOne: number;
  readonly toHundred: number;
  readonly steadySeconds: number;
  readonly floodRounds: number;
  readonly floodMessages: number;
}

interface Shape {
  readonly name: string;
  readonly publishers: number;
  readonly subscribers: number;
  readonly qos: 0 | 1;
  readonly floods?: boolean;
  /** One message at a time, so many in a second. */
  readonly perSecond?: number;
  /** Of the CPU time of bare Aedes. */
  readonly goal: number | undefined;
}

const window = 100;
/** In a flood fewer, so that all of them together fit into what a broker keeps for one client by default. */
const floodWindow = 10;
const lead = 500;
const payloadBytes = 64;
const topic = `${BENCH_TOPICS}/published`;
/** For the one publisher that is to publish as fast as it can. */
const limits = { packetsPerSecond: 10_000_000 };

const toOne = { publishers: 1, subscribers: 1, goal: 1 };
const toHundred = { publishers: 1, subscribers: 100, goal: 1 };
const flood = { publishers: 50, subscribers: 1, floods: true };
const shapes: readonly Shape[] = [
  { name: "1→1, QoS 0", qos: 0, ...toOne },
  { name: "1→1, QoS 1", qos: 1, ...toOne },
  { name: "1→100, QoS 0", qos: 0, ...toHundred },
  { name: "1→100, QoS 1", qos: 1, ...toHundred },
  { name: "1→1, QoS 0, 500 per s", qos: 0, ...toOne, perSecond: 500 },
  { name: "1→1, QoS 1, 500 per s", qos: 1, ...toOne, perSecond: 500 },
  { name: "1→100, QoS 0, 50 per s", qos: 0, ...toHundred, perSecond: 50 },
  { name: "1→100, QoS 1, 50 per s", qos: 1, ...toHundred, perSecond: 50 },
  { name: "50→1 flood, QoS 0", qos: 0, ...flood, goal: 0.2 },
  { name: "50→1 flood, QoS 1", qos: 1, ...flood, goal: undefined },
];

export async function benchPublish(installation: Installation, plan: PublishPlan, profileDir?: string): Promise<void> {
  const rivals = await startRivals(installation, { limits, profileDir });
  printHeading("PUBLISH");
  printNote(
    `${plan.rounds} rounds of ${plan.toOne} messages to one and of ${plan.toHundred} to a hundred, at a given rate of ` +
      `${plan.steadySeconds} s, in a flood ${plan.floodRounds} of ${plan.floodMessages}; payload ${payloadBytes} bytes, plain ` +
      "TCP, the clients of ours with a bearer token. CPU of the broker in µs for a message delivered to one subscriber, user " +
      "and system: median (least–most) of the rounds. The ratio is of CPU, round by round, to Aedes without hooks.",
  );
  printNote(
    `Of QoS 1 a publisher has ${window} messages unacknowledged, in a flood ${floodWindow}; of QoS 0 it is at most ${lead} ahead ` +
      "of what is delivered, but in a flood, where it writes whenever its socket takes it. So many messages arrive in one read " +
      "and can leave in one write, and that is what a broker at full speed saves most by; at a given rate messages come one " +
      "at a time, and each costs a read and as many writes as it has subscribers. “Delivered” is the part of what was sent that " +
      "arrived: QoS 0 for a reader that is far behind may be dropped. Ours with default limits, but for the packets a client " +
      "may send in a second, so that one publisher is not slowed down.",
  );
  const rows: string[][] = [];
  for (const shape of shapes) rows.push(...(await benchShape(shape, rivals, plan)));
  printTable([["case", "broker", "CPU µs", "ratio", "goal", "per s", "delivered"], ...rows], [0, 1, 4]);
  for (const rival of rivals) await rival.stop();
}

async function benchShape(shape: Shape, rivals: readonly Rival[], plan: PublishPlan): Promise<string[][]> {
  const loads: LoadChild[] = [];
  const contestants: Contestant[] = [];
  for (const rival of rivals) {
    const load = startLoad();
    loads.push(load);
    await load.ask("openSwarm", specify(shape, rival));
    let isWarm = false;
    contestants.push({
      name: rival.name,
      cpuMicroseconds: rival.cpuMicroseconds,
      async run(operations) {
        // what warms up does so at full speed
        const perSecond = isWarm ? shape.perSecond : undefined;
        isWarm = true;
        const { seconds, sent, delivered } =
          perSecond === undefined
            ? await load.ask("runSwarm", operations)
            : await load.ask("runSwarmSteadily", operations, perSecond);
        return { seconds, latencies: [], done: delivered, share: delivered / (sent * shape.subscribers) };
      },
    });
  }
  const results = await measure(contestants, planOf(shape, plan));
  for (const load of loads) {
    await load.ask("closeSwarm");
    await load.stop();
  }
  const bare = results[0]!;
  return results.map((measured) => toRow(shape, measured, bare));
}

function planOf({ subscribers, floods, perSecond }: Shape, plan: PublishPlan): Plan {
  const atOnce = subscribers === 1 ? plan.toOne : plan.toHundred;
  if (perSecond !== undefined) {
    return { rounds: plan.rounds, operations: Math.ceil(plan.steadySeconds * perSecond), warmUp: atOnce };
  }
  const [rounds, operations] = floods === true ? [plan.floodRounds, plan.floodMessages] : [plan.rounds, atOnce];
  return { rounds, operations, warmUp: operations };
}

function specify(shape: Shape, rival: Rival): SwarmSpec {
  const of = (what: string, count: number): { connect: Buffer }[] =>
    Array.from({ length: count }, (_, index) => ({ connect: connectFrame(rival, `${what}-${index}`) }));
  return {
    port: rival.port,
    publishers: of("publisher", shape.publishers).map((publisher) => ({ ...publisher, topic })),
    subscribers: of("subscriber", shape.subscribers).map((subscriber) => ({ ...subscriber, filter: topic })),
    qos: shape.qos,
    payloadBytes,
    copies: shape.subscribers,
    window: shape.floods === true ? floodWindow : window,
    lead: shape.floods === true ? null : lead,
  };
}

function toRow(shape: Shape, measured: Measured, bare: Measured): string[] {
  const ratio = cpuRatio(measured, bare);
  const goal = measured.name === "Postern" ? shape.goal : undefined;
  return [
    shape.name,
    measured.name,
    formatCpu(measured, 1),
    ratio.toFixed(2),
    goal === undefined ? "" : formatGoal(ratio, goal),
    formatRate(measured),
    `${(median(measured.shares) * 100).toFixed(0)} %`,
  ];
}
