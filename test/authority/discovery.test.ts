/** What anybody may know of the authority, and what a client may know of itself. */
import { pino } from "pino";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startAuthority } from "../../broker/authority/authority.ts";
import { createClient, setClientEnabled } from "../../broker/registry/clients.ts";
import { activeSigner } from "../../broker/registry/signing-keys.ts";
import { decode, type Cbor } from "../../shared/cbor.ts";
import { readCoseKey, readJwk } from "../../shared/cose-key.ts";
import { basic, furnish, ISSUER, makeDevice, openFixture, type Answer, type Device, type Fixture } from "./fixture.ts";

let at: Fixture;
let pi: Device;
let secret: string;
beforeAll(async () => {
  at = await openFixture();
  ({ secret } = furnish(at.registry));
  pi = await makeDevice(at, "plant.pi");
});
afterAll(() => at.close());

const json = (answer: Answer): Record<string, unknown> => JSON.parse(answer.body.toString()) as Record<string, unknown>;

describe("the issuer", () => {
  const start = async (named: { issuer?: string; hostName?: string; port?: number }) =>
    startAuthority({
      registry: at.registry,
      ca: at.ca,
      tls: await at.ca.issueServer([]),
      host: "127.0.0.1",
      port: 0,
      brokers: at.brokers,
      adminKey: "admin-key",
      log: pino({ level: "silent" }),
      ...named,
    });

  test.each([
    [{}, (port: number) => `https://localhost:${String(port)}`],
    [{ hostName: "gw.example" }, (port: number) => `https://gw.example:${String(port)}`],
    [{ issuer: "https://id.example/" }, () => "https://id.example"],
  ])("is named after %j", async (named, expected) => {
    const authority = await start(named);
    expect(authority.url).toBe(expected(authority.port));
    await authority.close();
  });

  test("is an https url, and a port that is taken is an error", async () => {
    await expect(start({ issuer: "http://id.example" })).rejects.toThrow("no https url");
    await expect(start({ port: at.authority.port })).rejects.toThrow("EADDRINUSE");
  });
});

