/** `POST /revoke` (RFC 7009): a client takes back its own tokens, in every encoding, and learns nothing of others'. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { listAudit } from "../../broker/registry/audit.ts";
import { createApi } from "../../broker/registry/apis.ts";
import { createClient, setClientRoles } from "../../broker/registry/clients.ts";
import { createRole } from "../../broker/registry/roles.ts";
import { nextTokenId } from "../../broker/registry/issued.ts";
import { createSecret } from "../../broker/registry/secrets.ts";
import { activeSigner } from "../../broker/registry/signing-keys.ts";
import { encodeTokenRequest, readTokenError, readTokenResponse } from "../../shared/ace.ts";
import { encode, type Cbor } from "../../shared/cbor.ts";
import type { Claims } from "../../shared/claims.ts";
import { mintCwt } from "../../shared/cwt.ts";
import { createSigner } from "../../shared/es256.ts";
import { mintJwt } from "../../shared/jwt.ts";
import { parsePermission } from "../../shared/scope.ts";
import { tokenHashes } from "../../shared/token.ts";
import {
  ACE,
  basic,
  cwtAssertion,
  furnish,
  ISSUER,
  JWT_BEARER,
  jwtAssertion,
  makeDevice,
  makeKey,
  openFixture,
  type Answer,
  type Call,
  type Device,
  type Fixture,
} from "./fixture.ts";

const FORM = "application/x-www-form-urlencoded";
const JSON_TYPE = "application/json";
const key = { token: 11, clientId: 24, hint: 33, clientAssertion: -65537 };

let at: Fixture;
let secret: string;
/** Of the api `open`, for which `bearer` is. */
let apiSecret: string;
let bearer: string;
let pi: Device;
let other: Device;

beforeAll(async () => {
  at = await openFixture();
  const { registry } = at;
  ({ secret } = furnish(registry));
  createClient(registry, { project: "plant", name: "other", kind: "device", roles: ["sensor"] });
  createApi(registry, { project: "plant", name: "web", kind: "mqtt", topics: ["w/#"], format: "jwt" });
  const permissions = [parsePermission("sub:w/#")];
  createRole(registry, { project: "plant", api: "web", name: "viewer", permissions });
  setClientRoles(registry, "plant.pi", ["sensor", "viewer"]);
  pi = await makeDevice(at, "plant.pi");
  other = await makeDevice(at, "plant.other");
  apiSecret = createSecret(registry, { project: "plant", api: "open" }).secret;
  bearer = await getBearer();
});
beforeEach(() => {
  at.clock.now += 1;
});
afterAll(() => at.close());

const tokens: Record<string, (as?: Device) => Promise<Uint8Array>> = {
  cwt: (as = pi) => ask({ audience: "plant.tele" }, as),
  // given out in CBOR, so that the list names it by its other spelling
  jwt: (as = pi) => ask({ audience: "plant.web" }, as),
};

async function ask(request: { audience: string }, as: Device): Promise<Uint8Array> {
  const answer = await at.call("/token", { type: ACE, body: encodeTokenRequest(request), as });
  return readTokenResponse(answer.body).accessToken;
}

async function getBearer(): Promise<string> {
  const value = { grant_type: "client_credentials", client_id: "plant.board", client_secret: secret };
  const answer = await at.call("/token", { type: JSON_TYPE, body: JSON.stringify(value) });
  return (JSON.parse(answer.body.toString()) as { access_token: string }).access_token;
}

function revoke(type: string, fields: Record<string, string> | Map<Cbor, Cbor>, call: Call = {}): Promise<Answer> {
  const inForm =
    type === FORM ? new URLSearchParams(fields as Record<string, string>).toString() : JSON.stringify(fields);
  return at.call("/revoke", { ...call, type, body: fields instanceof Map ? encode(fields) : inForm });
}

function isRevoked(token: string | Uint8Array): boolean[] {
  return tokenHashes(token).map((hash) => at.trust.isTokenRevoked([hash]));
}

/** What a token that is taken back leaves behind; a refusal has a row of its own. */
function rows(): unknown {
  const count = (table: string): unknown => at.registry.db.prepare(`SELECT count(*) FROM ${table}`).pluck().get();
  return ["revoked_token", "trl_update", "audit WHERE reason IS NULL"].map(count);
}

const base64url = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64url");
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");

