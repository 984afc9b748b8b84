/**
 * How long a session outlives the answer to the call that took its access back: on a broker in the process of the authority
 * and on one elsewhere that follows it, one call at a time.
 */
import { formatGoal, printHeading, printNote, printTable } from "../table.ts";
import type { FleetSize, Member } from "./fleet.ts";
import { formatMilliseconds, spread, type Spread } from "./milliseconds.ts";
import type { Ended } from "./sessions.ts";
import { goals, places, setStage, type Calls, type Place, type Stage } from "./stage.ts";

/** How much is measured. */
export interface LatencyPlan {
  readonly size: FleetSize;
  /** Of each kind, one at a time. */
  readonly calls: number;
}

interface Kind {
  readonly session: string;
  readonly kind: Member["kind"];
  readonly revoked: Exclude<keyof Calls, "clients">;
}

const pauseMs = 5;
const kinds: readonly Kind[] = [
  { session: "plain TCP, bearer token", kind: "bearer", revoked: "token" },
  { session: "plain TCP, bearer token", kind: "bearer", revoked: "client" },
  { session: "TLS, token and proof", kind: "bound", revoked: "token" },
  { session: "TLS, token and proof", kind: "bound", revoked: "client" },
  { session: "TLS, certificate", kind: "certified", revoked: "certificate" },
  { session: "TLS, certificate", kind: "certified", revoked: "client" },
];

export async function benchLatency(plan: LatencyPlan, profileDir?: string): Promise<void> {
  const { bearer, bound, certified } = plan.size;
  const rows: string[][] = [];
  const loads: string[] = [];
  for (const place of places) {
    const stage = await setStage(place, plan.size, profileDir);
    const startedAt = performance.now();
    const before = await stage.cpuMicroseconds();
    for (const { kind, found } of await measure(stage, plan.calls)) rows.push(toRow(place, kind, found));
    const after = await stage.cpuMicroseconds();
    const microseconds = (performance.now() - startedAt) * 1000;
    const share = (name: keyof typeof after): string =>
      `${(((after[name] - before[name]) / microseconds) * 100).toFixed(0)} %`;
    const elsewhere = place === "same process" ? "" : `, the broker elsewhere ${share("broker")}`;
    loads.push(`${place}: the authority ${share("authority")}${elsewhere}, the load generator ${share("load")}`);
    await stage.stop();
  }

  printHeading("One revocation at a time");
  printNote(
    `${bearer} sessions over plain TCP with a bearer token each, ${bound} over TLS 1.3 with a token and its proof, ${certified} over ` +
      `TLS 1.3 with a device certificate alone; each of a client of its own, all connected to one broker throughout. ${plan.calls} ` +
      "calls of each kind with the admin key on a connection that stays, one at a time. “Call” is from the request to its " +
      "answer, “closed” from that answer to the moment in which the client's socket sees the end; where it saw it before the " +
      "answer arrived, that counts as 0, “before” says how often, and the column after it counts from the request. All are read " +
      "from one clock, in the process that calls and holds the sessions. The goal is for p99 of “closed”.",
  );
  printTable(
    [
      [
        "broker",
        "session",
        "revoked",
        "call p50 ms",
        "p99",
        "closed p50 ms",
        "p99",
        "longest",
        "before",
        "from request, p99",
        "goal",
      ],
      ...rows,
    ],
    [0, 1, 2, 10],
  );
  printNote(`CPU meanwhile, of one core: ${loads.join("; ")}.`);
}

interface Found {
  readonly call: Spread;
  readonly closed: Spread;
  /** From the request. */
  readonly whole: Spread;
  /** The part of the sessions that ended before the call was answered. */
  readonly before: number;
}

async function measure(stage: Stage, calls: number): Promise<{ readonly kind: Kind; readonly found: Found }[]> {
  const measured: { kind: Kind; found: Found }[] = [];
  const used = new Set<Member>();
  for (const kind of kinds) {
    const chosen = stage.fleet.members
      .filter((member) => member.kind === kind.kind && !used.has(member))
      .slice(0, calls);
    if (chosen.length < calls) throw new Error(`fewer than ${calls} sessions are left: ${kind.session}`);
    for (const member of chosen) used.add(member);
    const ended = await stage.load.ask(
      "revoke",
      chosen.map((member) => stage.calls[kind.revoked](member)),
      pauseMs,
    );
    measured.push({ kind, found: sum(ended) });
  }
  return measured;
}

function sum(ended: readonly Ended[]): Found {
  const missing = ended.reduce((total, one) => total + one.missing, 0);
  if (missing > 0) throw new Error(`${missing} sessions were not closed`);
  const after = ended.flatMap((one) => one.after);
  return {
    call: spread(ended.map(({ call }) => call)),
    closed: spread(after.map((milliseconds) => Math.max(0, milliseconds))),
    whole: spread(ended.flatMap((one) => one.after.map((milliseconds) => one.call + milliseconds))),
    before: after.filter((milliseconds) => milliseconds < 0).length / after.length,
  };
}

function toRow(place: Place, { session, revoked }: Kind, { call, closed, whole, before }: Found): string[] {
  return [
    place,
    session,
    revoked,
    formatMilliseconds(call.p50),
    formatMilliseconds(call.p99),
    formatMilliseconds(closed.p50),
    formatMilliseconds(closed.p99),
    formatMilliseconds(closed.longest),
    `${(before * 100).toFixed(0)} %`,
    formatMilliseconds(whole.p99),
    formatGoal(closed.p99, goals[place], " ms"),
  ];
}
