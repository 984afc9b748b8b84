/**
 * oidc-provider, which many of our clients would otherwise ask: node:https with the same certificate as the others, its own
 * memory adapter, ES256. A token for the resource is a signed JWT (RFC 9068); without a resource it is opaque, and only
 * those it introspects.
 */
import type { RequestListener } from "node:http";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Provider, type Configuration, type JWK } from "oidc-provider";
import { generatePrivateKey } from "../../../shared/es256.ts";
import { KEY_CLIENT, readProvider, SECRET_CLIENT, WEB_API, WEB_AUDIENCE } from "./provider.ts";

export async function startOidcProvider(dataDir: string): Promise<{ httpPort: number; close(): Promise<void> }> {
  const read = (name: string): Buffer => readFileSync(join(dataDir, name));
  const tls = { key: read("server.key"), cert: read("server.pem"), noDelay: true, keepAliveTimeout: 60_000 };
  const server = createServer(tls);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const provider = new Provider(`https://localhost:${port}`, configure(dataDir));
  server.on("request", provider.callback() as RequestListener);
  const close = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  return { httpPort: port, close };
}

function configure(dataDir: string): Configuration {
  const { secret, apiSecret, jwk } = readProvider(dataDir);
  const common = {
    grant_types: ["client_credentials"],
    redirect_uris: [],
    response_types: [],
    scope: "read write",
    id_token_signed_response_alg: "ES256" as const,
  };
  const basic = "client_secret_basic";
  return {
    clients: [
      { ...common, client_id: SECRET_CLIENT, client_secret: secret, token_endpoint_auth_method: basic },
      { ...common, client_id: WEB_API, client_secret: apiSecret, token_endpoint_auth_method: basic },
      {
        ...common,
        client_id: KEY_CLIENT,
        jwks: { keys: [jwk] },
        token_endpoint_auth_method: "private_key_jwt",
        token_endpoint_auth_signing_alg: "ES256",
      },
    ],
    jwks: {
      keys: [{ ...(generatePrivateKey().export({ format: "jwk" }) as JWK), alg: "ES256", use: "sig", kid: "k1" }],
    },
    scopes: ["read", "write"],
    clientAuthMethods: [basic, "private_key_jwt"],
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      introspection: { enabled: true, allowedPolicy: () => true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: () => ({
          scope: "read write",
          audience: WEB_AUDIENCE,
          accessTokenTTL: 3600,
          accessTokenFormat: "jwt",
          jwt: { sign: { alg: "ES256" } },
        }),
      },
    },
    ttl: { ClientCredentials: 3600 },
  };
}
