/** Tokens for apis of kind http (RFC 6749, RFC 9068): every way to prove oneself, scopes by their names, and what comes back. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { listAudit } from "../../broker/registry/audit.ts";
import { createClient, setClientRoles } from "../../broker/registry/clients.ts";
import { encodeTokenRequest, readTokenResponse, type TokenRequest } from "../../shared/ace.ts";
import { toJwk } from "../../shared/cose-key.ts";
import { encodeScopeText, parsePermission } from "../../shared/scope.ts";
import {
  ACE,
  basic,
  cwtAssertion,
  ISSUER,
  makeDevice,
  openFixture,
  type Answer,
  type Device,
  type Fixture,
} from "./fixture.ts";
import { assertionFields, formCall, furnishShop, jsonCall, readJson, verifyAt, type Shop } from "./http-apis.ts";

let at: Fixture;
let shop: Shop;
let till: Device;

beforeAll(async () => {
  at = await openFixture();
  shop = furnishShop(at.registry);
  till = await makeDevice(at, "shop.till");
});
afterAll(() => at.close());

const inBody = () => ({ client_id: "shop.web", client_secret: shop.secret });
const byBasic = () => basic("shop.web", shop.secret);

function askCbor(request: Partial<TokenRequest>, as?: Device, headers?: Record<string, string>): Promise<Answer> {
  return at.call("/token", { type: ACE, body: encodeTokenRequest(request), as, headers });
}

describe("a bearer token, where the api takes it", () => {
  const audience = "shop.open";
  test.each<[string, () => Parameters<Fixture["call"]>[1]]>([
    ["Basic", () => formCall({ audience }, byBasic())],
    ["a secret in the form", () => formCall({ audience, ...inBody() })],
    ["a secret in JSON", () => jsonCall({ audience, ...inBody() })],
    ["private_key_jwt", () => formCall({ audience, ...assertionFields(shop.web, at.clock.now) })],
    ["private_key_jwt in JSON", () => jsonCall({ audience, ...assertionFields(shop.web, at.clock.now) })],
  ])("is given for %s", async (_name, call) => {
    const answer = await at.call("/token", call());
    expect(answer.status).toBe(200);
    expect(answer.headers).toMatchObject({
      "content-type": "application/json",
      "cache-control": "no-store",
      pragma: "no-cache",
      "ratelimit-policy": '"client";q=600;w=60',
      ratelimit: expect.stringMatching(/^"client";r=\d+;t=\d+$/) as string,
    });
    const { access_token: token, ...rest } = readJson(answer);
    expect(rest).toEqual({ token_type: "Bearer", expires_in: 3600, scope: "read write" });
    const { claims, format } = verifyAt(at, token, audience);
    expect([format, claims.scope, claims.cnf]).toEqual(["jwt", "read write", undefined]);
  });

  test("has the header and the claims of RFC 9068, section 2, and no others", async () => {
    const { access_token: token } = readJson(await at.call("/token", jsonCall({ audience, ...inBody() })));
    const [head, payload] = String(token)
      .split(".")
      .map((part) => Buffer.from(part, "base64url").toString());
    expect(JSON.parse(head!)).toEqual({ alg: "ES256", typ: "at+jwt", kid: expect.any(String) as string });
    expect(JSON.parse(payload!)).toEqual({
      iss: ISSUER,
      sub: "shop.web",
      client_id: "shop.web",
      aud: audience,
      iat: at.clock.now,
      exp: at.clock.now + 3600,
      jti: expect.any(String) as string,
      scope: "read write",
    });
  });

  test("is a CWT where the api says so, with the scope as text", async () => {
    const { access_token: token } = readJson(await at.call("/token", jsonCall({ audience: "shop.tiny", ...inBody() })));
    expect(verifyAt(at, token, "shop.tiny")).toMatchObject({ format: "cwt", claims: { scope: "list" }, grants: [] });
  });
});

describe("a bound token", () => {
  const audience = "shop.orders";

  test("is bound to the key that signed the assertion", async () => {
    const call = formCall({ audience, ...assertionFields(shop.web, at.clock.now) });
    const { access_token: token, token_type: type } = readJson(await at.call("/token", call));
    expect(type).toBe("pop");
    const { cnf } = verifyAt(at, token, audience).claims;
    expect(cnf).toMatchObject({ kind: "key", key: { thumbprint: shop.web.key.thumbprint } });
  });

  test("is bound to it where bearer would do, when the request names the key", async () => {
    const fields = { audience: "shop.open", req_cnf: JSON.stringify({ jwk: toJwk(shop.web.key) }) };
    const call = formCall({ ...fields, ...assertionFields(shop.web, at.clock.now) });
    const { access_token: token, token_type: type } = readJson(await at.call("/token", call));
    expect([type, verifyAt(at, token, "shop.open").claims.cnf?.kind]).toEqual(["pop", "key"]);
  });

  test("is bound to the certificate over mTLS, and used as a bearer token is (RFC 8705, section 3)", async () => {
    const call = jsonCall({ grant_type: "client_credentials", client_id: "shop.till", audience }, {}, till);
    const { access_token: token, ...rest } = readJson(await at.call("/token", call));
    expect(rest).toEqual({ token_type: "Bearer", expires_in: 300, scope: "read" });
    expect(verifyAt(at, token, audience).claims.cnf?.kind).toBe("certificate");
  });

  test.each<[string, () => Promise<Answer>]>([
    ["a certificate", () => askCbor({ audience, wantsProfile: true }, till)],
    ["a CWT assertion", () => askCbor({ audience, clientAssertion: cwtAssertion(till, at.clock.now) })],
  ])("is a CWT in CBOR, for %s", async (_name, ask) => {
    const { accessToken, tokenType, scope, profile } = readTokenResponse((await ask()).body);
    // the profile is that of MQTT
    expect([tokenType, scope, profile]).toEqual(["pop", "read", false]);
    const { format, claims } = verifyAt(at, Buffer.from(accessToken).toString("base64url"), audience);
    expect([format, claims.scope, claims.aud]).toEqual(["cwt", "read", audience]);
    expect(claims.cnf).toMatchObject({ kind: "key", key: { thumbprint: till.key.thumbprint } });
  });

  test.each<[string, () => Promise<Answer>, string, string]>([
    ["a secret", () => at.call("/token", jsonCall({ audience, ...inBody() })), "request.unbound", "invalid_request"],
    [
      "a key that it did not prove",
      () => at.call("/token", jsonCall({ audience, ...inBody(), req_cnf: { jwk: toJwk(till.key) } })),
      "request.key",
      "unsupported_pop_key",
    ],
  ])("is not given for %s", async (_name, ask, reason, error) => {
    const answer = await ask();
    expect([answer.status, readJson(answer)["error"], at.reason()]).toEqual([400, error, reason]);
  });

  test("is what CBOR asks for, so that a secret gets none there", async () => {
    const answer = await askCbor({ audience: "shop.open" }, undefined, byBasic());
    expect([answer.status, at.reason()]).toEqual([400, "request.unbound"]);
  });
});

describe("the scope", () => {
  const ask = (scope: string, audience = "shop.open") => at.call("/token", jsonCall({ audience, scope, ...inBody() }));

  test.each<[asked: string, granted: string, stated: string | undefined]>([
    ["read", "read", undefined],
    ["read write", "read write", undefined],
    ["write read", "read write", undefined],
    ["read read", "read", undefined],
    ["read admin", "read", "read"],
    ["admin write unknown", "write", "write"],
  ])("%j gives %j, stated as %j", async (asked, granted, stated) => {
    const answer = readJson(await ask(asked));
    expect(answer["scope"]).toBe(stated);
    expect(verifyAt(at, answer["access_token"], "shop.open").claims.scope).toBe(granted);
  });

  test.each<[string, string]>([
    ["beyond the roles", "admin"],
    ["nobody knows", "fly"],
    ["empty", ""],
    ["with two spaces", "read  write"],
    ["with a space at the end", "read "],
    ["with a tab", "read\twrite"],
    ["with a line feed", "read\nwrite"],
    ["with a quote", 'read "'],
    ["with a backslash", "read \\"],
    ["that is not ASCII", "rëad"],
    ["in other case", "READ"],
    ["of an api of kind mqtt", encodeScopeText([parsePermission("pub:t/x")])],
  ])("%s is invalid_scope: %j", async (_name, scope) => {
    const answer = await ask(scope);
    expect([answer.status, readJson(answer)["error"], at.reason()]).toEqual([400, "invalid_scope", "request.scope"]);
  });

  test("of a client without a role on the api is invalid_scope", async () => {
    createClient(at.registry, { project: "shop", name: "bare", kind: "device" });
    const bare = await makeDevice(at, "shop.bare");
    const answer = await at.call("/token", jsonCall({ audience: "shop.orders" }, {}, bare));
    expect([readJson(answer)["error"], at.reason()]).toEqual(["invalid_scope", "request.scope"]);
    setClientRoles(at.registry, "shop.bare", ["orders-reader"]);
    expect(readJson(await at.call("/token", jsonCall({ audience: "shop.orders" }, {}, bare)))["scope"]).toBe("read");
  });

  test("in CBOR is text, and grants are not", async () => {
    const answer = await askCbor({ audience: "shop.orders", scope: "read" }, till);
    expect(readTokenResponse(answer.body).scope).toBeUndefined();
    expect((await askCbor({ audience: "shop.orders", scope: [parsePermission("pub:t/x")] }, till)).status).toBe(400);
    expect(at.reason()).toBe("request.scope");
  });
});

test("an api of another project is answered as one that there is not", async () => {
  const hear = async (audience: string): Promise<string> => {
    const { status, body } = await at.call("/token", jsonCall({ audience, ...inBody() }));
    expect(at.reason()).toBe("request.audience");
    return `${String(status)} ${body.toString().replace(/id [\w-]{12}/, "")}`;
  };
  expect(await hear("other.orders")).toBe(await hear("other.nothing"));
});

test("a client with one api, of kind http, need not name it", async () => {
  const { access_token: token } = readJson(await at.call("/token", jsonCall({}, {}, till)));
  expect(verifyAt(at, token, "shop.orders").claims.aud).toBe("shop.orders");
});

test("/v1/self names apis of both kinds, with what the client may there", async () => {
  const { apis } = readJson(await at.call("/v1/self", { headers: byBasic() }));
  expect(apis).toEqual([
    { name: "open", kind: "http", audience: "shop.open", bearer: true, permissions: ["read", "write"] },
    { name: "orders", kind: "http", audience: "shop.orders", bearer: false, permissions: ["read", "write"] },
    { name: "tele", kind: "mqtt", audience: "shop.tele", bearer: true, permissions: ["pub:t/x"] },
    { name: "tiny", kind: "http", audience: "shop.tiny", bearer: true, permissions: ["list"] },
  ]);
});

test("the audit row says which token, for what, how bound and how proven, and has no token in it", async () => {
  const { access_token: token } = readJson(await at.call("/token", jsonCall({ audience: "shop.open", ...inBody() })));
  const [row] = listAudit(at.registry, { project: "shop", limit: 1 });
  expect(row).toMatchObject({ event: "token.issued", actor: "shop.web", subject: "shop.web" });
  expect(row!.facts).toEqual({
    cti: Buffer.from(verifyAt(at, token, "shop.open").claims.id).toString("hex"),
    audience: "shop.open",
    format: "jwt",
    bound: "none",
    by: "secret",
  });
  const signature = String(token).split(".")[2]!;
  expect(JSON.stringify([at.registry.db.prepare("SELECT * FROM audit").all(), at.lines])).not.toContain(signature);
});

describe("the quota", () => {
  test("is stated with each answer, and 429 says when to come back", async () => {
    const few = await openFixture({ tokensPerMinute: 2 });
    try {
      const { secret } = furnishShop(few.registry);
      const ask = () => few.call("/token", jsonCall({ audience: "shop.open" }, basic("shop.web", secret)));
      const states = [];
      for (const _ of [1, 2, 3]) {
        const { status, headers } = await ask();
        states.push([status, headers["ratelimit-policy"], headers["ratelimit"], headers["retry-after"]]);
      }
      expect(states).toEqual([
        [200, '"client";q=2;w=60', '"client";r=1;t=60', undefined],
        [200, '"client";q=2;w=60', '"client";r=0;t=60', undefined],
        [429, '"client";q=2;w=60', '"client";r=0;t=60', "60"],
      ]);
      expect(few.reason()).toBe("rate.limited");
      few.clock.now += 60;
      expect((await ask()).status).toBe(200);
    } finally {
      await few.close();
    }
  });
});
