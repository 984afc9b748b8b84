/**
 * A thousand clients taken back in one call: how long the call takes, and how long until the last of their sessions is over.
 */
import { median } from "../rounds.ts";
import { formatGoal, printHeading, printNote, printTable } from "../table.ts";
import type { FleetSize } from "./fleet.ts";
import { formatMilliseconds, spread } from "./milliseconds.ts";
import type { Ended } from "./sessions.ts";
import { goals, places, setStage } from "./stage.ts";

/** How much is measured. */
export interface ManyPlan {
  readonly size: FleetSize;
  /** Clients in one call. */
  readonly clients: number;
  readonly calls: number;
}

const pauseMs = 200;

export async function benchMany({ size, clients, calls }: ManyPlan, profileDir?: string): Promise<void> {
  const rows: string[][] = [];
  for (const place of places) {
    const stage = await setStage(place, size, profileDir);
    const { members } = stage.fleet;
    if (members.length <= clients * calls) throw new Error("fewer clients than are to be revoked");
    const revocations = Array.from({ length: calls }, (_, index) =>
      stage.calls.clients(members.slice(index * clients, (index + 1) * clients)),
    );
    const before = await stage.cpuMicroseconds();
    const ended: Ended[] = [];
    const waits: number[] = [];
    for (const revocation of revocations) {
      const neighbour = await stage.openNeighbour(members.at(-1)!);
      ended.push(...(await stage.load.ask("revoke", [revocation], pauseMs)));
      waits.push(await neighbour.stop());
    }
    const after = await stage.cpuMicroseconds();
    await stage.stop();

    const missing = ended.reduce((total, one) => total + one.missing, 0);
    if (missing > 0) throw new Error(`${missing} sessions were not closed`);
    const closed = ended.map((one) => spread(one.after.map((milliseconds) => Math.max(0, milliseconds))));
    const last = median(closed.map(({ longest }) => longest));
    const cpu = (["authority", "broker"] as const).map((name) => (after[name] - before[name]) / calls / clients);
    rows.push([
      place,
      formatMilliseconds(median(ended.map(({ call }) => call))),
      formatMilliseconds(median(closed.map(({ p50 }) => p50))),
      formatMilliseconds(last),
      formatGoal(last, goals[place], " ms"),
      formatMilliseconds(median(waits)),
      cpu[0]!.toFixed(0),
      place === "same process" ? "" : cpu[1]!.toFixed(0),
    ]);
  }

  printHeading("Many clients in one call");
  printNote(
    `${size.bearer} sessions over plain TCP with a bearer token, each of a client of its own; ${clients} clients disabled in one call, ` +
      `${calls} calls, medians of them. “Closed” is from the answer of the call to the moment in which the client's socket sees ` +
      "the end, 0 where that was before the answer; for half of them, and for the last. The goal is for the last, though it is " +
      "only set for single revocations. “Others wait” is the longest time in which another client of " +
      "the same broker had no answer to its PINGREQ. CPU in µs for each client, user and system, from the call to the last of " +
      "what follows it.",
  );
  printTable(
    [
      [
        "broker",
        "call ms",
        "closed, half",
        "closed, last",
        "goal",
        "others wait",
        "authority CPU µs",
        "broker elsewhere",
      ],
      ...rows,
    ],
    [0, 4],
  );
}
