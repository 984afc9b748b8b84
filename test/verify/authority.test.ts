/** A verifier at a real authority, over TLS: keys, the list of revoked tokens, introspection, and callers with certificates. */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, request as httpsRequest } from "node:https";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createApi } from "../../broker/registry/apis.ts";
import { createClient } from "../../broker/registry/clients.ts";
import { createProject } from "../../broker/registry/projects.ts";
import { createRole } from "../../broker/registry/roles.ts";
import { createSecret } from "../../broker/registry/secrets.ts";
import { revokeSigningKey } from "../../broker/registry/signing-keys.ts";
import { mintDpopProof } from "../../shared/dpop.ts";
import { inspectToken } from "../../shared/token.ts";
import { createVerifier, protect, type Verifier, type VerifierOptions } from "../../verify/index.ts";
import { basic, ISSUER, makeDevice, openFixture, type Fixture } from "../authority/fixture.ts";
import { makeSigner, reasonOf, until } from "./issuer.ts";

let fixture: Fixture;
let secret: string;
let apiSecret: string;
const verifiers: Verifier[] = [];
const clock = { ms: 0 };
const form = "application/x-www-form-urlencoded";

beforeAll(async () => {
  fixture = await openFixture();
  const { registry } = fixture;
  createProject(registry, "plant");
  for (const name of ["tele", "other"]) {
    createApi(registry, { project: "plant", name, kind: "http", scopes: ["read", "write"], bearer: true });
    createRole(registry, { project: "plant", api: name, name: `${name}-user`, scopes: ["read", "write"] });
  }
  const roles = ["tele-user", "other-user"];
  secret = createClient(registry, { project: "plant", name: "board", kind: "service", roles }).secret!;
  createClient(registry, { project: "plant", name: "pi", kind: "device", roles });
  apiSecret = createSecret(registry, { project: "plant", api: "tele" }).secret;
});
afterAll(async () => {
  for (const verifier of verifiers) await verifier.close();
  await fixture.close();
});

async function open(options: Partial<VerifierOptions> = {}): Promise<Verifier> {
  const verifier = await createVerifier({
    issuer: ISSUER,
    authorityUrl: `https://localhost:${fixture.authority.port}`,
    audience: "plant.tele",
    ca: fixture.ca.caPem,
    credential: { id: "plant/tele", secret: apiSecret },
    nowSeconds: () => fixture.clock.now,
    monotonicMs: () => clock.ms,
    answerMilliseconds: 30_000,
    ...options,
  });
  verifiers.push(verifier);
  return verifier;
}

async function getToken(audience = "plant.tele", headers: Record<string, string> = {}): Promise<string> {
  const body = `grant_type=client_credentials&audience=${audience}`;
  const answer = await fixture.call("/token", {
    type: form,
    body,
    headers: { ...basic("plant.board", secret), ...headers },
  });
  expect(answer.status).toBe(200);
  return (JSON.parse(answer.body.toString()) as { access_token: string }).access_token;
}

async function revoke(token: string): Promise<void> {
  const { status } = await fixture.call("/revoke", {
    type: form,
    body: `token=${token}`,
    headers: basic("plant.board", secret),
  });
  expect(status).toBe(200);
}

