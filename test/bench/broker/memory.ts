/**
 * What a connection that does nothing takes of the broker's memory, over plain TCP and over TLS with a client certificate.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { DEVICE, type Installation } from "../installation.ts";
import { median } from "../rounds.ts";
import { formatGoal, printHeading, printNote, printTable } from "../table.ts";
import type { CrowdSpec } from "./crowd.ts";
import { startLoad } from "./load-child.ts";
import { rivalNames, startRival, type Rival, type RivalName } from "./rivals.ts";

/** How much is measured. */
export interface MemoryPlan {
  readonly connections: number;
  readonly rounds: number;
  readonly mutualRounds: number;
}

/** Of one broker and one kind of connection; one entry a round, in bytes. */
interface Found {
  readonly name: RivalName;
  /** Of all connections, to the broker when nobody was connected yet, for each. */
  readonly each: number[];
  /** The same of the last four fifths of them. */
  readonly more: number[];
  readonly all: number[];
}

const goalRatio = 1.05;
const goalKibibytes = 70;
const atATime = 16;
const settleMs = 300;
/** All of them come from one address here. */
const limits = { connectionsPerAddress: 1_000_000, connectsPerMinute: 1_000_000 };

export async function benchMemory(installation: Installation, plan: MemoryPlan): Promise<void> {
  const plain = await measureKind(installation, plan.connections, plan.rounds, toPlain);
  const mutual = await measureKind(installation, plan.connections, plan.mutualRounds, (rival) =>
    toMutual(installation, rival),
  );
  printHeading("Memory of idle connections");
  printNote(
    `${plan.connections} connections that are accepted and then silent; ${plan.rounds} rounds over plain TCP (ours with a ` +
      `bearer token), ${plan.mutualRounds} over TLS 1.3 with a client certificate, each with new processes. Resident memory in ` +
      "KiB after garbage collection, less what the process had before anybody connected, for each connection: median of the " +
      "rounds. “More” counts from the first fifth of the connections on, and so leaves out what the first ones cost once. " +
      "The ratio, round by round, is to Aedes without hooks.",
  );
  printTable(
    [
      ["connection", "broker", "KiB each", "ratio", "goal", "more", "whole process, MiB"],
      ...toRows("plain", plain, (ratio) => formatGoal(ratio, goalRatio)),
      ...toRows("TLS, certificate", mutual, (_ratio, kibibytes) => formatGoal(kibibytes, goalKibibytes, " KiB")),
    ],
    [0, 1, 4],
  );
}

async function measureKind(
  installation: Installation,
  connections: number,
  rounds: number,
  specify: (rival: Rival) => CrowdSpec,
): Promise<Found[]> {
  const found = rivalNames().map((name): Found => ({ name, each: [], more: [], all: [] }));
  for (let round = 0; round < rounds; round++) {
    for (const { name, each, more, all } of found) {
      const rival = await startRival(name, installation, { canCollect: true, limits });
      const load = startLoad();
      const read = async (): Promise<number> => {
        await sleep(settleMs);
        return rival.residentBytes();
      };
      await load.ask("gather", specify(rival));
      const empty = await read();
      const first = Math.floor(connections / 5);
      await growBy(first);
      const some = await read();
      await growBy(connections - first);
      const full = await read();
      each.push((full - empty) / connections);
      more.push((full - some) / (connections - first));
      all.push(full);
      await load.stop();
      await rival.stop();

      async function growBy(clients: number): Promise<void> {
        const { failed } = await load.ask("grow", clients, atATime);
        if (failed > 0) throw new Error(`${name} did not let in ${failed} of ${clients}`);
      }
    }
  }
  return found;
}

function toPlain(rival: Rival): CrowdSpec {
  return { port: rival.port, clientIdPrefix: `${DEVICE}:`, ...rival.login };
}

function toMutual({ caPem, device }: Installation, rival: Rival): CrowdSpec {
  return { port: rival.mutualPort, clientIdPrefix: `${DEVICE}:`, tls: { caPem, identity: device } };
}

function toRows(
  connection: string,
  found: readonly Found[],
  judge: (ratio: number, kibibytes: number) => string,
): string[][] {
  const bare = found[0]!;
  return found.map(({ name, each, more, all }) => {
    const ratio = median(each.map((bytes, round) => bytes / bare.each[round]!));
    const kibibytes = median(each) / 1024;
    return [
      connection,
      name,
      kibibytes.toFixed(1),
      ratio.toFixed(2),
      name === "Postern" ? judge(ratio, kibibytes) : "",
      (median(more) / 1024).toFixed(1),
      (median(all) / 1024 ** 2).toFixed(0),
    ];
  });
}
