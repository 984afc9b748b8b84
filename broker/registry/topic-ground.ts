/**
 * Which topics a project may have. The topics of all projects lie in one tree, and grants say nothing of projects: what two
 * projects share, the people of each could read and write. So no filter of one may meet a filter of another.
 */
import { FilterSet } from "../../shared/filter-set.ts";
import { refuse } from "../../shared/refusal.ts";
import { intersectFilters } from "../../shared/topic.ts";
import { statement } from "../sqlite/database.ts";
import type { Registry } from "./registry.ts";

/**
 * Who says which topics: `administrator`, any that are free; `developer`, of these only such as begin with the name of their
 * project, so that nobody takes what others will want, or finds out what others have.
 */
export type Founder = "administrator" | "developer";

/** Throws `registry.conflict` for topics of another project, and `registry.invalid` for what a developer does not get. */
export function assertFreeGround(
  r: Registry,
  { project, topics }: { readonly project: string; readonly topics: readonly string[] },
  founder: Founder,
): void {
  if (topics.length === 0) return;
  for (const [index, topic] of topics.entries()) {
    if (founder === "administrator" || firstOf(topic) === project) continue;
    refuse("registry.invalid", `topics.${index}: the first level is the name of the project`);
  }
  const asked = new FilterSet(topics);
  const others = `SELECT value FROM api, json_each(api.topics) WHERE api.kind = 'mqtt' AND api.project <> ?`;
  for (const { value } of statement<{ readonly value: string }>(r.db, others).iterate(project)) {
    const met = asked.meeting(value).find((topic) => intersectFilters(topic, value) !== undefined);
    if (met !== undefined) {
      refuse("registry.conflict", `topics.${topics.indexOf(met)}: it meets topics of another project`);
    }
  }
}

function firstOf(filter: string): string {
  return filter.split("/", 1)[0]!;
}
