/**
 * How long a message takes between two clients that do nobody any harm, while others keep the broker busy.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { BENCH_TOPICS, DEVICE, type Installation } from "../installation.ts";
import { median, quantile } from "../rounds.ts";
import { formatGoal, printHeading, printNote, printTable } from "../table.ts";
import type { CrowdSpec } from "./crowd.ts";
import { startLoad, type LoadChild } from "./load-child.ts";
import type { Watched } from "./pair.ts";
import { connectFrame, rivalNames, startRival, type Rival, type RivalName } from "./rivals.ts";
import type { SwarmSpec } from "./swarm.ts";

/** How much is measured. */
export interface LatencyPlan {
  readonly rounds: number;
  /** Of each disturbance. */
  readonly milliseconds: number;
  /** Until what lies between a flood and a client that does not read is full. */
  readonly fillMilliseconds: number;
  readonly reconnecting: number;
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

interface Disturbance {
  readonly name: string;
  /** Of its own quiet p99. */
  readonly goal?: number;
  /** What lies in sockets would keep the broker busy for long: the next disturbance finds a new one. */
  readonly leavesBacklog?: boolean;
  /** Keeps the broker busy; what `watch` is given is what is watched. */
  disturb(rival: Rival, load: LoadChild, watch: Watch): Promise<Watched>;
}

type Watch = (meanwhile: () => Promise<unknown>) => Promise<Watched>;

const everyMs = 5;
const pairTopic = `${BENCH_TOPICS}/pair`;
const flooders = 50;
const unreadFlooders = 20;
const unreadPerSecond = 5000;
const unreadPayloadBytes = 4096;
const floodMs = 200;
const warmUpClients = 200;
const warmUpMs = 500;
const reconnectAtATime = 250;
/** All of them come from one address here. */
const limits = { connectionsPerAddress: 1_000_000, connectsPerMinute: 1_000_000 };

export async function benchLatency(installation: Installation, plan: LatencyPlan, profileDir?: string): Promise<void> {
  const disturbances = listDisturbances(installation, plan);
  const names = rivalNames();
  const start = async (name: RivalName): Promise<Rival> => {
    const rival = await startRival(name, installation, { limits, profileDir });
    await warmUp(rival, installation);
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
        const watched = await watchOnce(rival, disturbance);
        const found = table.get(disturbance.name)!.get(name)!;
        const sorted = watched.latencies.toSorted((a, b) => a - b);
        const p99 = quantile(sorted, 0.99);
        if (disturbance === disturbances[0]) quiet.set(name, p99);
        found.p50.push(quantile(sorted, 0.5));
        found.p99.push(p99);
        found.ratios.push(p99 / quiet.get(name)!);
        found.worst = Math.max(found.worst, sorted.at(-1) ?? 0);
        found.missing += watched.missing;
        if (watched.isClosed || !rival.isRunning()) found.ended++;
        if (disturbance.leavesBacklog === true) await rival.kill();
      }
    }
  }
  for (const rival of rivals.values()) if (rival.isRunning()) await rival.stop();
  print(plan, disturbances, table);
}

