/**
 * Credentials under `/v1`: the secrets and public keys of clients, and those of apis as resource servers.
 *
 * A device has no secret: it proves itself by its key.
 */
import type { z } from "zod";
import { refuse } from "../../../shared/refusal.ts";
import { getApi } from "../../registry/apis.ts";
import { getClient } from "../../registry/clients.ts";
import { listKeys, replaceKeys } from "../../registry/public-keys.ts";
import type { Registry } from "../../registry/registry.ts";
import { createSecret, listSecrets, retireSecret, type SecretOwner } from "../../registry/secrets.ts";
import { toPublicKey, toSecret, type sentOfCredentials } from "./credential-bodies.ts";
import { all, create, remove, type Params, type Route } from "./registry-route.ts";

const client = "/v1/projects/:project/clients/:name";
const api = "/v1/projects/:project/apis/:api";

/** Finds whose credentials the path names. Throws `registry.not-found`. */
type FindOwner = (registry: Registry, params: Params) => SecretOwner;

const findClientOwner: FindOwner = (registry, { project, name }) => {
  getClient(registry, `${project}.${name}`);
  return { project, client: name };
};

const findApiOwner: FindOwner = (registry, p) => {
  getApi(registry, p.project, p.api);
  return { project: p.project, api: p.api };
};

/** Whose secret a new one would be. Throws `registry.invalid` for a device. */
const findSecretOwner: FindOwner = (registry, { project, name }) => {
  const { kind } = getClient(registry, `${project}.${name}`);
  if (kind === "device") refuse("registry.invalid", "a device has no secret: it proves itself by its key");
  return { project, client: name };
};

/** The rows of both. */
export const credentialRoutes: readonly Route[] = [
  ...rowsOf(client, findClientOwner, findSecretOwner),
  ...rowsOf(api, findApiOwner, findApiOwner),
];

function rowsOf(path: string, findOwner: FindOwner, findNewOwner: FindOwner): Route[] {
  return [
    create("manage", `${path}/secrets`, "NewSecret", "IssuedSecret", "id", ({ registry, actor }, p, b) => {
      const asked = { ttlSeconds: b.ttl_seconds, idleSeconds: b.idle_seconds };
      const { record, secret } = createSecret(registry, findNewOwner(registry, p), asked, actor);
      return { ...toSecret(record), secret };
    }),
    all("read", `${path}/secrets`, "Secret", ({ registry }, p) => ({
      items: listSecrets(registry, findOwner(registry, p)).map(toSecret),
    })),
    // taking rights back survives a power cut
    remove("manage", `${path}/secrets/:id`, "retire a secret", ({ registry, actor }, p) =>
      registry.changeDurably(() => retireSecret(registry, findOwner(registry, p), p.id, actor)),
    ),
    {
      method: "PUT",
      path: `${path}/keys`,
      access: "manage",
      says: "replace all public keys",
      sends: "PublicKeys",
      answers: "PublicKey",
      list: true,
      run({ registry, actor }, { params, body }) {
        const { keys } = body as z.output<typeof sentOfCredentials.PublicKeys>;
        const replace = (): object[] =>
          replaceKeys(registry, findOwner(registry, params), keys, actor).map(toPublicKey);
        return { items: registry.changeDurably(replace) };
      },
    },
    all("read", `${path}/keys`, "PublicKey", ({ registry }, p) => ({
      items: listKeys(registry, findOwner(registry, p)).map(toPublicKey),
    })),
  ];
}
