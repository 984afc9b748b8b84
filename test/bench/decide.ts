/**
 * The gate's decision for one publish, in nanoseconds of CPU. Topics are new strings each time, as a parser makes them, so
 * that a look-up has to hash them; what an empty loop over the same strings takes is subtracted.
 */
import { EventEmitter } from "node:events";
import type { Connection } from "../../broker/gate/connection.ts";
import { openGate } from "../../broker/gate/hooks.ts";
import { Session } from "../../broker/gate/session.ts";
import { createMemoryTrust } from "../../broker/trust/memory-trust.ts";
import type { Grant } from "../../shared/scope.ts";
import { median } from "./rounds.ts";
import { formatGoal, printHeading, printNote, printTable } from "./table.ts";

export interface DecidePlan {
  readonly rounds: number;
  readonly decisions: number;
}

const goalNanoseconds = 1000;
/** More than a session keeps decisions of, so that each one is forgotten before it comes again. */
const rotating = 300;
const clientId = "home.pi";

type Decide = (topic: string) => boolean;

interface Row {
  readonly name: string;
  readonly decide: Decide;
  readonly topics: readonly string[];
}

export function benchDecide(plan: DecidePlan): void {
  const one = ["home/pi/temperature"];
  const many = Array.from({ length: rotating }, (_, index) => `home/pi/sensor-${index}`);
  const rows: Row[] = [3, 50].flatMap((grants) => [
    { name: `may, same topic, ${grants} grants`, decide: askSession(grants), topics: one },
    { name: `may, ${rotating} topics in turn, ${grants} grants`, decide: askSession(grants), topics: many },
  ]);
  rows.push({ name: "publish hook, same topic, 3 grants", decide: askHook(3), topics: one });

  printHeading("Decision for one publish");
  printNote(
    `CPU in ns per decision, ${plan.rounds} rounds of ${plan.decisions}: median (least–most). Topics are new strings each ` +
      `time; the empty loop is subtracted. With one topic the session remembers its answer; with ${rotating} in turn it ` +
      "has forgotten each before it comes again. The grant that allows the topic is the last one. The ratio is to the " +
      "first row.",
  );
  const results = rows.map((row) => measureRow(row, plan));
  const first = median(results[0]!);
  const toRow = (values: readonly number[], index: number): string[] => [
    rows[index]!.name,
    `${median(values).toFixed(0)} (${Math.min(...values).toFixed(0)}–${Math.max(...values).toFixed(0)})`,
    (median(values) / first).toFixed(1),
    formatGoal(median(values), goalNanoseconds, " ns"),
  ];
  printTable([["decision", "CPU ns", "ratio", "goal"], ...results.map(toRow)], [0, 3]);
}

function measureRow({ decide, topics }: Row, { rounds, decisions }: DecidePlan): number[] {
  const nanoseconds: number[] = [];
  let allowed = 0;
  // the first round only warms up
  for (let round = 0; round <= rounds; round++) {
    const [forEmpty, forDecision] = [toFreshStrings(topics, decisions), toFreshStrings(topics, decisions)];
    const empty = spend(forEmpty, (topic) => topic.length > 0);
    const full = spend(forDecision, decide);
    allowed += full.yes;
    if (round > 0) nanoseconds.push(((full.cpuMicroseconds - empty.cpuMicroseconds) * 1000) / decisions);
  }
  if (allowed !== decisions * (rounds + 1)) throw new Error("a topic was refused");
  return nanoseconds;
}

function spend(topics: readonly string[], decide: Decide): { cpuMicroseconds: number; yes: number } {
  const before = process.cpuUsage();
  let yes = 0;
  for (const topic of topics) if (decide(topic)) yes++;
  const { user, system } = process.cpuUsage(before);
  return { cpuMicroseconds: user + system, yes };
}

/** Strings whose hash nobody has asked for yet. */
function toFreshStrings(topics: readonly string[], count: number): string[] {
  const bytes = topics.map((topic) => Buffer.from(topic));
  return Array.from({ length: count }, (_, index) => bytes[index % bytes.length]!.toString("utf8"));
}

function makeSession(count: number): { session: Session; connection: Connection } {
  const others = Array.from({ length: count - 1 }, (_, index) => ({ filter: `home/${index}/+`, pub: true, sub: true }));
  const grants: Grant[] = [...others, { filter: "home/pi/+", pub: true, sub: false }];
  const conn = new EventEmitter();
  const connection = { id: clientId, conn } as unknown as Connection;
  const rights = { kind: "roles", grants, expiresAt: Date.now() / 1000 + 3600 } as const;
  return { connection, session: new Session(connection, { ...rights, clientId, subject: clientId, address: "::1" }) };
}

function askSession(grants: number): Decide {
  const { session } = makeSession(grants);
  return (topic) => session.may("pub", topic);
}

/** The whole hook as the broker calls it: the look-up of the session, its expiry, the decision, the answer. */
function askHook(grants: number): Decide {
  const gate = openGate({ trust: createMemoryTrust({ issuer: "" }) });
  const { session, connection } = makeSession(grants);
  gate.sessions.open(session);
  const packet = { topic: "", payload: Buffer.alloc(0), retain: false };
  let isAllowed = false;
  const done = (error?: Error | null): void => {
    isAllowed = error === null;
  };
  return (topic) => {
    packet.topic = topic;
    gate.hooks.authorizePublish(connection, packet, done);
    return isAllowed;
  };
}