describe("a client's own token", () => {
  test.each<[string, "cwt" | "jwt", (token: Uint8Array) => Promise<Answer>]>([
    ["a CWT in a form", "cwt", (token) => revoke(FORM, { token: base64url(token) }, { as: pi })],
    ["a CWT in JSON", "cwt", (token) => revoke(JSON_TYPE, { token: base64url(token) }, { as: pi })],
    ["a CWT in ACE's JSON", "cwt", (token) => revoke("application/ace+json", { token: base64url(token) }, { as: pi })],
    ["a CWT in CBOR", "cwt", (token) => revoke(ACE, new Map([[key.token, token]]), { as: pi })],
    ["a CWT as text in CBOR", "cwt", (token) => revoke(ACE, new Map([[key.token, base64url(token)]]), { as: pi })],
    ["a JWT in a form", "jwt", (token) => revoke(FORM, { token: text(token) }, { as: pi })],
    ["a JWT in CBOR", "jwt", (token) => revoke(ACE, new Map([[key.token, token]]), { as: pi })],
    ["base64url of a JWT", "jwt", (token) => revoke(FORM, { token: base64url(token) }, { as: pi })],
  ])("is taken back as %s, in either spelling, once", async (_, format, send) => {
    const token = await tokens[format]!();
    expect(isRevoked(token)).not.toContain(true);
    const answer = await send(token);
    expect([answer.status, answer.body.length]).toEqual([200, 0]);
    expect(answer.headers).toMatchObject({ "cache-control": "no-store" });
    expect(isRevoked(token)).not.toContain(false);
    const [row] = listAudit(at.registry, { project: "plant", limit: 1 });
    const listed = tokenHashes(token).at(-1);
    expect(row).toMatchObject({
      event: "token.revoked",
      actor: "plant.pi",
      subject: "plant.pi",
      facts: { hash: listed },
    });
    const before = rows();
    expect((await send(token)).status).toBe(200);
    expect(rows()).toEqual(before);
  });

  test.each<[string, (token: string) => Promise<Answer>]>([
    ["its secret in the header", (token) => revoke(FORM, { token }, { headers: basic("plant.board", secret) })],
    ["its secret in a form", (token) => revoke(FORM, { token, client_id: "plant.board", client_secret: secret })],
    ["its secret in JSON", (token) => revoke(JSON_TYPE, { token, client_id: "plant.board", client_secret: secret })],
  ])("is taken back by who proves itself by %s", async (_, send) => {
    const token = await getBearer();
    expect((await send(token)).status).toBe(200);
    expect(isRevoked(token)).toEqual([true, true]);
    const [row] = listAudit(at.registry, { project: "plant", limit: 1 });
    expect(row).toMatchObject({ facts: { hash: tokenHashes(token)[0] } });
  });

  test.each(["access_token", "refresh_token", "nonsense", ""])("whatever the hint: %j", async (hint) => {
    const token = await tokens["cwt"]!();
    expect((await revoke(FORM, { token: base64url(token), token_type_hint: hint }, { as: pi })).status).toBe(200);
    expect(isRevoked(token)).toEqual([true]);
    const second = await tokens["cwt"]!();
    const map = new Map<Cbor, Cbor>([
      [key.token, second],
      [key.hint, hint],
    ]);
    expect((await revoke(ACE, map, { as: pi })).status).toBe(200);
    expect(isRevoked(second)).toEqual([true]);
  });

  test("is taken back although its record is lost", async () => {
    const claims: Claims = {
      iss: ISSUER,
      sub: "plant.pi",
      aud: "plant.tele",
      exp: at.clock.now + 60,
      iat: at.clock.now,
      id: nextTokenId(at.registry),
    };
    const token = mintCwt(claims, activeSigner(at.registry));
    expect((await revoke(ACE, new Map([[key.token, token]]), { as: pi })).status).toBe(200);
    expect(isRevoked(token)).toEqual([true]);
  });
});

describe("an assertion", () => {
  test("proves who asks, in CBOR and as a JWT, and is spent with it", async () => {
    const assertion = cwtAssertion(pi, at.clock.now);
    const [first, second] = [await tokens["cwt"]!(), await tokens["cwt"]!()];
    const sent = (token: Uint8Array): Map<Cbor, Cbor> =>
      new Map<Cbor, Cbor>([
        [key.token, token],
        [key.clientAssertion, assertion],
      ]);
    expect((await revoke(ACE, sent(first))).status).toBe(200);
    const again = await revoke(ACE, sent(second));
    expect([again.status, readTokenError(again.body).error, at.reason()]).toEqual([
      401,
      "invalid_client",
      "assertion.replayed",
    ]);
    expect([isRevoked(first), isRevoked(second)]).toEqual([[true], [false]]);
    const fields = { client_assertion: jwtAssertion(pi, at.clock.now), client_assertion_type: JWT_BEARER };
    expect((await revoke(FORM, { token: base64url(second), ...fields })).status).toBe(200);
    expect(isRevoked(second)).toEqual([true]);
  });

  test("is spent also where there was nothing to take back, and cannot get a token then", async () => {
    const assertion = cwtAssertion(pi, at.clock.now);
    const sent = new Map<Cbor, Cbor>([
      [key.token, Buffer.from("nothing")],
      [key.clientAssertion, assertion],
    ]);
    expect((await revoke(ACE, sent)).status).toBe(200);
    const asked = { type: ACE, body: encodeTokenRequest({ audience: "plant.tele", clientAssertion: assertion }) };
    expect([(await at.call("/token", asked)).status, at.reason()]).toEqual([401, "assertion.replayed"]);
  });
});