/** So that what is measured first is not slower for being first. */
async function warmUp(rival: Rival, installation: Installation): Promise<void> {
  const disturb: Disturbance["disturb"] = async (_rival, load, watch) => {
    await load.ask("gather", specifyReturning(installation, rival, warmUpClients));
    const watched = await watch(async () => {
      await load.ask("grow", warmUpClients, 2);
      await sleep(warmUpMs);
    });
    await load.ask("leave");
    return watched;
  };
  await watchOnce(rival, { name: "", disturb });
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

function listDisturbances(installation: Installation, plan: LatencyPlan): Disturbance[] {
  const { milliseconds, fillMilliseconds, reconnecting } = plan;
  const wait = (): Promise<void> => sleep(milliseconds);
  const flood = async (load: LoadChild, spec: SwarmSpec, watch: Watch, beforehandMs: number): Promise<Watched> => {
    await load.ask("openSwarm", spec);
    await load.ask("floodWithSwarm");
    await sleep(beforehandMs);
    const watched = await watch(wait);
    await load.ask("breakOff");
    return watched;
  };
  return [
    { name: "nothing else", disturb: (_rival, _load, watch) => watch(wait) },
    {
      name: `${reconnecting} clients reconnect over TLS`,
      goal: 3,
      async disturb(rival, load, watch) {
        await load.ask("gather", specifyReturning(installation, rival, reconnecting));
        const watched = await watch(async () => {
          const { failed } = await load.ask("grow", reconnecting, reconnectAtATime);
          if (failed > 0) console.error(`${rival.name}: ${failed} of ${reconnecting} clients did not get in`);
        });
        await load.ask("leave");
        return watched;
      },
    },
    {
      name: `${flooders} clients flood one`,
      leavesBacklog: true,
      disturb: (rival, load, watch) => flood(load, specifyFlood(rival), watch, floodMs),
    },
    ...([0, 1] as const).map((qos): Disturbance => {
      return {
        name: `one stops reading, its topic is flooded, QoS ${qos}`,
        goal: 2,
        async disturb(rival, load, watch) {
          const [connect, filter] = [connectFrame(rival, "deaf"), `${BENCH_TOPICS}/deaf`];
          await load.ask("stopReading", { port: rival.port, connect, filter, qos });
          const watched = await flood(load, specifyUnread(rival, filter, qos), watch, fillMilliseconds);
          await load.ask("leaveDeaf");
          return watched;
        },
      };
    }),
  ];
}

function specifyReturning(installation: Installation, rival: Rival, clients: number): CrowdSpec {
  const { issuer, tlsPort } = rival;
  const tokens = issuer && Array.from({ length: clients }, () => installation.token(issuer));
  return {
    port: tlsPort,
    clientIdPrefix: `${DEVICE}:again-`,
    tls: { caPem: installation.caPem },
    ...(tokens && { proof: { tokens, keyPem: installation.deviceKeyPem } }),
  };
}

function specifyFlood(rival: Rival): SwarmSpec {
  const flooded = `${BENCH_TOPICS}/flood`;
  const publishers = Array.from({ length: flooders }, (_, index) => ({
    connect: connectFrame(rival, `flooder-${index}`),
    topic: flooded,
  }));
  const subscribers = [{ connect: connectFrame(rival, "flooded"), filter: flooded }];
  const rest = { qos: 0, payloadBytes: 64, copies: 1, window: 100, lead: null } as const;
  return { port: rival.port, publishers, subscribers, ...rest };
}

function specifyUnread(rival: Rival, topic: string, qos: 0 | 1): SwarmSpec {
  const publishers = Array.from({ length: unreadFlooders }, (_, index) => ({
    connect: connectFrame(rival, `flooder-${index}`),
    topic,
  }));
  const perSecond = unreadPerSecond / unreadFlooders;
  const rest = { payloadBytes: unreadPayloadBytes, copies: 0, window: 100, lead: null, perSecond };
  return { port: rival.port, publishers, subscribers: [], qos, ...rest };
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
      `address. Reconnecting: full TLS 1.3 handshakes, ${reconnectAtATime} at a time, to ours each with a token of its own and ` +
      "its proof, to the others with nothing. Flood: QoS 0, 64 bytes, as fast as the sockets take it, one subscriber that " +
      `reads. Not reading: ${unreadPerSecond} messages of ${unreadPayloadBytes} bytes in a second, of ${unreadFlooders} clients, for ` +
      "one that reads nothing; " +
      `the watch begins ${plan.fillMilliseconds / 1000} s later. The load runs at low priority beside the pair.`,
  );
  const rows = disturbances.flatMap(({ name, goal }) =>
    [...table.get(name)!].map(([rival, found]) => {
      const ratio = median(found.ratios);
      return [
        name,
        rival,
        median(found.p50).toFixed(2),
        median(found.p99).toFixed(2),
        ratio.toFixed(1),
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
