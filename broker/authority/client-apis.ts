/**
 * The apis that a client may use: those on which its roles leave it anything.
 */
import type { Grant } from "../../shared/scope.ts";
import { listApis, type Api } from "../registry/apis.ts";
import type { Client } from "../registry/clients.ts";
import type { Registry } from "../registry/registry.ts";
import { grantsFor } from "../registry/grants.ts";

/** An api, and what of it the client may use. */
export interface ClientApi {
  readonly api: Api;
  readonly grants: readonly Grant[];
}

/** In the order of their names; apis of kind mqtt only. */
export function apisOf(registry: Registry, client: Client): ClientApi[] {
  return listApis(registry, client.project)
    .filter((api) => api.kind === "mqtt")
    .map((api) => ({ api, grants: grantsFor(registry, client.id, api) }))
    .filter(({ grants }) => grants.length > 0);
}
