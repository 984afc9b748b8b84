/**
 * Clients: who gets tokens. A client's id is `<project>.<name>`, for ever: a deleted client leaves its name behind, so
 * that nobody else becomes who it was, and all that it held is dead with it.
 */
import { assertName, readClientId } from "../../shared/names.ts";
import { refuse } from "../../shared/refusal.ts";
import { MAX_ENTRIES } from "./apis.ts";
import { ADMIN, audit } from "./audit.ts";
import { statement } from "../sqlite/database.ts";
import type { ClientTrust } from "../trust/trust.ts";
import { grantsByApi } from "./grants.ts";
import { nextBound, type TokenSelection } from "./issued.ts";
import { assertGrants, assertGrantsOf, countClient, countGrants } from "./project-bounds.ts";
import { getProject } from "./projects.ts";
import { deleteKeys, replaceKeys } from "./public-keys.ts";
import type { Registry } from "./registry.ts";
import { createSecret, deleteSecrets } from "./secrets.ts";
import { noteChange } from "./trust-changes.ts";
import { listSelected } from "./unlisted.ts";

/** The three kinds of clients; a device has a key, the others a secret or a key. */
export type ClientKind = "device" | "service" | "app";

/** A client on record. */
export interface Client {
  readonly id: string;
  readonly project: string;
  readonly name: string;
  readonly kind: ClientKind;
  readonly enabled: boolean;
  /** Names of its roles, sorted. */
  readonly roles: readonly string[];
  readonly createdAt: number;
  /** Tokens with this number or a lower one were taken back. */
  readonly tokensAfter: number;
}

/** What a client is created from. */
export interface NewClient {
  readonly project: string;
  readonly name: string;
  readonly kind: ClientKind;
  readonly roles?: readonly string[] | undefined;
  /** JWKs by which it proves itself. */
  readonly keys?: readonly unknown[] | undefined;
}

/**
 * A service or app without keys gets a secret, which is in this answer and nowhere else. Throws `registry.not-found`
 * (project), `registry.invalid`, `key.*`, `limit.reached`, and `registry.conflict`, that also for a deleted client.
 */
export function createClient(
  r: Registry,
  { project, name, kind, roles = [], keys = [] }: NewClient,
  actor: string = ADMIN,
): { readonly client: Client; readonly secret?: string } {
  getProject(r, project);
  assertName(name);
  return r.change(() => {
    const id = `${project}.${name}`;
    const added = statement(
      r.db,
      `INSERT INTO client (project, name, kind, enabled, created_at) VALUES (?, ?, ?, 1, ?) ON CONFLICT DO NOTHING`,
    ).run(project, name, kind, r.nowSeconds());
    if (added.changes === 0) refuse("registry.conflict", `client ${id} exists or existed`);
    countClient(r, project, 1);
    addRoles(r, project, name, roles);
    audit(r, { event: "client.created", actor, subject: id, facts: { kind, roles } });
    announceClient(r, id);
    const client = getClient(r, id);
    const owner = { project, client: name };
    if (keys.length > 0) replaceKeys(r, owner, keys, actor);
    if (kind === "device" || keys.length > 0) return { client };
    return { client, secret: createSecret(r, owner, {}, actor).secret };
  });
}

/** By name, from the one after `after` on. */
export function listClients(
  r: Registry,
  project: string,
  page: { readonly limit?: number; readonly after?: string | undefined } = {},
): Client[] {
  getProject(r, project);
  return statement<ClientRow>(
    r.db,
    `${select} WHERE project = ? AND deleted_at IS NULL AND name > ? ORDER BY name LIMIT ?`,
  )
    .all(project, page.after ?? "", page.limit ?? -1)
    .map(toClient);
}

/** Throws `registry.not-found`. */
export function getClient(r: Registry, id: string): Client {
  return findClient(r, id) ?? refuse("registry.not-found", `no client ${id}`);
}

