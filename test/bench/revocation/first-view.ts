/**
 * A broker elsewhere that starts: how long until it admits the first client, when it has to be told everything, and when it
 * has its copy.
 */
import { cpuMicrosecondsOf, residentBytesOf } from "../broker/cpu-time.ts";
import { startChild } from "../child.ts";
import { median } from "../rounds.ts";
import { printHeading, printNote, printTable } from "../table.ts";
import { furnishFleet } from "./fleet.ts";
import { fillList } from "./listed.ts";
import { untilAdmitted } from "./stage.ts";

/** How much is measured. */
export interface FirstViewPlan {
  readonly rounds: number;
  readonly views: readonly View[];
}

interface View {
  readonly clients: number;
  /** Tokens on the list. */
  readonly listed: number;
}

interface Started {
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly authorityCpuSeconds: number;
  readonly mebibytes: number;
}

export async function benchFirstView({ rounds, views }: FirstViewPlan): Promise<void> {
  const rows: string[][] = [];
  for (const view of views) {
    const [told, copied]: [Started[], Started[]] = [[], []];
    for (let round = 0; round < rounds; round++) {
      const [first, second] = await measure(view);
      told.push(first);
      copied.push(second);
    }
    rows.push(toRow(view, "told everything", told), toRow(view, "from its copy", copied));
  }
  printHeading("A broker elsewhere that starts");
  printNote(
    `From the start of the process to the first client that is admitted, the start of node itself included; ${rounds} rounds ` +
      "with new data directories, medians. “From its copy” is the second start in the same directory. CPU is user and system " +
      "time of the two processes until then; memory is resident memory of the broker at that moment.",
  );
  printTable([["clients", "tokens on the list", "start", "s", "CPU s", "authority CPU s", "MiB"], ...rows], [2]);
}

async function measure({ clients, listed }: View): Promise<[Started, Started]> {
  const fleet = await furnishFleet({ bearer: clients, bound: 0, certified: 0 });
  const { dataDir, brokerDir, httpPort, caPem, members } = fleet;
  fillList(dataDir, listed);
  const authority = await startChild("postern", dataDir, { httpPort });
  const start = async (): Promise<Started> => {
    const before = cpuMicrosecondsOf(authority.pid);
    const startedAt = performance.now();
    const broker = await startChild("broker", brokerDir);
    const { mqttPort, mqttsPort } = broker;
    await untilAdmitted({ mqttPort, mqttsPort, caPem }, members.at(-1)!);
    const started: Started = {
      seconds: (performance.now() - startedAt) / 1000,
      cpuSeconds: cpuMicrosecondsOf(broker.pid) / 1_000_000,
      authorityCpuSeconds: (cpuMicrosecondsOf(authority.pid) - before) / 1_000_000,
      mebibytes: residentBytesOf(broker.pid) / 1024 ** 2,
    };
    await broker.stop();
    return started;
  };
  const both: [Started, Started] = [await start(), await start()];
  await authority.stop();
  fleet.remove();
  return both;
}

function toRow({ clients, listed }: View, what: string, started: readonly Started[]): string[] {
  const pick = (read: (one: Started) => number): number => median(started.map(read));
  return [
    String(clients),
    String(listed),
    what,
    pick((one) => one.seconds).toFixed(2),
    pick((one) => one.cpuSeconds).toFixed(2),
    pick((one) => one.authorityCpuSeconds).toFixed(2),
    pick((one) => one.mebibytes).toFixed(0),
  ];
}
