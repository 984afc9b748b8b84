/**
 * Two OAuth clients that are not ours, `oauth4webapi` and `openid-client`, go through what the metadata says: discovery, a
 * token, introspection, plain and signed, and revocation, over TLS that they verify with our CA.
 */
import type { KeyObject } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { request as httpsRequest } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as oauth from "oauth4webapi";
import * as openid from "openid-client";
import { pino } from "pino";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startAuthority, type Authority } from "../../broker/authority/authority.ts";
import { openCertificateAuthority } from "../../broker/authority/certificates/certificates.ts";
import { createApi } from "../../broker/registry/apis.ts";
import { createClient } from "../../broker/registry/clients.ts";
import { openRegistry } from "../../broker/registry/open-registry.ts";
import { createProject } from "../../broker/registry/projects.ts";
import { replaceKeys } from "../../broker/registry/public-keys.ts";
import { createRole } from "../../broker/registry/roles.ts";
import { createSecret } from "../../broker/registry/secrets.ts";
import { createMemoryTrust } from "../../broker/trust/memory-trust.ts";
import { makeDevice } from "./fixture.ts";

const audience = "shop.orders";
const clientId = "shop.cart";
const apiId = "shop/orders";

type Keys = Awaited<ReturnType<typeof oauth.generateKeyPair>>;

type Fetch = (url: string, options?: PeerRequest) => Promise<Response>;

/** What both libraries hand to a fetch of the caller's. */
interface PeerRequest {
  readonly method?: string;
  readonly headers?: unknown;
  readonly body?: unknown;
}

let authority: Authority;
let close: () => Promise<void>;
let ca: string;
let secret: string;
let apiSecret: string;
let keys: Keys;
let apiKeys: Keys;
let device: { readonly id: string; readonly cert: string; readonly privateKey: KeyObject };

beforeAll(async () => {
  const directory = mkdtempSync(join(tmpdir(), "postern-peers-"));
  const nowSeconds = (): number => Math.floor(Date.now() / 1000);
  const registry = openRegistry({ file: ":memory:", sink: createMemoryTrust({ issuer: "" }), nowSeconds });
  const certificates = await openCertificateAuthority(directory, nowSeconds);
  authority = await startAuthority({
    registry,
    ca: certificates,
    tls: await certificates.issueServer([]),
    host: "127.0.0.1",
    port: 0,
    brokers: { mqtts: null, wss: null, mqtt: null },
    adminKey: "admin-key",
    log: pino({ level: "silent" }),
  });
  ca = certificates.caPem;
  close = async () => {
    await authority.close();
    registry.close();
    rmSync(directory, { recursive: true });
  };

  createProject(registry, "shop");
  const api = { project: "shop", api: "orders" };
  createApi(registry, { project: "shop", name: "orders", kind: "http", scopes: ["read", "write"], bearer: true });
  createRole(registry, { ...api, name: "buyer", scopes: ["read", "write"] });
  secret = createClient(registry, { project: "shop", name: "cart", kind: "service", roles: ["buyer"] }).secret!;
  apiSecret = createSecret(registry, api).secret;
  createClient(registry, { project: "shop", name: "till", kind: "device", roles: ["buyer"] });
  device = await makeDevice({ ca: certificates, registry }, "shop.till");
  keys = await oauth.generateKeyPair("ES256", { extractable: true });
  apiKeys = await oauth.generateKeyPair("ES256", { extractable: true });
  const jwk = ({ publicKey }: Keys): Promise<unknown> => crypto.subtle.exportKey("jwk", publicKey);
  replaceKeys(registry, { project: "shop", client: "cart" }, [await jwk(keys)]);
  replaceKeys(registry, api, [await jwk(apiKeys)]);
});
afterAll(() => close());

