/**
 * The provider's side over HTTPS: `npm run bench -- http`, or one case of it as `http:<case>`.
 */
import type { Installation } from "../installation.ts";
import type { Plan } from "../rounds.ts";
import { benchHttpIntrospect } from "./introspect.ts";
import { benchHttpIssue } from "./issue.ts";
import { benchHttpLocal } from "./local.ts";
import { benchHttpMemory, type MemoryPlan } from "./memory.ts";

/** How much of each case is measured. */
export interface HttpPlan {
  readonly issue: Plan;
  readonly introspect: Plan;
  readonly local: Plan;
  readonly memory: MemoryPlan;
}

type Bench = (installation: Installation, plan: HttpPlan, profileDir?: string) => Promise<void>;

const cases = {
  issue: (installation, plan, profileDir) => benchHttpIssue(installation, plan.issue, profileDir),
  introspect: (installation, plan, profileDir) => benchHttpIntrospect(installation, plan.introspect, profileDir),
  local: (installation, plan) => benchHttpLocal(installation, plan.local),
  memory: (installation, plan) => benchHttpMemory(installation, plan.memory),
} satisfies Record<string, Bench>;

export type HttpCase = keyof typeof cases;

/** The cases, in the order in which they are measured. */
export const httpCases = Object.keys(cases) as HttpCase[];

/** Measures some of the cases. */
export async function benchHttp(
  installation: Installation,
  plan: HttpPlan,
  chosen: readonly HttpCase[],
  profileDir?: string,
): Promise<void> {
  for (const name of chosen) {
    if (chosen.length > 1) console.error(`measuring http:${name} …`);
    await cases[name](installation, plan, profileDir);
  }
}