describe("anybody learns", () => {
  test("the metadata of RFC 8414, and of it nothing else", async () => {
    const answer = await at.call("/.well-known/oauth-authorization-server");
    expect(answer.headers["content-type"]).toBe("application/json");
    const methods = ["tls_client_auth", "private_key_jwt", "client_secret_basic", "client_secret_post"];
    expect(json(answer)).toEqual({
      issuer: ISSUER,
      token_endpoint: `${ISSUER}/token`,
      revocation_endpoint: `${ISSUER}/revoke`,
      introspection_endpoint: `${ISSUER}/introspect`,
      jwks_uri: `${ISSUER}/.well-known/jwks.json`,
      service_documentation: `${ISSUER}/docs`,
      grant_types_supported: ["client_credentials"],
      // required (RFC 8414, section 2), and there is no authorization endpoint
      response_types_supported: [],
      token_endpoint_auth_methods_supported: methods,
      token_endpoint_auth_signing_alg_values_supported: ["ES256"],
      revocation_endpoint_auth_methods_supported: methods,
      revocation_endpoint_auth_signing_alg_values_supported: ["ES256"],
      introspection_endpoint_auth_methods_supported: methods,
      introspection_endpoint_auth_signing_alg_values_supported: ["ES256"],
      // RFC 9701, section 7
      introspection_signing_alg_values_supported: ["ES256"],
      // RFC 8705, section 3.3
      tls_client_certificate_bound_access_tokens: true,
      // RFC 9449, section 5.1
      dpop_signing_alg_values_supported: ["ES256"],
      // the list of revoked tokens (RFC 9770), and the keys as COSE_Key
      trl_endpoint: `${ISSUER}/revoke/trl`,
      trl_hash: "sha-256",
      max_n: 1_000,
      max_diff_batch: 200,
      cose_keys_uri: `${ISSUER}/.well-known/cose-keys`,
    });
  });

  test("a key as RFC 7517 has it, for signatures with ES256 alone", async () => {
    const answer = await at.call("/.well-known/jwks.json");
    expect(answer.headers["content-type"]).toBe("application/jwk-set+json");
    const signer = activeSigner(at.registry);
    const { x, y } = signer.publicKey.keyObject.export({ format: "jwk" });
    expect(json(answer)).toEqual({
      keys: [{ kty: "EC", crv: "P-256", x, y, kid: signer.kid, use: "sig", alg: "ES256" }],
    });
  });

  test("of nothing that is not there", async () => {
    const metadata = json(await at.call("/.well-known/oauth-authorization-server"));
    const urls = Object.values(metadata).filter((value) => typeof value === "string" && value.startsWith(`${ISSUER}/`));
    expect(urls.length).toBeGreaterThan(6);
    for (const url of urls as string[]) {
      const { status } = await at.call(url.slice(ISSUER.length));
      // who asks in another way than it wants, or is nobody, hears that
      expect([url, [200, 401, 405].includes(status)]).toEqual([url, true]);
    }
  });

  test("the same keys under the same kids as JWK and as COSE_Key", async () => {
    const jwks = json(await at.call("/.well-known/jwks.json"))["keys"] as Record<string, unknown>[];
    const answer = await at.call("/.well-known/cose-keys");
    expect(answer.headers["content-type"]).toBe("application/cose-key-set");
    const coseKeys = decode(answer.body) as Map<Cbor, Cbor>[];
    const [jwk, coseKey] = [jwks[0]!, coseKeys[0]!];
    expect([jwks.length, coseKeys.length]).toEqual([1, 1]);
    expect(Buffer.from(coseKey.get(2) as Uint8Array).toString()).toBe(jwk["kid"]);
    expect(coseKey.get(3)).toBe(-7);
    expect(readCoseKey(coseKey).thumbprint).toBe(readJwk(jwk).thumbprint);
    expect(at.trust.keyFor(String(jwk["kid"]))?.thumbprint).toBe(readJwk(jwk).thumbprint);
    expect(JSON.stringify(jwk)).not.toContain('"d"');
  });

  test("that nothing has changed, when it asks with the tag", async () => {
    for (const path of ["oauth-authorization-server", "jwks.json", "cose-keys"]) {
      const { headers } = await at.call(`/.well-known/${path}`);
      expect(headers["cache-control"]).toBe("public, max-age=300");
      const again = await at.call(`/.well-known/${path}`, { headers: { "if-none-match": headers.etag! } });
      expect([again.status, again.body.length]).toEqual([304, 0]);
      expect((await at.call(`/.well-known/${path}`, { headers: { "if-none-match": '"other"' } })).status).toBe(200);
    }
  });
});

describe("a client learns of itself", () => {
  const self = (call: Parameters<Fixture["call"]>[1]): Promise<Answer> => at.call("/v1/self", call);

  test("with its certificate", async () => {
    const answer = await self({ as: pi });
    expect(answer.headers["cache-control"]).toBe("no-store");
    expect(json(answer)).toEqual({
      id: "plant.pi",
      kind: "device",
      project: "plant",
      enabled: true,
      apis: [
        {
          name: "tele",
          kind: "mqtt",
          audience: "plant.tele",
          bearer: false,
          permissions: ["sub:p/all", "sub:p/pi/dn", "pub:p/pi/up"],
        },
      ],
      brokers: { mqtts: "mqtts://localhost:8883", wss: null },
      issuer: ISSUER,
      time: at.clock.now,
    });
  });

  test("with its secret, where the brokers are now", async () => {
    at.brokers.wss = "wss://localhost:8884";
    const { id, brokers } = json(await self({ headers: basic("plant.board", secret) }));
    expect([id, brokers]).toEqual(["plant.board", { mqtts: "mqtts://localhost:8883", wss: "wss://localhost:8884" }]);
  });

  test("nothing, when it is not known or no longer enabled", async () => {
    createClient(at.registry, { project: "plant", name: "off", kind: "device" });
    const off = await makeDevice(at, "plant.off");
    setClientEnabled(at.registry, "plant.off", false);
    const heard = [];
    for (const call of [
      {},
      { headers: basic("plant.board", "wrong") },
      { headers: basic("plant.no", "x") },
      { as: off },
    ]) {
      const answer = await self(call);
      const { id, ...rest } = json(answer);
      expect(id).toMatch(/^[\w-]{12}$/);
      expect(answer.headers["content-type"]).toBe("application/problem+json");
      heard.push(JSON.stringify(rest));
    }
    expect(new Set(heard)).toEqual(
      new Set(['{"type":"about:blank","title":"client authentication failed","status":401}']),
    );
  });
});