describe("what is no live token of ours is answered as taken back, and nothing is written", () => {
  test.each<[string, () => Promise<string> | string]>([
    ["garbage", () => "garbage"],
    ["bytes of text", () => Buffer.from("garbage").toString("base64url")],
    ["something too long", () => "2D3S".repeat(2_500)],
    ["JSON", () => `{"a":1}`],
    ["a hash, which is no token", async () => tokenHashes(await tokens["cwt"]!())[0]!],
    ["a refresh token of somewhere else", () => "tGzv3JOkF0XG5Qx2TlKWIA"],
    [
      "a token of its own signed with another key",
      () => {
        const claims = { iss: ISSUER, sub: "plant.pi", aud: "plant.tele", exp: at.clock.now + 60, iat: at.clock.now };
        const { privateKey } = makeKey();
        return mintJwt({ ...claims, id: Buffer.from([1]) }, createSigner(activeSigner(at.registry).kid, privateKey));
      },
    ],
    [
      "a token that has expired",
      async () => {
        const token = await tokens["cwt"]!();
        at.clock.now += 600;
        return base64url(token);
      },
    ],
  ])("%s", async (_, make) => {
    const token = await make();
    const before = rows();
    const answer = await revoke(JSON_TYPE, { token }, { as: pi });
    expect([answer.status, answer.body.length, rows()]).toEqual([200, 0, before]);
  });
});

