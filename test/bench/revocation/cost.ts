/**
 * What a long list costs those who are not on it: CONNECT and PUBLISH with no, a thousand and a million revoked tokens.
 */
import { cpuMicrosecondsOf } from "../broker/cpu-time.ts";
import { writeConnect } from "../broker/frames.ts";
import { startLoad, type LoadChild } from "../broker/load-child.ts";
import type { SwarmSpec } from "../broker/swarm.ts";
import { startChild, type Child } from "../child.ts";
import { connectOnce, type Presented } from "../connect-load.ts";
import { BENCH_TOPICS, DEVICE, type Installation } from "../installation.ts";
import { measure, median, runWide, type Contestant, type Measured, type Plan } from "../rounds.ts";
import { formatCpu, printHeading, printNote, printTable } from "../table.ts";
import { copyWithList, type Copy } from "./listed.ts";

/** How much is measured. */
export interface CostPlan {
  /** Of the lists, beside two that are empty. */
  readonly lengths: readonly number[];
  readonly connect: Plan;
  readonly publish: Plan;
}

interface Server {
  readonly list: string;
  readonly copy: Copy;
  readonly child: Child;
  readonly load: LoadChild;
}

const atATime = 8;
const payloadBytes = 64;
const window = 100;
/** All come from one address, and one publisher is to be as fast as it can. */
const limits = { connectionsPerAddress: 1_000_000, connectsPerMinute: 1_000_000, packetsPerSecond: 10_000_000 };

export async function benchCost(installation: Installation, plan: CostPlan): Promise<void> {
  const servers: Server[] = [];
  for (const [index, length] of [0, 0, ...plan.lengths].entries()) {
    const copy = copyWithList(installation, length);
    const list = index === 1 ? "empty, another server" : length === 0 ? "empty" : String(length);
    servers.push({ list, copy, child: await startChild("postern", copy.dataDir, { limits }), load: startLoad() });
  }
  const cases = [
    { name: "CONNECT, every token new", plan: plan.connect, enter: enterConnect(installation, { isSame: false }) },
    { name: "CONNECT, the same token again", plan: plan.connect, enter: enterConnect(installation, { isSame: true }) },
    { name: "PUBLISH, QoS 0", plan: plan.publish, enter: enterPublish(installation, 0) },
    { name: "PUBLISH, QoS 1", plan: plan.publish, enter: enterPublish(installation, 1) },
  ];
  const rows: string[][] = [];
  for (const { name, plan: rounds, enter } of cases) {
    const contestants: Contestant[] = [];
    for (const server of servers) contestants.push(await enter(server));
    const results = await measure(contestants, rounds);
    rows.push(...toRows(name, servers, results));
    if (name.startsWith("PUBLISH")) for (const { load } of servers) await load.ask("closeSwarm");
  }
  for (const { child, copy, load } of servers) {
    await load.stop();
    await child.stop();
    copy.remove();
  }

  printHeading("What a long list costs");
  printNote(
    "Servers side by side with lists of revoked tokens, all of other clients; two of the lists are empty. " +
      `${plan.connect.rounds} rounds of ${plan.connect.operations} connections over plain TCP with a bearer token, ${atATime} at a ` +
      `time, each with CONNECT, CONNACK and DISCONNECT; ${plan.publish.rounds} rounds of ${plan.publish.operations} messages of ` +
      `${payloadBytes} bytes from one client to one other at full speed. CPU of the broker in µs for each, user and system: ` +
      "median (least–most) of the rounds. The ratio is of CPU, round by round, to the first server with an empty list: the " +
      "median, and in brackets between which two of its rounds the true one lies with 95 % certainty. Processes differ of " +
      "themselves, and the other server with an empty list says by how much. The goal is no difference that can be measured: " +
      "that the brackets overlap with those of that server.",
  );
  printTable([["case", "list", "CPU µs", "ratio", "goal"], ...rows], [0, 1, 4]);
}

let number = 0;

type Enter = (server: Server) => Contestant | Promise<Contestant>;

function enterConnect(installation: Installation, { isSame }: { readonly isSame: boolean }): Enter {
  return ({ child }) => enterOneConnect(installation, child, isSame);
}

function enterPublish(installation: Installation, qos: 0 | 1): Enter {
  return ({ child, load }) => enterOnePublish(installation, child, load, qos);
}

function enterOneConnect(installation: Installation, child: Child, isSame: boolean): Contestant {
  const issuer = `https://localhost:${child.httpPort}`;
  const bearer = (): string => Buffer.from(installation.bearerToken(issuer)).toString("base64url");
  const same = bearer();
  let presented: Presented[] = [];
  return {
    name: "",
    prepare(operations) {
      presented = Array.from({ length: operations }, () => {
        return { clientId: `${DEVICE}:${++number}`, username: "bearer", password: isSame ? same : bearer() };
      });
    },
    run: (operations) =>
      runWide(operations, atATime, (operation) => connectOnce({ port: child.mqttPort }, presented[operation]!)),
    cpuMicroseconds: () => cpuMicrosecondsOf(child.pid),
  };
}

async function enterOnePublish(
  installation: Installation,
  child: Child,
  load: LoadChild,
  qos: 0 | 1,
): Promise<Contestant> {
  const issuer = `https://localhost:${child.httpPort}`;
  const password = Buffer.from(installation.bearerToken(issuer)).toString("base64url");
  const connect = (): Buffer =>
    writeConnect({ clientId: `${DEVICE}:${++number}`, clean: true, username: "bearer", password });
  const topic = `${BENCH_TOPICS}/listed`;
  const publishers = [{ connect: connect(), topic }];
  const subscribers = [{ connect: connect(), filter: topic }];
  const spec: SwarmSpec = {
    port: child.mqttPort,
    publishers,
    subscribers,
    qos,
    payloadBytes,
    copies: 1,
    window,
    lead: 500,
  };
  await load.ask("openSwarm", spec);
  return {
    name: "",
    async run(operations) {
      const { seconds, delivered } = await load.ask("runSwarm", operations);
      return { seconds, latencies: [], done: delivered };
    },
    cpuMicroseconds: () => cpuMicrosecondsOf(child.pid),
  };
}

function toRows(name: string, servers: readonly Server[], results: readonly Measured[]): string[][] {
  const digits = name.startsWith("PUBLISH") ? 2 : 0;
  const [base, control] = results as [Measured, Measured];
  const natural = compare(control, base);
  return results.map((measured, index) => {
    const { middle, low, high } = compare(measured, base);
    const isLike = low <= natural.high && high >= natural.low;
    return [
      name,
      servers[index]!.list,
      formatCpu(measured, digits),
      index === 0 ? "1.00" : `${middle.toFixed(2)} (${low.toFixed(2)}–${high.toFixed(2)})`,
      index < 2 ? "" : `goal no difference: ${isLike ? "met" : "not met"}`,
    ];
  });
}

/** The median of the ratios, and the order statistics that enclose the true one with 95 % certainty. */
function compare(a: Measured, b: Measured): { readonly middle: number; readonly low: number; readonly high: number } {
  const ratios = a.cpu.map((cpu, round) => cpu / b.cpu[round]!).toSorted((one, other) => one - other);
  const outside = Math.max(0, Math.floor((ratios.length - 1.96 * Math.sqrt(ratios.length)) / 2));
  return { middle: median(ratios), low: ratios[outside]!, high: ratios.at(-1 - outside)! };
}
