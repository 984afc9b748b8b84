/**
 * What a client's roles come to: permissions of all its roles, placeholders filled, in the fewest entries; scopes for an api of
 * kind http.
 */
import { readClientId } from "../../shared/names.ts";
import { expandGrants, mergeGrants, parsePermission, type Grant } from "../../shared/scope.ts";
import type { ApiGrants } from "../trust/trust.ts";
import type { Api } from "./apis.ts";
import { statement } from "../sqlite/database.ts";
import type { Registry } from "./registry.ts";

/** What the client's roles allow on one api. Nothing for the api of another project. */
export function grantsFor(r: Registry, clientId: string, api: Api): readonly Grant[] {
  const { project, name } = readClientId(clientId);
  if (project !== api.project) return [];
  return r.remember(`grants ${clientId} ${api.name}`, () =>
    expand(clientId, statement(r.db, held("permissions")).pluck().all(project, name, api.name)),
  );
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

/** What the client's roles allow on each api of kind `mqtt` that they allow anything on. */
export function grantsByApi(r: Registry, clientId: string): ApiGrants[] {
  const { project, name } = readClientId(clientId);
  const rows = statement<{ audience: string; permissions: string }>(
    r.db,
    `SELECT api.audience, role.permissions FROM client_role
     JOIN role ON role.project = client_role.project AND role.name = client_role.role
     JOIN api ON api.project = role.project AND api.name = role.api
     WHERE client_role.project = ? AND client_role.client = ? AND api.kind = 'mqtt' ORDER BY api.audience, role.name`,
  ).all(project, name);
  const audiences = [...new Set(rows.map(({ audience }) => audience))];
  return audiences.map((audience) => ({
    audience,
    grants: expand(
      clientId,
      rows.filter((row) => row.audience === audience).map(({ permissions }) => permissions),
    ),
  }));
}

/** Of the roles that a client holds on one api. */
function held(column: "permissions" | "scopes"): string {
  return `
  SELECT role.${column} FROM client_role
  JOIN role ON role.project = client_role.project AND role.name = client_role.role
  WHERE client_role.project = ? AND client_role.client = ? AND role.api = ?`;
}

/** Each text is a JSON list of permissions, empty for a role of kind `http`. */
function expand(clientId: string, texts: unknown[]): Grant[] {
  const permissions = (texts as string[]).flatMap((text) => JSON.parse(text) as string[]);
  return mergeGrants(expandGrants(permissions.map(parsePermission), clientId));
}
