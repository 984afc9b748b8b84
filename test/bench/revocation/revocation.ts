/**
 * Taking access back: `npm run bench -- revocation`, or one case of it as `revocation:<case>`.
 */
import type { Installation } from "../installation.ts";
import { benchCost, type CostPlan } from "./cost.ts";
import { benchFeed, type FeedPlan } from "./feed.ts";
import { benchFirstView, type FirstViewPlan } from "./first-view.ts";
import { benchLatency, type LatencyPlan } from "./latency.ts";
import { benchMany, type ManyPlan } from "./many.ts";
import { benchMillion, type MillionPlan } from "./million.ts";

/** How much of each case is measured. */
export interface RevocationPlan {
  readonly latency: LatencyPlan;
  readonly many: ManyPlan;
  readonly cost: CostPlan;
  readonly feed: FeedPlan;
  readonly million: MillionPlan;
  readonly start: FirstViewPlan;
}

type Bench = (installation: Installation, plan: RevocationPlan, profileDir?: string) => Promise<void>;

const cases = {
  latency: (_, plan, profileDir) => benchLatency(plan.latency, profileDir),
  many: (_, plan, profileDir) => benchMany(plan.many, profileDir),
  cost: (installation, plan) => benchCost(installation, plan.cost),
  feed: (_, plan) => benchFeed(plan.feed),
  million: (installation, plan) => benchMillion(installation, plan.million),
  start: (_, plan) => benchFirstView(plan.start),
} satisfies Record<string, Bench>;

export type RevocationCase = keyof typeof cases;

/** The cases, in the order in which they are measured. */
export const revocationCases = Object.keys(cases) as RevocationCase[];

/** Measures some of the cases. */
export async function benchRevocation(
  installation: Installation,
  plan: RevocationPlan,
  chosen: readonly RevocationCase[],
  profileDir?: string,
): Promise<void> {
  for (const name of chosen) {
    if (chosen.length > 1) console.error(`measuring revocation:${name} …`);
    await cases[name](installation, plan, profileDir);
  }
}
