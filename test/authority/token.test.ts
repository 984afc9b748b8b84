/** The token endpoint when it says yes: every way of asking, and what comes back. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createApi } from "../../broker/registry/apis.ts";
import { listAudit } from "../../broker/registry/audit.ts";
import { createClient, setClientRoles } from "../../broker/registry/clients.ts";
import { createRole } from "../../broker/registry/roles.ts";
import { encodeTokenRequest, readTokenResponse, type TokenRequest } from "../../shared/ace.ts";
import { decode } from "../../shared/cbor.ts";
import { toJwk } from "../../shared/cose-key.ts";
import { encodeScope, encodeScopeText, formatPermission, parsePermission, type Grant } from "../../shared/scope.ts";
import { verifyToken, type VerifiedToken } from "../../shared/token.ts";
import {
  ACE,
  basic,
  countRows,
  cwtAssertion,
  furnish,
  ISSUER,
  JWT_BEARER,
  jwtAssertion,
  makeDevice,
  openFixture,
  type Answer,
  type Device,
  type Fixture,
} from "./fixture.ts";

let at: Fixture;
let pi: Device;
let secret: string;

beforeAll(async () => {
  at = await openFixture();
  ({ secret } = furnish(at.registry));
  pi = await makeDevice(at, "plant.pi");
});
afterAll(() => at.close());

const three = ["sub:p/all", "sub:p/pi/dn", "pub:p/pi/up"];

function verify(token: string | Uint8Array, audience = "plant.tele"): VerifiedToken {
  return verifyToken(token, {
    issuer: ISSUER,
    keyFor: (kid) => at.trust.keyFor(kid),
    isAudience: (name) => name === audience,
    nowSeconds: at.clock.now,
  });
}

function texts(grants: readonly Grant[] | string | undefined): string[] {
  return (grants as Grant[]).map(formatPermission);
}

function askCbor(request: Partial<TokenRequest>, as?: Device, path = "/token"): Promise<Answer> {
  return at.call(path, { type: ACE, body: encodeTokenRequest({ wantsProfile: false, ...request }), as });
}

function askJson(value: Record<string, unknown>, headers?: Record<string, string>, as?: Device): Promise<Answer> {
  return at.call("/token", { type: "application/json", body: JSON.stringify(value), headers, as });
}

function json(answer: Answer): Record<string, unknown> {
  return JSON.parse(answer.body.toString()) as Record<string, unknown>;
}

describe("in CBOR", () => {
  test.each(["/token", "/get-access-token"])("gives a device with its certificate a bound CWT at %s", async (path) => {
    const answer = await askCbor({ audience: "plant.tele" }, pi, path);
    expect(answer.status).toBe(200);
    expect(answer.headers).toMatchObject({ "content-type": ACE, "cache-control": "no-store", pragma: "no-cache" });
    const { accessToken, expiresIn, tokenType, scope, profile } = readTokenResponse(answer.body);
    expect({ expiresIn, tokenType, profile }).toEqual({ expiresIn: 600, tokenType: "pop", profile: false });
    expect(texts(scope)).toEqual(three);
    const { format, claims, grants } = verify(accessToken);
    expect(format).toBe("cwt");
    expect(claims).toMatchObject({ iss: ISSUER, sub: "plant.pi", aud: "plant.tele", iat: at.clock.now });
    expect(claims.exp).toBe(at.clock.now + 600);
    expect(claims.cnf).toMatchObject({ kind: "key", key: { thumbprint: pi.key.thumbprint } });
    expect(texts(grants)).toEqual(three);
  });

  test("has the numbers of RFC 9200 on the wire, and names the profile when asked", async () => {
    const answer = await askCbor({ audience: "plant.tele", scope: [], wantsProfile: true }, pi);
    expect(answer.status).toBe(400);
    const map = decode((await askCbor({ wantsProfile: true }, pi)).body) as Map<number, unknown>;
    expect([...map.keys()]).toEqual([1, 2, 9, 34, 38]);
    expect([map.get(2), map.get(34), map.get(38)]).toEqual([600, 2, 3]);
    expect(map.get(1)).toBeInstanceOf(Uint8Array);
    expect(Buffer.from(map.get(1) as Uint8Array).subarray(0, 4)).toEqual(Buffer.from("d83dd284", "hex"));
  });

  test("stays within 240 bytes for three grants", async () => {
    const { accessToken } = readTokenResponse((await askCbor({}, pi)).body);
    expect(accessToken.length).toBeLessThanOrEqual(240);
  });

  test("takes an assertion in place of a certificate, and binds the token to its key", async () => {
    const before = countRows(at.registry);
    const answer = await askCbor({ clientAssertion: cwtAssertion(pi, at.clock.now), reqCnf: pi.key });
    expect(answer.status).toBe(200);
    const { claims } = verify(readTokenResponse(answer.body).accessToken);
    expect(claims.cnf).toMatchObject({ kind: "key", key: { thumbprint: pi.key.thumbprint } });
    expect(countRows(at.registry)).toEqual({
      ...before,
      issued: Number(before["issued"]) + 1,
      assertion: Number(before["assertion"]) + 1,
    });
  });

  test("takes the newest of several certificates of a client as well as the older one", async () => {
    const newer = await makeDevice(at, "plant.pi");
    for (const device of [pi, newer]) {
      expect((await askCbor({ clientAssertion: cwtAssertion(device, at.clock.now) })).status).toBe(200);
      expect((await askCbor({}, device)).status).toBe(200);
    }
  });

  test("gives a JWT where the api says so", async () => {
    const { registry } = at;
    createApi(registry, { project: "plant", name: "web", kind: "mqtt", topics: ["w/#"], format: "jwt" });
    createRole(registry, { project: "plant", api: "web", name: "web", permissions: [parsePermission("pub:w/+")] });
    createClient(registry, { project: "plant", name: "cam", kind: "device", roles: ["web"] });
    const cam = await makeDevice(at, "plant.cam");
    const verified = verify(readTokenResponse((await askCbor({}, cam)).body).accessToken, "plant.web");
    expect(verified).toMatchObject({ format: "jwt", claims: { cnf: { kind: "key" } } });
    const overMtls = json(await askJson({ grant_type: "client_credentials" }, {}, cam));
    expect(verify(String(overMtls["access_token"]), "plant.web").claims.cnf).toMatchObject({ kind: "certificate" });
  });
});

describe("the scope", () => {
  const asked = (permissions: string[]) => askCbor({ scope: permissions.map(parsePermission) }, pi);

  test("is left out of the answer when it is what was asked for", async () => {
    const response = readTokenResponse((await asked(["pub:p/pi/up", "sub:p/all"])).body);
    expect(response.scope).toBeUndefined();
    expect(texts(verify(response.accessToken).grants)).toEqual(["sub:p/all", "pub:p/pi/up"]);
  });

  test("is cut to the roles, and then stated", async () => {
    const response = readTokenResponse((await asked(["pubsub:p/pi/+", "pub:p/other/up"])).body);
    expect(texts(response.scope)).toEqual(["sub:p/pi/dn", "pub:p/pi/up"]);
    expect(encodeScope(verify(response.accessToken).grants)).toEqual(encodeScope(response.scope as Grant[]));
  });

  test("follows a change of the roles at the next request", async () => {
    const { registry } = at;
    createApi(registry, { project: "plant", name: "late", kind: "mqtt", topics: ["l/#"] });
    createClient(registry, { project: "plant", name: "late", kind: "device" });
    const late = await makeDevice(at, "plant.late");
    expect((await askCbor({ audience: "plant.late" }, late)).status).toBe(400);
    createRole(registry, { project: "plant", api: "late", name: "late", permissions: [parsePermission("pub:l")] });
    setClientRoles(registry, "plant.late", ["late"]);
    expect((await askCbor({ audience: "plant.late" }, late)).status).toBe(200);
  });
});

describe("in JSON and form", () => {
  const form = (fields: Record<string, string>, headers?: Record<string, string>) =>
    at.call("/token", {
      type: "application/x-www-form-urlencoded",
      body: new URLSearchParams(fields).toString(),
      headers,
    });
  const credentials = { grant_type: "client_credentials" };
  const inBody = () => ({ client_id: "plant.board", client_secret: secret });

  test.each([
    ["Basic and form", () => form(credentials, basic("plant.board", secret))],
    ["the body of a form", () => form({ ...credentials, ...inBody() })],
    ["the body of JSON", () => askJson(inBody())],
    ["Basic and JSON", () => askJson(credentials, basic("plant.board", secret))],
  ])("gives a bearer token where the api allows it, for a secret in %s", async (_name, ask) => {
    const answer = await ask();
    expect(answer.status).toBe(200);
    expect(answer.headers).toMatchObject({ "content-type": "application/json", "cache-control": "no-store" });
    const { access_token, token_type, expires_in, scope } = json(answer);
    expect([token_type, expires_in, scope]).toEqual(["Bearer", 3600, encodeScopeText([parsePermission("sub:o/#")])]);
    const { claims, format } = verify(String(access_token), "plant.open");
    expect(format).toBe("jwt");
    expect(claims.cnf).toBeUndefined();
  });

  test("answers application/ace+json in kind", async () => {
    const body = JSON.stringify({ ...inBody(), ace_profile: "" });
    const answer = await at.call("/token", { type: "application/ace+json; charset=utf-8", body });
    expect(answer.headers["content-type"]).toBe("application/ace+json");
    expect(json(answer)).toMatchObject({ token_type: "Bearer", ace_profile: "mqtt_tls" });
  });

  test("form-decodes user and password of Basic", async () => {
    const encoded = `${encodeURIComponent("plant.board").replace(".", "%2E")}:${encodeURIComponent(secret)}`;
    const authorization = `Basic ${Buffer.from(encoded).toString("base64")}`;
    expect((await form(credentials, { authorization })).status).toBe(200);
  });

  test("takes a JWT assertion, and binds where the api demands it or the request asks", async () => {
    const assertion = () => ({
      client_assertion: jwtAssertion(pi, at.clock.now, { aud: `${ISSUER}/token` }),
      client_assertion_type: JWT_BEARER,
    });
    const bound = json(await askJson({ ...assertion(), audience: "plant.tele" }));
    expect(bound["token_type"]).toBe("pop");
    expect(verify(String(bound["access_token"])).claims.cnf).toMatchObject({ kind: "key" });
    const named = json(await form({ ...credentials, ...assertion(), req_cnf: JSON.stringify({ jwk: toJwk(pi.key) }) }));
    expect(verify(String(named["access_token"])).claims.cnf).toMatchObject({ kind: "key" });
  });

  test("binds to the certificate over mTLS, and takes RFC 9431's scope text", async () => {
    const scope = encodeScopeText([parsePermission("pub:p/pi/up")]);
    const answer = json(await askJson({ audience: "plant.tele", scope, client_id: "plant.pi" }, {}, pi));
    expect(answer["scope"]).toBeUndefined();
    const { claims } = verify(String(answer["access_token"]));
    expect(claims.cnf).toMatchObject({ kind: "certificate" });
  });
});

test("a certificate asks for a bound token, even where the api takes bearer tokens", async () => {
  createClient(at.registry, { project: "plant", name: "eye", kind: "device", roles: ["reader"] });
  const eye = await makeDevice(at, "plant.eye");
  const overMtls = json(await askJson({ grant_type: "client_credentials" }, {}, eye));
  expect(overMtls["token_type"]).toBe("pop");
  expect(verify(String(overMtls["access_token"]), "plant.open").claims.cnf).toMatchObject({ kind: "certificate" });
  const assertion = { client_assertion: jwtAssertion(eye, at.clock.now), client_assertion_type: JWT_BEARER };
  expect(json(await askJson(assertion))["token_type"]).toBe("Bearer");
});

test("every token has its row and its audit row", async () => {
  const newest = () => at.registry.db.prepare("SELECT * FROM issued ORDER BY number DESC LIMIT 1").get();
  const { accessToken } = readTokenResponse((await askCbor({}, pi)).body);
  const { hashes, claims } = verify(accessToken);
  expect(newest()).toMatchObject({
    token_hash: Buffer.from(hashes[0]!, "hex"),
    number: Buffer.from(claims.id).readUIntBE(0, claims.id.length),
    client: "plant.pi",
    key_thumbprint: pi.key.thumbprint,
  });
  const [row] = listAudit(at.registry, { project: "plant", limit: 1 });
  expect(row).toMatchObject({ event: "token.issued", actor: "plant.pi", facts: { by: "certificate", bound: "key" } });
});

test("logs no token and no secret", () => {
  const text = JSON.stringify(at.lines);
  expect(text).not.toContain(secret);
  // the header of a JWT is longer than an id, which may begin like one
  expect(text).not.toMatch(/eyJ[\w-]{12}/);
});