describe("a token of the authority", () => {
  test.each([
    ["local", "keys"],
    ["feed", "feed"],
    ["introspect", "introspection"],
  ] as const)("is let in by mode %s", async (mode, verifiedBy) => {
    const verifier = await open({ mode });
    const principal = await verifier.verify(await getToken(), { scopes: ["read"] });
    expect(principal).toMatchObject({ client: "plant.board", scopes: ["read", "write"], verifiedBy, staleSeconds: 0 });
    expect(await reasonOf(verifier.verify(await getToken("plant.other")))).toBe("token.audience");
    expect(verifier.status()).toMatchObject({ reachable: true, failures: 0 });
  });

  test("that is revoked is refused by feed and introspection, also where it was known", async () => {
    const [fed, asking, local] = [await open(), await open({ mode: "introspect" }), await open({ mode: "local" })];
    const token = await getToken();
    for (const verifier of [fed, asking, local]) await verifier.verify(token);
    const ended: string[] = [];
    fed.watch(await fed.verify(token), (reason) => ended.push(reason));
    await revoke(token);
    expect(await reasonOf(asking.verify(token))).toBe("token.inactive");
    await until(() => ended.length > 0);
    expect(ended).toEqual(["token.revoked"]);
    expect(await reasonOf(fed.verify(token))).toBe("token.revoked");
    expect(await local.verify(token)).toMatchObject({ verifiedBy: "keys" });
    // of the other api's tokens this one hears nothing
    await revoke(await getToken("plant.other"));
    await revoke(await getToken());
    await until(() => fed.status().revokedTokens === 2);
  });

  test("by a new key is let in, and by a revoked one it is not", async () => {
    const verifier = await open();
    const before = await getToken();
    await verifier.verify(before);
    fixture.registry.change(() => revokeSigningKey(fixture.registry, inspectToken(before).kid!));
    clock.ms += 30_000;
    expect(await verifier.verify(await getToken())).toMatchObject({ client: "plant.board" });
    expect(await reasonOf(verifier.verify(before))).toBe("token.key-unknown");
  });

  test("is not let in where the authority does not know the api", async () => {
    for (const mode of ["feed", "introspect"] as const) {
      const verifier = await open({ mode, credential: { id: "plant/tele", secret: "wrong" } });
      expect(await reasonOf(verifier.verify(await getToken()))).toBe("authority.unreachable");
      expect(verifier.status()).toMatchObject({ reachable: false, lastError: "refused: status 401" });
    }
  });
});

test("a token that was got with a DPoP proof is let in with one, and not without", async () => {
  const verifier = await open({ mode: "introspect" });
  const signer = makeSigner();
  const at = (method: string, url: string, accessToken?: string): string =>
    mintDpopProof(
      { method, url, nowSeconds: fixture.clock.now, id: randomBytes(12), ...(accessToken && { accessToken }) },
      signer,
    );
  const token = await getToken("plant.tele", { dpop: at("POST", `${ISSUER}/token`) });
  const request = { method: "GET", url: "https://api.example/things" };
  const principal = await verifier.verify(token, { ...request, dpop: at("GET", request.url, token) });
  expect(principal).toMatchObject({ boundTo: { kind: "dpop" }, verifiedBy: "introspection" });
  expect(await reasonOf(verifier.verify(token))).toBe("proof.missing");
});

test("a token for a certificate is let in over a connection with that certificate alone", async () => {
  const verifier = await open({ mode: "local" });
  const [device, other] = [await makeDevice(fixture, "plant.pi"), await makeDevice(fixture, "plant.pi")];
  const answer = await fixture.call("/token", {
    type: form,
    body: "grant_type=client_credentials&audience=plant.tele&client_id=plant.pi&token_binding=mtls",
    as: device,
  });
  const { access_token: token } = JSON.parse(answer.body.toString()) as { access_token: string };
  const isBound = inspectToken(token).claims.cnf !== undefined;
  const handler = protect(verifier, {}, (_request: IncomingMessage, response: ServerResponse, { client }) => {
    response.end(client);
  });
  const tls = await fixture.ca.issueServer([]);
  const server = createServer({ ...tls, requestCert: true, rejectUnauthorized: false }, handler);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const ask = (as: typeof device | undefined): Promise<string> =>
    new Promise((resolve, reject) => {
      const identity = as && { key: as.privateKey.export({ type: "pkcs8", format: "pem" }).toString(), cert: as.cert };
      const outgoing = httpsRequest({
        host: "localhost",
        family: 4,
        port: (server.address() as AddressInfo).port,
        ca: fixture.ca.caPem,
        agent: false,
        headers: { authorization: `Bearer ${token}` },
        ...identity,
      });
      outgoing.on("error", reject);
      outgoing.on("response", (response) => {
        response.resume();
        resolve(`${response.statusCode}`);
      });
      outgoing.end();
    });
  expect([isBound, await ask(device), await ask(other), await ask(undefined)]).toEqual([true, "200", "401", "401"]);
  server.closeAllConnections();
  server.close();
});
