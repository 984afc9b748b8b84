/**
 * The broker beside others: `npm run bench -- broker`, or one case of it as `broker:<case>`.
 */
import { benchConnect } from "../connect.ts";
import type { Installation } from "../installation.ts";
import type { Plan } from "../rounds.ts";
import { printNote } from "../table.ts";
import { benchLatency, type LatencyPlan } from "./latency.ts";
import { benchMemory, type MemoryPlan } from "./memory.ts";
import { mosquittoVersion } from "./mosquitto.ts";
import { benchPublish, type PublishPlan } from "./publish.ts";
import { benchStored, type StoredPlan } from "./stored.ts";

/** How much of each case is measured. */
export interface BrokerPlan {
  readonly publish: PublishPlan;
  readonly connect: Plan;
  readonly memory: MemoryPlan;
  readonly stored: StoredPlan;
  readonly latency: LatencyPlan;
}

type Bench = (installation: Installation, plan: BrokerPlan, profileDir?: string) => Promise<void>;

const cases = {
  publish: (installation, plan, profileDir) => benchPublish(installation, plan.publish, profileDir),
  connect: (installation, plan, profileDir) => benchConnect(installation, plan.connect, profileDir),
  memory: (installation, plan) => benchMemory(installation, plan.memory),
  stored: (installation, plan, profileDir) => benchStored(installation, plan.stored, profileDir),
  latency: (installation, plan, profileDir) => benchLatency(installation, plan.latency, profileDir),
} satisfies Record<string, Bench>;

export type BrokerCase = keyof typeof cases;

/** The cases, in the order in which they are measured. */
export const brokerCases = Object.keys(cases) as BrokerCase[];

/** Measures some of the cases. */
export async function benchBroker(
  installation: Installation,
  plan: BrokerPlan,
  chosen: readonly BrokerCase[],
  profileDir?: string,
): Promise<void> {
  const version = mosquittoVersion();
  printNote(version === undefined ? "mosquitto is not installed and left out." : `Aedes 1.2.0, mosquitto ${version}.`);
  for (const name of chosen) {
    if (chosen.length > 1) console.error(`measuring broker:${name} …`);
    await cases[name](installation, plan, profileDir);
  }
}
