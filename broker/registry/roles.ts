/**
 * Roles: named lists of permissions on one api of the same project.
 *
 * Each permission of a role on an `mqtt` api lies within one of the api's topic filters, whatever the placeholders
 * become. Placeholders are filled when a client's grants are asked for, so a changed role changes all who hold it.
 */
import { assertName } from "../../shared/names.ts";
import { Refusal, refuse } from "../../shared/refusal.ts";
import { expandGrants, formatPermission, parsePermission, type Grant } from "../../shared/scope.ts";
import { AUTHZ_INFO, covers } from "../../shared/topic.ts";
import { getApi, isReserved, MAX_ENTRIES, type Api } from "./apis.ts";
import { ADMIN, audit } from "./audit.ts";
import { announceHolders } from "./clients.ts";
import { assertGrantsOfHolders, assertRoomFor } from "./project-bounds.ts";
import { statement } from "../sqlite/database.ts";
import { getProject } from "./projects.ts";
import type { Registry } from "./registry.ts";

/** A role on record. */
export interface Role {
  readonly project: string;
  readonly name: string;
  /** Name of the api. */
  readonly api: string;
  /** What an `mqtt` role permits; filters may hold placeholders. */
  readonly permissions: readonly Grant[];
  /** What an `http` role permits. */
  readonly scopes: readonly string[];
  readonly createdAt: number;
}

/** What a role is created from. */
export interface NewRole {
  readonly project: string;
  readonly name: string;
  readonly api: string;
  readonly permissions?: readonly Grant[] | undefined;
  readonly scopes?: readonly string[] | undefined;
}

/** Throws `registry.not-found` (project), `registry.invalid`, `registry.conflict` and `limit.reached`. */
export function createRole(r: Registry, asked: NewRole, actor: string = ADMIN): Role {
  getProject(r, asked.project);
  assertName(asked.name);
  const role = { ...readContents(r, asked), createdAt: r.nowSeconds() };
  return r.change(() => {
    const added = statement(
      r.db,
      `INSERT INTO role (project, name, api, permissions, scopes, created_at) VALUES (?, ?, ?, ?, ?, ?)
       ON CONFLICT DO NOTHING`,
    ).run(role.project, role.name, role.api, toText(role), JSON.stringify(role.scopes), role.createdAt);
    if (added.changes === 0) refuse("registry.conflict", `role ${role.project}.${role.name} exists`);
    assertRoomFor(r, "role", role.project);
    audit(r, { event: "role.created", actor, subject: `${role.project}.${role.name}`, facts: factsOf(role) });
    return role;
  });
}

/**
 * Replaces the permissions (and the api, where one is named). Throws `registry.not-found` and `registry.invalid`, that also
 * where the role becomes longer and who holds it has no room for that.
 */
export function updateRole(
  r: Registry,
  asked: Omit<NewRole, "api"> & { readonly api?: string | undefined },
  actor: string = ADMIN,
): Role {
  const old = getRole(r, asked.project, asked.name);
  const role = { ...readContents(r, { ...asked, api: asked.api ?? old.api }), createdAt: old.createdAt };
  return r.change(() => {
    statement(r.db, `UPDATE role SET api = ?, permissions = ?, scopes = ? WHERE project = ? AND name = ?`).run(
      role.api,
      toText(role),
      JSON.stringify(role.scopes),
      role.project,
      role.name,
    );
    if (role.permissions.length > old.permissions.length) assertGrantsOfHolders(r, role.project, role.name);
    audit(r, { event: "role.updated", actor, subject: `${role.project}.${role.name}`, facts: factsOf(role) });
    announceHolders(r, role.project, role.name);
    return role;
  });
}

/** By name. Throws `registry.not-found` (project). */
export function listRoles(r: Registry, project: string): Role[] {
  getProject(r, project);
  return statement<RoleRow>(r.db, `SELECT * FROM role WHERE project = ? ORDER BY name`).all(project).map(toRole);
}

/** Throws `registry.not-found`. */
export function getRole(r: Registry, project: string, name: string): Role {
  const row = statement<RoleRow>(r.db, `SELECT * FROM role WHERE project = ? AND name = ?`).get(project, name);
  return row === undefined ? refuse("registry.not-found", `no role ${project}.${name}`) : toRole(row);
}

/** Checks what a role says against its api. */
function readContents(r: Registry, { project, name, api, permissions = [], scopes = [] }: NewRole): NewRole & Contents {
  const found = findNamedApi(r, project, api);
  const [has, hasNot] =
    found.kind === "mqtt" ? (["permissions", "scopes"] as const) : (["scopes", "permissions"] as const);
  const counts = { permissions: permissions.length, scopes: scopes.length };
  if (counts[has] === 0) refuse("registry.invalid", `${has}: a role on an api of kind ${found.kind} has at least one`);
  if (counts[hasNot] > 0) refuse("registry.invalid", `${hasNot}: a role on an api of kind ${found.kind} has none`);
  if (counts[has] > MAX_ENTRIES) refuse("registry.invalid", `${has}: at most ${MAX_ENTRIES}`);
  permissions.forEach((grant, index) => assertWithinApi(grant, found, `permissions.${index}`));
  scopes.forEach((scope, index) => {
    if (!found.scopes.includes(scope)) refuse("registry.invalid", `scopes.${index}: not a scope of api ${api}`);
  });
  return { project, name, api, permissions, scopes: [...new Set(scopes)] };
}

function findNamedApi(r: Registry, project: string, api: string): Api {
  try {
    return getApi(r, project, api);
  } catch (error) {
    if (error instanceof Refusal) refuse("registry.invalid", `api: no api ${api} in project ${project}`);
    throw error;
  }
}

function assertWithinApi(grant: Grant, api: Api, field: string): void {
  try {
    parsePermission(formatPermission(grant));
  } catch (error) {
    refuse("registry.invalid", `${field}: ${error instanceof Refusal ? error.detail : "not a permission"}`);
  }
  if (isReserved(grant.filter)) refuse("registry.invalid", `${field}: ${AUTHZ_INFO} belongs to the broker`);
  // two clients: a topic of the api may by chance hold the name of one of them as a level
  for (const name of ["a", "b"]) {
    const [{ filter }] = expandGrants([grant], `${api.project}.${name}`) as [Grant];
    if (!api.topics.some((topic) => covers(topic, filter))) {
      refuse("registry.invalid", `${field}: ${grant.filter} is not within the topics of api ${api.name}`);
    }
  }
}

interface Contents {
  readonly permissions: readonly Grant[];
  readonly scopes: readonly string[];
}

interface RoleRow {
  readonly project: string;
  readonly name: string;
  readonly api: string;
  readonly permissions: string;
  readonly scopes: string;
  readonly created_at: number;
}

function toRole(row: RoleRow): Role {
  return {
    project: row.project,
    name: row.name,
    api: row.api,
    permissions: fromText(row.permissions),
    scopes: JSON.parse(row.scopes) as string[],
    createdAt: row.created_at,
  };
}

function factsOf({ api, permissions, scopes }: Role): Record<string, unknown> {
  return { api, permissions: permissions.map(formatPermission), scopes };
}

function toText({ permissions }: Contents): string {
  return JSON.stringify(permissions.map(formatPermission));
}

function fromText(text: string): Grant[] {
  return (JSON.parse(text) as string[]).map(parsePermission);
}
