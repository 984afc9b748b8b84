/**
 * Which topics a project may have. The topics of all projects lie in one tree, and grants say nothing of projects: what two
 * projects share, the people of each could read and write. So no filter of one may meet a filter of another.
 */
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
  const theirs = readTopicsBeside(r, project);
  for (const [index, topic] of topics.entries()) {
    if (meetsAny(topic, theirs)) refuse("registry.conflict", `topics.${index}: it meets topics of another project`);
  }
}

/** Filters by their first level: of most projects that is their own name, which tells them from all others. */
type ByFirst = ReadonlyMap<string, readonly string[]>;

function meetsAny(topic: string, theirs: ByFirst): boolean {
  const first = firstOf(topic);
  const near = isWildcard(first) ? [...theirs.values()] : [first, "+", "#"].map((level) => theirs.get(level) ?? []);
  return near.some((filters) => filters.some((filter) => intersectFilters(topic, filter) !== undefined));
}

function readTopicsBeside(r: Registry, project: string): ByFirst {
  const sql = `SELECT value FROM api, json_each(api.topics) WHERE api.kind = 'mqtt' AND api.project <> ?`;
  const byFirst = new Map<string, string[]>();
  for (const { value } of statement<{ readonly value: string }>(r.db, sql).iterate(project)) {
    const first = firstOf(value);
    const beside = byFirst.get(first);
    if (beside === undefined) byFirst.set(first, [value]);
    else beside.push(value);
  }
  return byFirst;
}

function firstOf(filter: string): string {
  const end = filter.indexOf("/");
  return end < 0 ? filter : filter.slice(0, end);
}

function isWildcard(level: string): boolean {
  return level === "+" || level === "#";
}
