/**
 * What an api needs of its own, beside what its clients need: a credential by which its resource server asks about tokens, and
 * topics that no other project has. The topics of all projects lie in one tree, and grants say nothing of projects.
 */
import { FilterSet } from "../shared/filter-set.ts";
import { intersectFilters } from "../shared/topic.ts";
import { route, type AdminClient } from "./admin-client.ts";
import type { PublicKey, Secret } from "./credentials.ts";
import { good, unseen, warning, type Finding } from "./doctor-check.ts";

/** An api as the authority shows it. */
export interface Api {
  readonly name: string;
  readonly kind: string;
  readonly audience: string;
  readonly topics: readonly string[];
  readonly ttl_seconds: number;
  readonly bearer: boolean;
}

/** Two apis of two projects, and a filter that matches what both have. */
interface Overlap {
  /** `<project>/<api>`, in alphabetical order. */
  readonly apis: readonly [string, string];
  readonly topics: string;
}

/** Overlaps that are named; the others are counted. */
const mostNamed = 3;

/**
 * Whether the resource server of each of these apis of kind http could ask, by a secret or by a key. No more than a warning:
 * one that looks at the keys alone needs neither, and hears of no revoked token.
 */
export async function verifierCheck(admin: AdminClient, project: string, apis: readonly Api[]): Promise<Finding> {
  const asking = apis.filter(({ kind }) => kind === "http");
  if (asking.length === 0) return unseen("no api of kind http was looked at");
  const found: string[] = [];
  for (const { name } of asking) {
    const base = route`/v1/projects/${project}/apis/${name}`;
    const secrets = await admin.list<Secret>(`${base}/secrets`);
    const secret = secrets.find(({ status }) => status === "valid");
    const keys = secret === undefined ? await admin.list<PublicKey>(`${base}/keys`) : [];
    if (secret === undefined && keys.length === 0) {
      const what = secrets.length > 0 ? "no secret that is valid any more" : "no credential";
      const mend = `postern secret create --api ${name} --project ${project}`;
      return warning(`the resource server of ${project}/${name} has ${what} to ask about tokens with`, mend);
    }
    const held = secret === undefined ? `${keys.length} public ${keys.length === 1 ? "key" : "keys"}` : "a secret";
    found.push(`${project}/${name} has ${held}`);
  }
  return good(found.join(", "));
}

/** Whether no topic is of two projects; of one project alone where it is named. */
export async function topicsCheck(
  admin: AdminClient,
  { seesAll, project }: { readonly seesAll: boolean; readonly project: string | undefined },
): Promise<Finding> {
  if (!seesAll) return unseen("only the holder of the admin key sees all projects");
  const topicsOf = new Map<string, readonly string[]>();
  for (const { slug } of await admin.list<{ slug: string }>(route`/v1/projects`)) {
    const apis = await admin.list<Api>(route`/v1/projects/${slug}/apis`);
    for (const { name, topics } of apis) if (topics.length > 0) topicsOf.set(`${slug}/${name}`, topics);
  }
  if (topicsOf.size === 0) return unseen("there is no api of kind mqtt");
  const isAsked = (api: string): boolean => project === undefined || projectOf(api) === project;
  const overlaps = findOverlaps(topicsOf).filter(({ apis }) => apis.some(isAsked));
  if (overlaps.length === 0) return good("no topic is of two projects");
  const named = overlaps.slice(0, mostNamed).map(({ apis: [a, b], topics }) => `${a} and ${b} both have ${topics}`);
  const more = overlaps.length > mostNamed ? `; and ${overlaps.length - mostNamed} more pairs` : "";
  return warning(`${named.join("; ")}${more}: clients of one project can be let read and write what is the other's`);
}

/** Each two apis of two projects that share a topic, once. */
export function findOverlaps(topicsOf: ReadonlyMap<string, readonly string[]>): Overlap[] {
  const owners = new Map<string, string[]>();
  for (const [api, topics] of topicsOf) {
    for (const topic of new Set(topics)) owners.set(topic, [...(owners.get(topic) ?? []), api]);
  }
  const all = new FilterSet([...owners.keys()]);
  const found = new Map<string, Overlap>();
  for (const [api, topics] of topicsOf) {
    for (const topic of topics) {
      for (const met of all.meeting(topic)) {
        const both = intersectFilters(topic, met);
        if (both === undefined) continue;
        for (const other of owners.get(met)!) {
          const isSecond = other > api && projectOf(other) !== projectOf(api);
          const pair = `${api} ${other}`;
          if (isSecond && !found.has(pair)) found.set(pair, { apis: [api, other], topics: both });
        }
      }
    }
  }
  return [...found.values()].toSorted((a, b) => (a.apis.join(" ") < b.apis.join(" ") ? -1 : 1));
}

function projectOf(api: string): string {
  return api.slice(0, api.indexOf("/"));
}