/** The client, disabled or not; nothing for one that never was or is deleted, or for what is not a client id. */
export function findClient(r: Registry, id: string): Client | undefined {
  const parts = splitId(id);
  if (parts === undefined) return undefined;
  return r.remember(`client ${id}`, () => {
    const found = statement<ClientRow>(r.db, `${select} WHERE project = ? AND name = ? AND deleted_at IS NULL`);
    const row = found.get(parts.project, parts.name);
    return row === undefined ? undefined : toClient(row);
  });
}

/** The client that may act now. Throws `client.unknown` and `client.disabled`. */
export function getLiveClient(r: Registry, id: string): Client {
  const client = findClient(r, id) ?? refuse("client.unknown", id.slice(0, 100));
  return client.enabled ? client : refuse("client.disabled", id);
}

/**
 * Lets a client in again, or refuses it and takes back every token that it has. In a change that is durable the second
 * survives a power cut as well. Throws `registry.not-found`.
 */
export function setClientEnabled(r: Registry, id: string, enabled: boolean, actor: string = ADMIN): Client {
  return r.change(() => {
    const { project, name, enabled: before } = getClient(r, id);
    if (!enabled) {
      const tokens = disableClient(r, id, actor);
      if (tokens !== undefined) listSelected(r, [tokens]);
    } else if (!before) {
      const set = statement(r.db, `UPDATE client SET enabled = 1, disabled_at = NULL WHERE project = ? AND name = ?`);
      set.run(project, name);
      audit(r, { event: "client.enabled", actor, subject: id });
      announceClient(r, id);
    }
    return getClient(r, id);
  });
}

/**
 * Refuses a client from now on; gives its tokens to be put on the list, or nothing where it was disabled already. Call it
 * within a change. Throws `registry.not-found`.
 */
export function disableClient(r: Registry, id: string, actor: string = ADMIN): TokenSelection | undefined {
  const { project, name, enabled, tokensAfter } = getClient(r, id);
  if (!enabled) return undefined;
  const bound = nextBound(r, tokensAfter);
  statement(
    r.db,
    `UPDATE client SET enabled = 0, disabled_at = ?, tokens_after = ? WHERE project = ? AND name = ?`,
  ).run(r.nowSeconds(), bound, project, name);
  audit(r, { event: "client.disabled", actor, subject: id });
  announceClient(r, id);
  return { kind: "client", name: id, bound };
}

/**
 * Replaces the roles that it holds. Throws `registry.not-found`, and `registry.invalid` for a role that is not there and for
 * more permissions than a client may have.
 */
export function setClientRoles(r: Registry, id: string, roles: readonly string[], actor: string = ADMIN): Client {
  return r.change(() => {
    const { project, name } = getClient(r, id);
    const before = countGrants(r, project, name);
    statement(r.db, `DELETE FROM client_role WHERE project = ? AND client = ?`).run(project, name);
    addRoles(r, project, name, roles, before);
    audit(r, { event: "client.roles-changed", actor, subject: id, facts: { roles } });
    announceClient(r, id);
    return getClient(r, id);
  });
}

/** Leaves the name taken and nothing else; takes back what {@link setClientEnabled} does. Throws `registry.not-found`. */
export function deleteClient(r: Registry, id: string, actor: string = ADMIN): void {
  r.change(() => {
    const { project, name, tokensAfter } = getClient(r, id);
    const bound = nextBound(r, tokensAfter);
    statement(r.db, `DELETE FROM client_role WHERE project = ? AND client = ?`).run(project, name);
    statement(
      r.db,
      `UPDATE client SET enabled = 0, deleted_at = ?, tokens_after = ? WHERE project = ? AND name = ?`,
    ).run(r.nowSeconds(), bound, project, name);
    countClient(r, project, -1);
    deleteSecrets(r, { project, client: name });
    deleteKeys(r, { project, client: name });
    audit(r, { event: "client.deleted", actor, subject: id });
    announceClient(r, id);
    listSelected(r, [{ kind: "client", name: id, bound }]);
  });
}