describe("another's token", () => {
  test("is refused in the same words whether there is such a token or not", async () => {
    const real = await tokens["cwt"]!(other);
    const claims = { iss: ISSUER, sub: "plant.other", aud: "plant.tele", exp: at.clock.now + 60, iat: at.clock.now };
    const { privateKey } = makeKey();
    const forged = mintCwt({ ...claims, id: Buffer.from([1]) }, createSigner("zz", privateKey));
    const answers = [];
    for (const token of [real, forged]) {
      const before = rows();
      const answer = await revoke(JSON_TYPE, { token: base64url(token) }, { as: pi });
      expect([at.reason(), rows()]).toEqual(["token.subject", before]);
      const { error, error_description: says } = JSON.parse(answer.body.toString()) as Record<string, string>;
      answers.push([answer.status, error, says!.replace(/\(id .*/, "")]);
    }
    expect(answers[0]).toEqual([400, "unauthorized_client", expect.any(String)]);
    expect(answers[1]).toEqual(answers[0]);
    expect(isRevoked(real)).toEqual([false]);
    const inCbor = await revoke(ACE, new Map([[key.token, real]]), { as: pi });
    expect([inCbor.status, readTokenError(inCbor.body).error]).toEqual([400, "unauthorized_client"]);
  });

  test("is taken back by the holder of the admin key", async () => {
    const token = await tokens["jwt"]!();
    const headers = { authorization: "Bearer admin-key" };
    expect((await revoke(FORM, { token: text(token) }, { headers })).status).toBe(200);
    expect(isRevoked(token)).toEqual([true, true]);
    expect(listAudit(at.registry, { project: "plant", limit: 1 })).toMatchObject([
      { actor: "admin", subject: "plant.pi" },
    ]);
    expect((await revoke(FORM, { token: "garbage" }, { headers })).status).toBe(200);
  });
});

test("asks whoever comes with a Bearer key for another one", async () => {
  const answer = await revoke(FORM, { token: "a" }, { headers: { authorization: "Bearer x" } });
  expect(answer.headers["www-authenticate"]).toBe('Bearer realm="postern"');
});

describe("refuses", () => {
  test.each<[string, () => Promise<Answer>, number, string]>([
    ["nobody", () => revoke(FORM, { token: "a" }), 401, "credential.missing"],
    [
      "another admin key",
      () => revoke(FORM, { token: "a" }, { headers: { authorization: "Bearer x" } }),
      401,
      "admin.key",
    ],
    [
      "an empty admin key",
      () => revoke(FORM, { token: "a" }, { headers: { authorization: "Bearer" } }),
      401,
      "admin.key",
    ],
    [
      "a wrong secret",
      () => revoke(FORM, { token: "a" }, { headers: basic("plant.board", "x") }),
      401,
      "client.secret",
    ],
    [
      "an unknown client",
      () => revoke(FORM, { token: "a" }, { headers: basic("plant.no", "x") }),
      401,
      "client.unknown",
    ],
    [
      "two ways of proving oneself",
      () => revoke(FORM, { token: "a", client_secret: secret }, { as: pi }),
      400,
      "request.malformed",
    ],
    [
      "an assertion without its type",
      () => revoke(FORM, { token: "a", client_assertion: jwtAssertion(pi, at.clock.now) }),
      400,
      "request.malformed",
    ],
    ["no token", () => revoke(FORM, { token_type_hint: "access_token" }, { as: pi }), 400, "request.malformed"],
    ["an empty token", () => revoke(FORM, { token: "" }, { as: pi }), 400, "request.malformed"],
    ["an empty token in JSON", () => revoke(JSON_TYPE, { token: "" }, { as: pi }), 400, "request.malformed"],
    ["no body", () => at.call("/revoke", { method: "POST", as: pi }), 400, "request.malformed"],
    [
      "CBOR that is no map",
      () => at.call("/revoke", { type: ACE, body: Buffer.from("80", "hex"), as: pi }),
      400,
      "cbor.type",
    ],
    ["CBOR without a token", () => revoke(ACE, new Map([[1, 2]]), { as: pi }), 400, "request.malformed"],
    ["a number for a token", () => revoke(ACE, new Map([[key.token, 1]]), { as: pi }), 400, "request.malformed"],
    [
      "a number for a client",
      () =>
        revoke(
          ACE,
          new Map<Cbor, Cbor>([
            [key.token, "a"],
            [key.clientId, 1],
          ]),
          { as: pi },
        ),
      400,
      "request.malformed",
    ],
    [
      "text for an assertion",
      () =>
        revoke(
          ACE,
          new Map<Cbor, Cbor>([
            [key.token, "a"],
            [key.clientAssertion, "a"],
          ]),
        ),
      400,
      "request.malformed",
    ],
    [
      "a token twice",
      () => at.call("/revoke", { type: FORM, body: "token=a&token=b", as: pi }),
      400,
      "request.malformed",
    ],
    ["XML", () => at.call("/revoke", { type: "text/xml", body: "<a/>", as: pi }), 415, "request.media-type"],
    ["a body too large", () => revoke(FORM, { token: "a".repeat(20_000) }, { as: pi }), 413, "request.too-large"],
    ["GET", () => at.call("/revoke", { as: pi }), 405, "request.method"],
    [
      "an api, also a token that is for it",
      () => revoke(FORM, { token: bearer }, { headers: basic("plant/open", apiSecret) }),
      400,
      "access.permission",
    ],
    [
      "a token in the query",
      () => at.call("/revoke?token=a", { type: FORM, body: "token=a", as: pi }),
      400,
      "request.malformed",
    ],
  ])("%s", async (_, send, status, reason) => {
    const before = rows();
    const answer = await send();
    expect([answer.status, at.reason(), rows()]).toEqual([status, reason, before]);
  });

  test("a client that was disabled, with its certificate and its old assertion", async () => {
    createClient(at.registry, { project: "plant", name: "late", kind: "device", roles: ["sensor"] });
    const late = await makeDevice(at, "plant.late");
    const token = await tokens["cwt"]!(late);
    const assertion = cwtAssertion(late, at.clock.now);
    const wish = {
      type: JSON_TYPE,
      body: `{"clients":["plant.late"]}`,
      headers: { authorization: "Bearer admin-key" },
    };
    expect((await at.call("/v1/revocations", wish)).status).toBe(200);
    const sent = new Map<Cbor, Cbor>([[key.token, token]]);
    expect([(await revoke(ACE, sent, { as: late })).status, at.reason()]).toEqual([401, "client.disabled"]);
    sent.set(key.clientAssertion, assertion);
    expect([(await revoke(ACE, sent)).status, at.reason()]).toEqual([401, "client.disabled"]);
  });
});

test("metadata names it", async () => {
  const metadata = JSON.parse((await at.call("/.well-known/oauth-authorization-server")).body.toString()) as object;
  expect(metadata).toMatchObject({
    revocation_endpoint: `${ISSUER}/revoke`,
    revocation_endpoint_auth_methods_supported: expect.arrayContaining(["tls_client_auth"]),
  });
});
