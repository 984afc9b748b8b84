/**
 * Which topics a project may have. The topics of all projects lie in one tree, and grants say nothing of projects: what two
 * projects share, the people of each could read and write. So no filter of one may meet a filter of another.
 */
import { refuse } from "../../shared/refusal.ts";
import { intersectFilters } from "../../shared/topic.ts";
import { statement } from "../sqlite/database.ts";
import type { Registry } from "./registry.ts";

/**
 * Whose filters these are to be: `administrator`, any that are free; `developer`, of these only such as begin with a name that
 * is not another project's, so that nobody shuts out projects that are there, or takes all that is left.
 */
export type Founder = "administrator" | "developer";

/** Throws `registry.conflict` for topics of another project, and `registry.invalid` for too much at once. */
export function assertFreeGround(
  r: Registry,
  { project, topics }: { readonly project: string; readonly topics: readonly string[] },
  founder: Founder,
): void {
  const theirs = readTopicsBeside(r, project);
  for (const [index, topic] of topics.entries()) {
    const [first] = topic.split("/", 1);
    if (founder === "developer" && (first === "" || first === "#" || first === "+")) {
      refuse("registry.invalid", `topics.${index}: the first level is a name, that of the project for one`);
    }
    const isNamed = founder === "developer" && first !== project && isProject(r, first!);
    if (isNamed || theirs.some((their) => intersectFilters(topic, their) !== undefined)) {
      refuse("registry.conflict", `topics.${index}: it meets topics of another project`);
    }
  }
}

function isProject(r: Registry, name: string): boolean {
  return statement(r.db, `SELECT 1 FROM project WHERE slug = ?`).get(name) !== undefined;
}

function readTopicsBeside(r: Registry, project: string): string[] {
  const sql = `SELECT value AS topic FROM api, json_each(api.topics) WHERE api.kind = 'mqtt' AND api.project <> ?`;
  return statement<{ readonly topic: string }>(r.db, sql)
    .all(project)
    .map(({ topic }) => topic);
}
