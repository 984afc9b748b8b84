/**
 * The apis that a client may use: those on which its roles leave it anything.
 */
import { formatPermission } from "../../../shared/scope.ts";
import { listHeldApis, type Api } from "../../registry/apis.ts";
import type { Client } from "../../registry/clients.ts";
import { grantsFor, scopesFor } from "../../registry/grants.ts";
import type { Registry } from "../../registry/registry.ts";

/** An api, and what of it the client may use. */
export interface ClientApi {
  readonly api: Api;
  /** `pub:FILTER` and the like for kind mqtt, scopes for kind http. */
  readonly permissions: readonly string[];
}

/** In the order of their names. */
export function apisOf(registry: Registry, client: Client): ClientApi[] {
  return listHeldApis(registry, client)
    .map((api) => ({ api, permissions: permissionsOn(registry, client, api) }))
    .filter(({ permissions }) => permissions.length > 0);
}

function permissionsOn(registry: Registry, client: Client, api: Api): readonly string[] {
  if (api.kind === "http") return scopesFor(registry, client.id, api);
  return grantsFor(registry, client.id, api).map(formatPermission);
}
