/**
 * Two OAuth clients that are not ours, `oauth4webapi` and `openid-client`, go through what the metadata says: discovery, a
 * token, introspection, plain and signed, and revocation, over TLS that they verify with our CA. With DPoP they use their token
 * at a resource server as well.
 */
import { KeyObject } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, request as httpsRequest } from "node:https";
import type { AddressInfo } from "node:net";
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
import { createVerifier, protect, type Verifier } from "../../verify/index.ts";
import { makeDevice } from "./fixture.ts";

const audience = "shop.orders";
const clientId = "shop.cart";
const apiId = "shop/orders";
/** As an api of kind http is unless told otherwise: its tokens are bound. Client and resource server have a key and no secret. */
const bound = { audience: "shop.stock", clientId: "shop.shelf", apiId: "shop/stock" };

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
let shelfKeys: Keys;
let stockKeys: Keys;
let tls: { readonly cert: string; readonly key: string };
let device: { readonly id: string; readonly cert: string; readonly privateKey: KeyObject };

beforeAll(async () => {
  const directory = mkdtempSync(join(tmpdir(), "postern-peers-"));
  const nowSeconds = (): number => Math.floor(Date.now() / 1000);
  const registry = openRegistry({ file: ":memory:", sink: createMemoryTrust({ issuer: "" }), nowSeconds });
  const certificates = await openCertificateAuthority(directory, nowSeconds);
  authority = await startAuthority({
    registry,
    ca: certificates,
    tls: (tls = await certificates.issueServer([])),
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

  const stock = { project: "shop", api: "stock" };
  createApi(registry, { project: "shop", name: "stock", kind: "http", scopes: ["read", "write"] });
  createRole(registry, { ...stock, name: "keeper", scopes: ["read"] });
  createClient(registry, { project: "shop", name: "shelf", kind: "service", roles: ["keeper"] });
  shelfKeys = await oauth.generateKeyPair("ES256", { extractable: true });
  stockKeys = await oauth.generateKeyPair("ES256", { extractable: true });
  replaceKeys(registry, { project: "shop", client: "shelf" }, [await jwk(shelfKeys)]);
  replaceKeys(registry, stock, [await jwk(stockKeys)]);
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
  /** Asks a resource server with a token, and with a DPoP proof if the last token was asked for with one. */
  use(token: string, url: URL): Promise<Response>;
}

interface Wish {
  readonly id: string;
  readonly method: "client_secret_basic" | "client_secret_post" | "private_key_jwt" | "tls_client_auth";
  /** Whether it wants signed answers, whose signatures it verifies. */
  readonly isSigned: boolean;
  /** Default: the api that takes bearer tokens. */
  readonly audience?: string;
  /** Looks at each request. */
  readonly watch?: (request: Request) => void;
}

type Open = (wish: Wish) => Promise<Tried>;

function credentialOf(id: string): { readonly secret: string; readonly key: Keys["privateKey"] } {
  if (id === apiId) return { secret: apiSecret, key: apiKeys.privateKey };
  if (id === bound.apiId) return { secret: "", key: stockKeys.privateKey };
  return id === bound.clientId ? { secret: "", key: shelfKeys.privateKey } : { secret, key: keys.privateKey };
}
function fetchOf({ method, watch }: Wish): Fetch {
  const fetch = createFetch(ca, method === "tls_client_auth" ? device : undefined);
  return (url, options) => {
    watch?.(new Request(url, { method: options?.method ?? "GET", headers: new Headers(options?.headers as never) }));
    return fetch(url, options);
  };
}
const parametersOf = (wish: Wish): Record<string, string> => ({ audience: wish.audience ?? audience, scope: "read" });

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
  let DPoP: oauth.DPoPHandle | undefined;
  return {
    async getToken(asksForDpop) {
      DPoP = asksForDpop ? oauth.DPoP(client, await oauth.generateKeyPair("ES256")) : undefined;
      const parameters = new URLSearchParams(parametersOf(wish));
      const answer = await oauth.clientCredentialsGrantRequest(server, client, proof, parameters, {
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
    use: (token, url) =>
      oauth.protectedResourceRequest(token, "GET", url, undefined, undefined, { ...options, ...(DPoP && { DPoP }) }),
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
  let DPoP: openid.DPoPHandle | undefined;
  return {
    async getToken(asksForDpop) {
      DPoP = asksForDpop ? openid.getDPoPHandle(config, await openid.randomDPoPKeyPair("ES256")) : undefined;
      return openid.clientCredentialsGrant(config, parametersOf(wish), DPoP && { DPoP });
    },
    introspect: async (token) => ({ ...(await openid.tokenIntrospection(config, token)) }),
    revoke: (token) => openid.tokenRevocation(config, token),
    use: (token, url) =>
      openid.fetchProtectedResource(config, token, url, "GET", undefined, undefined, DPoP && { DPoP }),
  };
};

interface Resource {
  readonly url: URL;
  close(): Promise<void>;
}

/** A resource server over TLS whose own credential is a key. */
async function openResource(): Promise<Resource> {
  let verifier: Verifier | undefined;
  const server = createServer(tls, (request, response) => {
    const handle = protect(verifier!, { scopes: ["read"] }, (_request, answer, { client, verifiedBy, boundTo }) => {
      answer.end(`${client} by ${verifiedBy}, bound by ${boundTo?.kind}`);
    });
    handle(request, response);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const origin = `https://localhost:${(server.address() as AddressInfo).port}`;
  verifier = await createVerifier({
    issuer: authority.url,
    audience: bound.audience,
    ca,
    origin,
    answerMilliseconds: 30_000,
    credential: { id: bound.apiId, privateKey: KeyObject.from(stockKeys.privateKey) },
  });
  return {
    url: new URL("/things", origin),
    async close() {
      server.close();
      await verifier.close();
    },
  };
}

async function metadataOf(): Promise<oauth.AuthorizationServer> {
  const issuer = new URL(authority.url);
  const options = { algorithm: "oauth2", [oauth.customFetch]: createFetch(ca) } as const;
  return oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, options));
}

/** Of an answer, or of the error that a library makes of a challenge. */
async function statusOf(asked: Promise<Response>): Promise<unknown> {
  return asked.then(
    ({ status }) => status,
    (error: unknown) => (error as { readonly status?: unknown }).status,
  );
}

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

  describe("at an api whose tokens are bound, by a key alone", () => {
    const wish = { id: bound.clientId, method: "private_key_jwt", isSigned: false, audience: bound.audience } as const;
    let resource: Resource;
    beforeAll(async () => void (resource = await openResource()));
    afterAll(() => resource.close());

    test("with DPoP: a token, introspection, and a request that the resource server lets in", async () => {
      const requests: Request[] = [];
      const client = await open({ ...wish, watch: (request) => requests.push(request) });
      const { access_token: token, token_type } = await client.getToken(true);
      expect(token_type).toBe("dpop");
      const api = await open({ id: bound.apiId, method: "private_key_jwt", isSigned: false });
      const said = await api.introspect(token);
      expect(said).toMatchObject({ active: true, aud: bound.audience, scope: "read", token_type: "DPoP" });

      const answer = await client.use(token, resource.url);
      expect([answer.status, await answer.text()]).toEqual([200, "shop.shelf by introspection, bound by dpop"]);

      // the same request, judged by a resource server that is not ours
      const server = await metadataOf();
      const options = { requireDPoP: true, [oauth.customFetch]: createFetch(ca) };
      const claims = await oauth.validateJwtAccessToken(server, requests.at(-1)!, bound.audience, options);
      expect(claims).toMatchObject({ sub: bound.clientId, client_id: bound.clientId, scope: "read", cnf: said["cnf"] });

      await client.revoke(token);
      expect(await api.introspect(token)).toEqual({ active: false });
      expect(await statusOf(client.use(token, resource.url))).toBe(401);
    });

    test("the token is no good with the proof of another key, nor without one", async () => {
      const [client, other] = [await open(wish), await open(wish)];
      const { access_token: token } = await client.getToken(true);
      await other.getToken(true);
      expect(await statusOf(other.use(token, resource.url))).toBe(401);
      const plain = await open(wish);
      expect(await statusOf(plain.use(token, resource.url))).toBe(401);
      expect(await statusOf(client.use(token, resource.url))).toBe(200);
    });

    test("without DPoP the token is of type pop, which clients that know Bearer and DPoP do not take", async () => {
      const client = await open(wish);
      const refused = await client.getToken(false).then(
        () => "taken",
        (error: unknown) => `${String(error)} ${String((error as Error).cause)}`,
      );
      expect(refused).toMatch(/unsupported `token_type` value/);
    });
  });

  test("is refused as somebody else", async () => {
    const client = await open({ id: "shop.nobody", method: "client_secret_basic", isSigned: false });
    // one after the other: a refusal that nobody listens for yet is an error of the run
    await expect(client.introspect("a")).rejects.toMatchObject({ status: 401 });
    await expect(client.getToken(false)).rejects.toMatchObject({ status: 401 });
    await expect(client.revoke("a")).rejects.toMatchObject({ status: 401 });
  });
});