/** Over node's own TLS, which trusts this CA and nothing else; with the certificate of a device where there is one. */
function createFetch(trusted: string | undefined, as?: typeof device): Fetch {
  return (url, { method = "GET", headers, body } = {}) =>
    new Promise((resolve, reject) => {
      const outgoing = httpsRequest(url, {
        method,
        family: 4,
        agent: false,
        headers: Object.fromEntries(new Headers(headers as Record<string, string>)),
        ...(trusted !== undefined && { ca: trusted }),
        ...(as && { cert: as.cert, key: as.privateKey.export({ type: "pkcs8", format: "pem" }) }),
      });
      outgoing.on("error", reject);
      outgoing.on("response", (incoming) => {
        const chunks: Buffer[] = [];
        incoming.on("data", (chunk: Buffer) => chunks.push(chunk));
        incoming.on("end", () => {
          const given = new Headers();
          for (let at = 0; at < incoming.rawHeaders.length; at += 2) {
            given.append(incoming.rawHeaders[at]!, incoming.rawHeaders[at + 1]!);
          }
          resolve(new Response(Buffer.concat(chunks), { status: incoming.statusCode!, headers: given }));
        });
      });
      outgoing.end(body instanceof URLSearchParams ? body.toString() : undefined);
    });
}

test("neither gets anywhere without our CA", async () => {
  const fetch = createFetch(undefined);
  const issuer = new URL(authority.url);
  const options = { algorithm: "oauth2", [oauth.customFetch]: fetch } as const;
  const untrusted = { message: expect.stringMatching(/certificate/) as string };
  await expect(oauth.discoveryRequest(issuer, options)).rejects.toMatchObject(untrusted);
  const discovery = openid.discovery(issuer, clientId, {}, openid.None(), options);
  await expect(discovery).rejects.toMatchObject({ cause: untrusted });
});

/** A client of either library, that knows the metadata. */
interface Tried {
  getToken(
    asksForDpop: boolean,
  ): Promise<{ readonly access_token: string; readonly token_type: string; readonly scope?: string }>;
  introspect(token: string): Promise<Record<string, unknown>>;
  revoke(token: string): Promise<void>;
}

interface Wish {
  readonly id: string;
  readonly method: "client_secret_basic" | "client_secret_post" | "private_key_jwt" | "tls_client_auth";
  /** Whether it wants signed answers, whose signatures it verifies. */
  readonly isSigned: boolean;
}

type Open = (wish: Wish) => Promise<Tried>;

const credentialOf = (id: string): { secret: string; key: Keys["privateKey"] } =>
  id === apiId ? { secret: apiSecret, key: apiKeys.privateKey } : { secret, key: keys.privateKey };
const fetchOf = ({ method }: Wish): Fetch => createFetch(ca, method === "tls_client_auth" ? device : undefined);
const parameters = { audience, scope: "read" };

const openOauth4webapi: Open = async (wish) => {
  const fetch = fetchOf(wish);
  const options = { [oauth.customFetch]: fetch };
  const issuer = new URL(authority.url);
  const found = await oauth.discoveryRequest(issuer, { algorithm: "oauth2", ...options });
  const server = await oauth.processDiscoveryResponse(issuer, found);
  const client: oauth.Client = {
    client_id: wish.id,
    ...(wish.isSigned && { introspection_signed_response_alg: "ES256" }),
  };
  const { secret: own, key } = credentialOf(wish.id);
  const proof = {
    client_secret_basic: () => oauth.ClientSecretBasic(own),
    client_secret_post: () => oauth.ClientSecretPost(own),
    private_key_jwt: () => oauth.PrivateKeyJwt(key),
    tls_client_auth: () => oauth.TlsClientAuth(),
  }[wish.method]();
  return {
    async getToken(asksForDpop) {
      const DPoP = asksForDpop ? oauth.DPoP(client, await oauth.generateKeyPair("ES256")) : undefined;
      const answer = await oauth.clientCredentialsGrantRequest(server, client, proof, new URLSearchParams(parameters), {
        ...options,
        ...(DPoP && { DPoP }),
      });
      return oauth.processClientCredentialsResponse(server, client, answer);
    },
    async introspect(token) {
      const answer = await oauth.introspectionRequest(server, client, proof, token, options);
      const found = await oauth.processIntrospectionResponse(server, client, answer);
      if (wish.isSigned) await oauth.validateApplicationLevelSignature(server, answer, options);
      return found;
    },
    async revoke(token) {
      await oauth.processRevocationResponse(await oauth.revocationRequest(server, client, proof, token, options));
    },
  };
};

