/**
 * How large a project may grow, and how much a client may be allowed. These are not settings: what one project costs the others,
 * in memory and in time, stays within them.
 *
 * What is on record beyond a bound, from before there was one, stays and goes on working; only what makes it grow is refused.
 */
import { refuse } from "../../shared/refusal.ts";
import { statement } from "../sqlite/database.ts";
import type { Registry } from "./registry.ts";

/** Apis, roles and clients of one project; a deleted client does not count. */
export const projectBounds = { api: 100, role: 500, client: 50_000 } as const;
/** Permissions of all roles that one client holds, as many as a token has room for. */
export const MAX_CLIENT_GRANTS = 256;

const counted = new WeakMap<Registry, Map<string, number>>();

/** Call it within a change, when the api or role is there. Throws `limit.reached` where it is one too many. */
export function assertRoomFor(r: Registry, kind: "api" | "role", project: string): void {
  const count = statement<number>(r.db, `SELECT count(*) FROM ${kind} WHERE project = ?`).pluck();
  assertWithinBound(kind, project, count.get(project)!);
}

/**
 * Counts a client that came (1) or went (-1); call it within a change, when that is done. Throws `limit.reached` where it came
 * and is one too many. They are counted in memory: each name ever taken stays on record, so that reading them all for every
 * new one would cost more and more.
 */
export function countClient(r: Registry, project: string, by: 1 | -1): void {
  let counts = counted.get(r);
  if (counts === undefined) counted.set(r, (counts = new Map<string, number>()));
  const before = counts.get(project);
  r.ifUndone(() => (before === undefined ? counts.delete(project) : counts.set(project, before)));
  const clients = before === undefined ? readClients(r, project) : before + by;
  counts.set(project, clients);
  if (by === 1) assertWithinBound("client", project, clients);
}

/** Permissions of the roles that the client holds. */
export function countGrants(r: Registry, project: string, client: string): number {
  const sum = statement<number>(
    r.db,
    `SELECT coalesce(sum(json_array_length(role.permissions)), 0) FROM client_role
     JOIN role ON role.project = client_role.project AND role.name = client_role.role
     WHERE client_role.project = ? AND client_role.client = ?`,
  ).pluck();
  return sum.get(project, client)!;
}

/** Throws `registry.invalid` where the client is allowed too much, and more than the `before` that it was. */
export function assertGrants(r: Registry, project: string, client: string, before: number): void {
  const grants = countGrants(r, project, client);
  if (grants > before) assertFewGrants("roles", grants);
}

/** The same for who is given these roles and has none. */
export function assertGrantsOf(r: Registry, project: string, roles: readonly string[]): void {
  const length = statement<number>(
    r.db,
    `SELECT json_array_length(permissions) FROM role WHERE project = ? AND name = ?`,
  ).pluck();
  let grants = 0;
  for (const role of new Set(roles)) grants += length.get(project, role) ?? 0;
  assertFewGrants("roles", grants);
}

/** The same for all who hold a role that has become longer. */
export function assertGrantsOfHolders(r: Registry, project: string, role: string): void {
  const most = statement<number>(
    r.db,
    `WITH size AS MATERIALIZED (
       SELECT name, json_array_length(permissions) AS entries FROM role WHERE project = @project
     )
     SELECT sum(size.entries) AS grants FROM client_role AS holder
     JOIN client_role AS held ON held.project = holder.project AND held.client = holder.client
     JOIN size ON size.name = held.role
     WHERE holder.project = @project AND holder.role = @role
     GROUP BY holder.client ORDER BY grants DESC LIMIT 1`,
  ).pluck();
  assertFewGrants("permissions", most.get({ project, role }) ?? 0, " of a client that holds the role");
}

function assertFewGrants(field: string, grants: number, whose = ""): void {
  if (grants <= MAX_CLIENT_GRANTS) return;
  const says = `at most ${MAX_CLIENT_GRANTS} permissions in all roles${whose || " of a client"}`;
  refuse("registry.invalid", `${field}: ${says}, these come to ${grants}`);
}

function assertWithinBound(kind: keyof typeof projectBounds, project: string, count: number): void {
  const most = projectBounds[kind];
  if (count > most) refuse("limit.reached", `at most ${most} ${kind}s in project ${project}`);
}

function readClients(r: Registry, project: string): number {
  const sql = `SELECT count(*) FROM client WHERE project = ? AND deleted_at IS NULL`;
  return statement<number>(r.db, sql).pluck().get(project)!;
}
