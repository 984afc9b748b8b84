/**
 * What a client's roles come to: permissions of all its roles, placeholders filled; scopes for an api of kind http.
 *
 * Permissions are kept once a role, and filled for a client when somebody asks: a role has thousands of holders, of which few
 * are connected or want a token.
 */
import { readClientId } from "../../shared/names.ts";
import { expandGrants, gatherGrants, mergeGrants, parsePermission, type Grant } from "../../shared/scope.ts";
import type { ApiGrants } from "../trust/trust.ts";
import type { Api } from "./apis.ts";
import { statement } from "../sqlite/database.ts";
import type { Registry } from "./registry.ts";

/** What the client's roles allow on one api, in the fewest entries. Nothing for the api of another project. */
export function grantsFor(r: Registry, clientId: string, api: Api): readonly Grant[] {
  const { project, name } = readClientId(clientId);
  if (project !== api.project) return [];
  const found = r.remember(`grants ${clientId} ${api.name}`, () => {
    const roles = statement<string>(r.db, held("name")).pluck().all(project, name, api.name);
    return new HeldGrants(api.audience, clientId, readRoles(r, project, roles));
  });
  return found.merged;
}

/** The scopes that the client's roles allow on one api, in the order of the api. None for the api of another project. */
export function scopesFor(r: Registry, clientId: string, api: Api): readonly string[] {
  const { project, name } = readClientId(clientId);
  if (project !== api.project) return [];
  return r.remember(`scopes ${clientId} ${api.name}`, () => {
    const texts = statement<string>(r.db, held("scopes")).pluck().all(project, name, api.name);
    const allowed = new Set(texts.flatMap((text) => JSON.parse(text) as string[]));
    return api.scopes.filter((scope) => allowed.has(scope));
  });
}

/** What the client's roles allow on each api of kind `mqtt` that they allow anything on: one entry a filter. */
export function grantsByApi(r: Registry, clientId: string): ApiGrants[] {
  const { project, name } = readClientId(clientId);
  const rows = statement<{ audience: string; role: string }>(
    r.db,
    `SELECT api.audience, role.name AS role FROM client_role
     JOIN role ON role.project = client_role.project AND role.name = client_role.role
     JOIN api ON api.project = role.project AND api.name = role.api
     WHERE client_role.project = ? AND client_role.client = ? AND api.kind = 'mqtt' ORDER BY api.audience, role.name`,
  ).all(project, name);
  const byAudience = new Map<string, string[]>();
  for (const { audience, role } of rows) {
    const roles = byAudience.get(audience);
    if (roles === undefined) byAudience.set(audience, [role]);
    else roles.push(role);
  }
  return [...byAudience].map(([audience, roles]) => new HeldGrants(audience, clientId, readRoles(r, project, roles)));
}

/** The permissions of a role as they once were; never changed. Two with the same text are alike. */
class RolePermissions {
  readonly text: string;
  #parsed: readonly Grant[] | undefined;

  /** `text`: a JSON list of permissions, empty for a role of kind `http`. */
  constructor(text: string) {
    this.text = text;
  }

  get permissions(): readonly Grant[] {
    return (this.#parsed ??= (JSON.parse(this.text) as string[]).map(parsePermission));
  }
}

/**
 * What the roles of one client allow on one api, from the roles as they were when it was made. It is filled when it is asked
 * for and not kept for long, and two are alike when their roles are, so that whoever compares them fills nothing.
 */
class HeldGrants implements ApiGrants {
  readonly audience: string;
  readonly clientId: string;
  readonly roles: readonly RolePermissions[];
  #merged: WeakRef<readonly Grant[]> | undefined;

  constructor(audience: string, clientId: string, roles: readonly RolePermissions[]) {
    this.audience = audience;
    this.clientId = clientId;
    this.roles = roles;
  }

  /** One entry a filter. What others cover is not looked for: that costs more than it saves whoever asks once. */
  get grants(): readonly Grant[] {
    return gatherGrants(this.#fill());
  }

  /** The fewest entries; the same list again as long as somebody has it. */
  get merged(): readonly Grant[] {
    let merged = this.#merged?.deref();
    if (merged === undefined) this.#merged = new WeakRef((merged = mergeGrants(this.#fill())));
    return merged;
  }

  #fill(): Grant[] {
    return this.roles.flatMap(({ permissions }) => expandGrants(permissions, this.clientId));
  }
}

const known = new WeakMap<Registry, Map<string, RolePermissions>>();

/** The very object that others have, as long as the role says the same. */
function readRoles(r: Registry, project: string, roles: readonly string[]): RolePermissions[] {
  let shared = known.get(r);
  if (shared === undefined) known.set(r, (shared = new Map<string, RolePermissions>()));
  return roles.map((role) => {
    const name = `${project}/${role}`;
    return r.remember(`permissions ${name}`, () => {
      const sql = `SELECT permissions FROM role WHERE project = ? AND name = ?`;
      const text = statement<string>(r.db, sql).pluck().get(project, role)!;
      let found = shared.get(name);
      if (found?.text !== text) shared.set(name, (found = new RolePermissions(text)));
      return found;
    });
  });
}

/** Of the roles that a client holds on one api. */
function held(column: "name" | "scopes"): string {
  return `
  SELECT role.${column} FROM client_role
  JOIN role ON role.project = client_role.project AND role.name = client_role.role
  WHERE client_role.project = ? AND client_role.client = ? AND role.api = ?`;
}
