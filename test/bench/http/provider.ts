/**
 * What the provider of an API has in the installation: an api of kind http with a credential of its own, and a client of it that
 * proves itself by a secret or by a key. The servers that ours is held against take the same names, secrets and keys from a
 * file beside.
 */
import { randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createApi } from "../../../broker/registry/apis.ts";
import { createClient } from "../../../broker/registry/clients.ts";
import { replaceKeys } from "../../../broker/registry/public-keys.ts";
import type { Registry } from "../../../broker/registry/registry.ts";
import { createRole } from "../../../broker/registry/roles.ts";
import { createSecret } from "../../../broker/registry/secrets.ts";
import { mintJwtAssertion } from "../../../shared/assertion.ts";
import { createSigner, generatePrivateKey } from "../../../shared/es256.ts";

export const WEB_AUDIENCE = "home.web";
export const WEB_SCOPE = "read";
/** Proves itself by a secret. */
export const SECRET_CLIENT = "home.shop";
/** Proves itself by a key. */
export const KEY_CLIENT = "home.stock";
/** The credential of the api itself. */
export const WEB_API = "home/web";

const file = "provider.json";

/** What is in the file. */
export interface ProviderFile {
  /** Of {@link SECRET_CLIENT}. */
  readonly secret: string;
  /** Of {@link WEB_API}. */
  readonly apiSecret: string;
  /** Of {@link KEY_CLIENT}: its public key. */
  readonly jwk: Record<string, unknown>;
}

/** What the load generator needs to speak as them. */
export interface Provider extends ProviderFile {
  /** A client assertion of {@link KEY_CLIENT}, a JWT, each of them once. */
  assertion(issuer: string): string;
}

/** Puts all of it into the registry of an installation that is not running, and into the file. */
export function furnishProvider(registry: Registry, dataDir: string): Provider {
  const api = { project: "home", api: "web" } as const;
  createApi(registry, { project: "home", name: "web", kind: "http", scopes: ["read", "write"], bearer: true });
  createRole(registry, { project: "home", name: "caller", api: "web", scopes: ["read", "write"] });
  const { secret } = createClient(registry, { project: "home", name: "shop", kind: "service", roles: ["caller"] });
  createClient(registry, { project: "home", name: "stock", kind: "service", roles: ["caller"] });
  const { secret: apiSecret } = createSecret(registry, api);
  const privateKey = generatePrivateKey();
  const signer = createSigner("", privateKey);
  const jwk = signer.publicKey.keyObject.export({ format: "jwk" });
  replaceKeys(registry, { project: "home", client: "stock" }, [jwk]);
  const provider: ProviderFile = { secret: secret!, apiSecret, jwk: { ...jwk } };
  writeFileSync(join(dataDir, file), JSON.stringify(provider), { mode: 0o600 });
  return {
    ...provider,
    assertion(issuer) {
      const now = Math.floor(Date.now() / 1000);
      const claims = { iss: KEY_CLIENT, sub: KEY_CLIENT, aud: issuer, iat: now, exp: now + 240, id: randomBytes(16) };
      return mintJwtAssertion(claims, signer);
    },
  };
}

/** Reads the file. */
export function readProvider(dataDir: string): ProviderFile {
  return JSON.parse(readFileSync(join(dataDir, file), "utf8")) as ProviderFile;
}