const openOpenidClient: Open = async (wish) => {
  const fetch = fetchOf(wish);
  const { secret: own, key } = credentialOf(wish.id);
  const proof = {
    client_secret_basic: () => openid.ClientSecretBasic(own),
    client_secret_post: () => openid.ClientSecretPost(own),
    private_key_jwt: () => openid.PrivateKeyJwt(key),
    tls_client_auth: () => openid.TlsClientAuth(),
  }[wish.method]();
  const metadata = wish.isSigned ? { introspection_signed_response_alg: "ES256" } : {};
  const config = await openid.discovery(new URL(authority.url), wish.id, metadata, proof, {
    algorithm: "oauth2",
    [openid.customFetch]: fetch,
  });
  if (wish.isSigned) openid.enableNonRepudiationChecks(config);
  return {
    async getToken(asksForDpop) {
      const DPoP = asksForDpop ? openid.getDPoPHandle(config, await openid.randomDPoPKeyPair("ES256")) : undefined;
      return openid.clientCredentialsGrant(config, parameters, DPoP && { DPoP });
    },
    introspect: async (token) => ({ ...(await openid.tokenIntrospection(config, token)) }),
    revoke: (token) => openid.tokenRevocation(config, token),
  };
};

describe.each<[string, Open]>([
  ["oauth4webapi", openOauth4webapi],
  ["openid-client", openOpenidClient],
])("%s", (_, open) => {
  test.each<[Wish["method"], string, boolean, string]>([
    ["client_secret_basic", clientId, false, "bearer"],
    ["client_secret_post", clientId, false, "bearer"],
    ["private_key_jwt", clientId, false, "bearer"],
    ["tls_client_auth", "shop.till", false, "bearer"],
    ["client_secret_basic", clientId, true, "dpop"],
    ["private_key_jwt", clientId, true, "dpop"],
  ])("with %s as %s, DPoP %s", async (method, id, asksForDpop, tokenType) => {
    const client = await open({ id, method, isSigned: false });
    const { access_token: token, token_type, scope } = await client.getToken(asksForDpop);
    expect([token_type, scope ?? "read"]).toEqual([tokenType, "read"]);

    const api = await open({ id: apiId, method: "client_secret_basic", isSigned: false });
    const said = await api.introspect(token);
    expect(said).toMatchObject({
      active: true,
      iss: authority.url,
      client_id: id,
      aud: audience,
      scope: "read",
      token_type: asksForDpop ? "DPoP" : "Bearer",
    });
    const kinds = asksForDpop ? ["jkt"] : method === "tls_client_auth" ? ["x5t#S256"] : [];
    expect(Object.keys(said["cnf"] ?? {})).toEqual(kinds);

    expect(await client.introspect(token)).toEqual({
      ...said,
      time: expect.any(Number),
      expires_in: expect.any(Number),
    });
    await client.revoke(token);
    expect(await api.introspect(token)).toEqual({ active: false });
    expect(await client.introspect(token)).toEqual({ active: false });
  });

  test.each<Wish["method"]>(["client_secret_basic", "client_secret_post", "private_key_jwt"])(
    "as an api with %s, signed answers",
    async (method) => {
      const { access_token: token } = await (
        await open({ id: clientId, method: "client_secret_basic", isSigned: false })
      ).getToken(false);
      const api = await open({ id: apiId, method, isSigned: true });
      expect(await api.introspect(token)).toMatchObject({ active: true, sub: clientId });
      expect(await api.introspect("none of ours")).toEqual({ active: false });
      await expect(api.revoke(token)).rejects.toMatchObject({ error: "unauthorized_client" });
    },
  );

  test("is refused as somebody else", async () => {
    const client = await open({ id: "shop.nobody", method: "client_secret_basic", isSigned: false });
    // one after the other: a refusal that nobody listens for yet is an error of the run
    await expect(client.introspect("a")).rejects.toMatchObject({ status: 401 });
    await expect(client.getToken(false)).rejects.toMatchObject({ status: 401 });
    await expect(client.revoke("a")).rejects.toMatchObject({ status: 401 });
  });
});