/**
 * Gives the client roles of its own project, those that it holds already included. Call it within a change. `before`: the
 * permissions that it has had, where these are not those that it has now. Throws `registry.invalid`.
 */
export function addRoles(
  r: Registry,
  project: string,
  name: string,
  roles: readonly string[],
  before: number = countGrants(r, project, name),
): void {
  assertKnownRoles(r, project, roles);
  const add = statement(
    r.db,
    `INSERT INTO client_role (project, client, role) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`,
  );
  for (const role of roles) add.run(project, name, role);
  assertGrants(r, project, name, before);
}

/** Throws `registry.invalid` unless all are roles of the project, and a new client may hold them. */
export function assertRoles(r: Registry, project: string, roles: readonly string[]): void {
  assertKnownRoles(r, project, roles);
  assertGrantsOf(r, project, roles);
}

function assertKnownRoles(r: Registry, project: string, roles: readonly string[]): void {
  if (roles.length > MAX_ENTRIES) refuse("registry.invalid", `roles: at most ${MAX_ENTRIES}`);
  const known = statement(r.db, `SELECT 1 FROM role WHERE project = ? AND name = ?`);
  roles.forEach((role, index) => {
    if (known.get(project, role) === undefined) {
      refuse("registry.invalid", `roles.${index}: no role ${role.slice(0, 64)} in project ${project}`);
    }
  });
}

/** Says within a change that the client is not what it was; the sink is told after the commit, a broker elsewhere when it asks. */
export function announceClient(r: Registry, id: string): void {
  noteChange(r, "client", id);
  r.afterCommit(() => tellClient(r, id));
}

/** The same for all who hold the role. */
export function announceHolders(r: Registry, project: string, role: string): void {
  const holders = statement<string>(r.db, `SELECT client FROM client_role WHERE project = ? AND role = ?`).pluck();
  for (const name of holders.all(project, role)) announceClient(r, `${project}.${name}`);
}

/** What a gate must know of a client; nothing for one that never was or is deleted. */
export function readClientTrust(r: Registry, id: string): ClientTrust | undefined {
  const client = findClient(r, id);
  return client && toTrust(r, client);
}

/** Tells the sink all clients. */
export function tellClients(r: Registry): void {
  for (const row of statement<ClientRow>(r.db, `${select} WHERE deleted_at IS NULL`).all()) {
    r.sink.learnClient(toTrust(r, toClient(row)));
  }
}

function tellClient(r: Registry, id: string): void {
  const trust = readClientTrust(r, id);
  if (trust === undefined) r.sink.forgetClient(id);
  else r.sink.learnClient(trust);
}

function toTrust(r: Registry, { id, enabled, tokensAfter }: Client): ClientTrust {
  return { id, enabled, grants: grantsByApi(r, id), tokensAfter };
}

const select = `
  SELECT project, name, kind, enabled, created_at, tokens_after,
    (SELECT json_group_array(role ORDER BY role) FROM client_role
     WHERE client_role.project = client.project AND client_role.client = client.name) AS roles
  FROM client`;

interface ClientRow {
  readonly project: string;
  readonly name: string;
  readonly kind: ClientKind;
  readonly enabled: number;
  readonly created_at: number;
  readonly tokens_after: number;
  readonly roles: string;
}

function toClient(row: ClientRow): Client {
  return {
    id: `${row.project}.${row.name}`,
    project: row.project,
    name: row.name,
    kind: row.kind,
    enabled: row.enabled === 1,
    roles: JSON.parse(row.roles) as string[],
    createdAt: row.created_at,
    tokensAfter: row.tokens_after,
  };
}

function splitId(id: string): { readonly project: string; readonly name: string } | undefined {
  try {
    return readClientId(id);
  } catch {
    return undefined;
  }
}
