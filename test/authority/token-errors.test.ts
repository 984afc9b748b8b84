/**
 * The errors of the token endpoint (RFC 6749, section 5.2; RFC 9200, section 5.8.3): each parameter missing, of the wrong type,
 * there twice, too long and with control characters, in form, JSON and CBOR.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { readTokenError } from "../../shared/ace.ts";
import { encode, type Cbor } from "../../shared/cbor.ts";
import { toCoseKey, toJwk } from "../../shared/cose-key.ts";
import { meaningOf, type Reason } from "../../shared/refusal.ts";
import {
  ACE,
  basic,
  countRows,
  cwtAssertion,
  JWT_BEARER,
  makeDevice,
  openFixture,
  type Answer,
  type Call,
  type Device,
  type Fixture,
} from "./fixture.ts";
import { assertionFields, FORM, furnishShop, readJson, toForm, type Shop } from "./http-apis.ts";

let at: Fixture;
let shop: Shop;
let till: Device;
let before: Record<string, unknown>;

beforeAll(async () => {
  // the rows below are many failures of one client
  at = await openFixture({ clientFailuresPerMinute: 10_000, addressFailuresPerMinute: 10_000 });
  shop = furnishShop(at.registry);
  till = await makeDevice(at, "shop.till");
});
afterAll(() => at.close());
beforeEach(() => {
  before = countRows(at.registry);
  at.lines.length = 0;
});

type Outcome = readonly [reason: Reason, status: number, error: string];

const malformed: Outcome = ["request.malformed", 400, "invalid_request"];
const noAudience: Outcome = ["request.audience", 400, "invalid_request"];
const noScope: Outcome = ["request.scope", 400, "invalid_scope"];
const noGrant: Outcome = ["request.grant-type", 400, "unsupported_grant_type"];
const noProfile: Outcome = ["request.profile", 400, "incompatible_ace_profiles"];
const noClient: Outcome = ["client.unknown", 401, "invalid_client"];
const noSecret: Outcome = ["client.secret", 401, "invalid_client"];
const noAssertion: Outcome = ["assertion.malformed", 401, "invalid_client"];
const badKey = (reason: Reason): Outcome => [reason, 400, "unsupported_pop_key"];

const control = "\u0000\r\nSet-Cookie: a=b\u007f";
const long = "x".repeat(9_000);

/** Checks a refusal to its last header, and that nothing was written. */
async function expectRefused(call: Call, [reason, status, error]: Outcome): Promise<Answer> {
  const answer = await at.call("/token", call);
  expect([at.reason(), answer.status]).toEqual([reason, status]);
  // whoever fails to prove itself hears the same, whatever it tried
  const { says } = meaningOf(error === "invalid_client" ? "client.unknown" : reason);
  const description = `${says} (id ${String(at.lines.at(-1)?.["id"])})`;
  if (call.type === ACE) {
    expect(answer.headers["content-type"]).toBe(ACE);
    expect(readTokenError(answer.body)).toEqual({ error, description });
  } else {
    expect(answer.headers["content-type"]).toBe("application/json");
    expect(readJson(answer)).toEqual({ error, error_description: description });
  }
  expect(description).toMatch(/^[\x20-\x21\x23-\x5b\x5d-\x7e]+$/);
  expect(answer.headers).toMatchObject({ "cache-control": "no-store", pragma: "no-cache" });
  const tried = call.headers?.["authorization"] !== undefined;
  expect(answer.headers["www-authenticate"]).toBe(status === 401 && tried ? 'Basic realm="postern"' : undefined);
  expect(answer.headers["set-cookie"]).toBeUndefined();
  expect(countRows(at.registry)).toEqual(before);
  return answer;
}

/** What is asked with a secret, and with an assertion; undefined takes a parameter out. */
const bySecret = () => ({
  grant_type: "client_credentials",
  audience: "shop.open",
  scope: "read",
  client_id: "shop.web",
  client_secret: shop.secret,
});
const byAssertion = (): Record<string, string> => ({
  grant_type: "client_credentials",
  audience: "shop.open",
  client_id: "shop.web",
  ...assertionFields(shop.web, at.clock.now),
});
const jwk = () => toJwk(shop.web.key);

type Fields = Record<string, unknown>;

const json = (fields: object): Call => ({ type: "application/json", body: JSON.stringify(fields) });
const form = (fields: object): Call => ({
  type: FORM,
  body: toForm(JSON.parse(JSON.stringify(fields)) as Record<string, string>),
});

describe.each([
  ["JSON", json],
  ["form", form],
])("in %s", (_wire, send) => {
  test.each<[string, () => Fields]>([
    ["a secret", bySecret],
    ["an assertion", byAssertion],
    ["parameters that nobody knows, with whatever in them", () => ({ ...bySecret(), resource: control, "": "x" })],
  ])("what the rows change is good, with %s", async (_name, fields) => {
    expect((await at.call("/token", send(fields()))).status).toBe(200);
  });

  test.each<[string, () => Fields, Outcome]>([
    // missing
    ["no audience, with several apis", () => ({ ...bySecret(), audience: undefined }), noAudience],
    ["no client_id", () => ({ ...bySecret(), client_id: undefined }), ["credential.malformed", 401, "invalid_client"]],
    [
      "no client_secret and nothing else",
      () => ({ ...bySecret(), client_secret: undefined }),
      ["credential.missing", 401, "invalid_client"],
    ],
    ["no client_assertion with its type", () => ({ ...byAssertion(), client_assertion: undefined }), malformed],
    ["no client_assertion_type", () => ({ ...byAssertion(), client_assertion_type: undefined }), malformed],

    // too long
    ["a long grant_type", () => ({ ...bySecret(), grant_type: long }), noGrant],
    ["a long audience", () => ({ ...bySecret(), audience: long }), noAudience],
    ["a long scope", () => ({ ...bySecret(), scope: long }), noScope],
    ["a long client_id", () => ({ ...bySecret(), client_id: long }), noClient],
    ["a long client_secret", () => ({ ...bySecret(), client_secret: long }), noSecret],
    ["a long client_assertion", () => ({ ...byAssertion(), client_assertion: long }), noAssertion],
    ["a long client_assertion_type", () => ({ ...byAssertion(), client_assertion_type: long }), noAssertion],
    ["a long ace_profile", () => ({ ...bySecret(), ace_profile: long }), noProfile],

    // control characters
    ["control characters in grant_type", () => ({ ...bySecret(), grant_type: control }), noGrant],
    ["control characters in audience", () => ({ ...bySecret(), audience: `shop.open${control}` }), noAudience],
    ["control characters in scope", () => ({ ...bySecret(), scope: `read ${control}` }), noScope],
    ["control characters in client_id", () => ({ ...bySecret(), client_id: `shop.web${control}` }), noClient],
    ["control characters in client_secret", () => ({ ...bySecret(), client_secret: shop.secret + control }), noSecret],
    [
      "control characters in client_assertion",
      () => ({ ...byAssertion(), client_assertion: byAssertion()["client_assertion"] + control }),
      noAssertion,
    ],
    [
      "control characters in client_assertion_type",
      () => ({ ...byAssertion(), client_assertion_type: JWT_BEARER + control }),
      noAssertion,
    ],
    ["control characters in ace_profile", () => ({ ...bySecret(), ace_profile: `mqtt_tls${control}` }), noProfile],

    // what is another's, or nobody's
    ["an audience of another project", () => ({ ...bySecret(), audience: "other.orders" }), noAudience],
    ["an audience that is SQL", () => ({ ...bySecret(), audience: "' OR ''='" }), noAudience],
    ["a client_id that is SQL", () => ({ ...bySecret(), client_id: "shop.web' --" }), noClient],
    ["the credential of an api", () => ({ ...bySecret(), client_id: "shop/open" }), noClient],
    [
      "the client_id of another with an assertion",
      () => ({ ...byAssertion(), client_id: "shop.till" }),
      ["assertion.subject", 401, "invalid_client"],
    ],
    ["a secret and an assertion", () => ({ ...bySecret(), ...byAssertion() }), malformed],
    ["grant_type password", () => ({ ...bySecret(), grant_type: "password" }), noGrant],
    ["grant_type in other case", () => ({ ...bySecret(), grant_type: "Client_Credentials" }), noGrant],
    ["grant_type with a space", () => ({ ...bySecret(), grant_type: "client_credentials " }), noGrant],
    ["grant_type authorization_code", () => ({ ...bySecret(), grant_type: "authorization_code" }), noGrant],
    ["grant_type refresh_token", () => ({ ...bySecret(), grant_type: "refresh_token" }), noGrant],
  ])("refuses %s", async (_name, fields, outcome) => {
    await expectRefused(send(fields()), outcome);
  });
});

describe("in JSON alone", () => {
  test("grant_type may be left out (RFC 9200, section 5.8.1), and ace_profile be null", async () => {
    const { grant_type: _left, ...fields } = bySecret();
    expect((await at.call("/token", json({ ...fields, ace_profile: null }))).status).toBe(200);
  });

  const parameters = [...Object.keys({ ...bySecretNames(), ...byAssertionNames() }), "req_cnf", "ace_profile"];

  test.each(
    parameters.flatMap((name) =>
      [1, true, [], ["x"], { a: 1 }, ...(name === "ace_profile" ? [] : [null])].map((value) => [name, value] as const),
    ),
  )("refuses %s that is %j", async (name, value) => {
    const fields = name.startsWith("client_assertion") ? byAssertion() : bySecret();
    await expectRefused(json({ ...fields, [name]: value }), malformed);
  });

  test.each(parameters)("refuses %s there twice, however it is spelled", async (name) => {
    const fields = name.startsWith("client_assertion") ? byAssertion() : bySecret();
    const rest = JSON.stringify({ ...fields, [name]: "x" }).slice(1);
    const spelled = `\\u00${name.charCodeAt(0).toString(16)}${name.slice(1)}`;
    await expectRefused({ type: "application/json", body: `{"${name}":"y",${rest}` }, malformed);
    await expectRefused({ type: "application/json", body: `{"${spelled}":"y",${rest}` }, malformed);
  });

  test.each<[string, () => unknown, Outcome]>([
    ["text", () => "key", malformed],
    ["without jwk", () => ({}), malformed],
    ["with a member beside jwk", () => ({ jwk: jwk(), kid: "1" }), malformed],
    ["whose jwk is text", () => ({ jwk: "key" }), malformed],
    ["that is private", () => ({ jwk: { ...jwk(), d: jwk().x } }), badKey("key.private")],
    ["of another type", () => ({ jwk: { ...jwk(), kty: "RSA" } }), badKey("key.type")],
    ["whose type has control characters", () => ({ jwk: { ...jwk(), kty: `EC${control}` } }), badKey("key.type")],
    ["on another curve", () => ({ jwk: { ...jwk(), crv: "P-521" } }), badKey("key.curve")],
    ["for another algorithm", () => ({ jwk: { ...jwk(), alg: "HS256" } }), badKey("key.algorithm")],
    ["whose coordinate is a number", () => ({ jwk: { ...jwk(), x: 1 } }), badKey("key.malformed")],
    ["whose coordinate is long", () => ({ jwk: { ...jwk(), x: "A".repeat(8_000) } }), badKey("key.malformed")],
    ["off the curve", () => ({ jwk: { ...jwk(), y: jwk().x } }), badKey("key.point")],
  ])("refuses a req_cnf %s", async (_name, cnf, outcome) => {
    await expectRefused(json({ ...byAssertion(), req_cnf: cnf() }), outcome);
    if (typeof cnf() === "string") return;
    await expectRefused(form({ ...byAssertion(), req_cnf: JSON.stringify(cnf()) }), outcome);
  });
});

describe("in a form alone", () => {
  test.each([...Object.keys({ ...bySecretNames(), ...byAssertionNames() }), "req_cnf", "ace_profile"])(
    "refuses %s there twice, however it is spelled",
    async (name) => {
      const fields = toForm(name.startsWith("client_assertion") ? byAssertion() : bySecret());
      const spelled = `%${name.charCodeAt(0).toString(16)}${name.slice(1)}`;
      await expectRefused({ type: FORM, body: `${fields}&${name}=a&${spelled}=a` }, malformed);
    },
  );

  test("refuses to guess the grant_type (RFC 6749, section 4.4.2), and a parameter without a value is one that is left out", async () => {
    await expectRefused(form({ ...bySecret(), grant_type: undefined }), malformed);
    await expectRefused(form({ ...bySecret(), grant_type: "" }), malformed);
    expect((await at.call("/token", form({ ...bySecret(), scope: "", client_assertion: "" }))).status).toBe(200);
  });

  test.each(["{", "[]", "null", '{"jwk":1}', "x".repeat(9_000)])("refuses a req_cnf that is %s", async (text) => {
    await expectRefused(form({ ...byAssertion(), req_cnf: text }), malformed);
  });
});

describe("in CBOR", () => {
  const number = {
    req_cnf: 4,
    audience: 5,
    scope: 9,
    client_id: 24,
    grant_type: 33,
    ace_profile: 38,
    assertion: -65537,
  };
  const good = (): [number, Cbor][] => [
    [number.req_cnf, new Map<Cbor, Cbor>([[1, toCoseKey(till.key)]])],
    [number.audience, "shop.orders"],
    [number.scope, "read"],
    [number.client_id, "shop.till"],
    [number.grant_type, 2],
    [number.ace_profile, null],
  ];
  const withAssertion = (): [number, Cbor][] => [...good(), [number.assertion, cwtAssertion(till, at.clock.now)]];
  const replaced = (key: number, value: Cbor | undefined, from = good()): Call => {
    const map = new Map(from);
    if (value === undefined) map.delete(key);
    else map.set(key, value);
    return { type: ACE, body: encode(map), as: map.has(number.assertion) ? undefined : till };
  };

  test("what the rows change is good, and all of it may be left out", async () => {
    expect((await at.call("/token", { type: ACE, body: encode(new Map(good())), as: till })).status).toBe(200);
    expect((await at.call("/token", { type: ACE, body: encode(new Map(withAssertion())) })).status).toBe(200);
    expect((await at.call("/token", { type: ACE, body: encode(new Map()), as: till })).status).toBe(200);
  });

  test.each<[string, () => Call, Outcome]>([
    [
      "no assertion and no certificate",
      () => ({ type: ACE, body: encode(new Map(good())) }),
      ["credential.missing", 401, "invalid_client"],
    ],
    ["an audience that is a number", () => replaced(number.audience, 5), malformed],
    ["an audience of bytes", () => replaced(number.audience, Buffer.from("shop.orders")), malformed],
    ["an audience that is a list", () => replaced(number.audience, ["shop.orders"]), malformed],
    ["a long audience", () => replaced(number.audience, long), noAudience],
    ["control characters in the audience", () => replaced(number.audience, `shop.orders${control}`), noAudience],
    ["a scope that is a number", () => replaced(number.scope, 9), noScope],
    ["a scope that is a list", () => replaced(number.scope, ["read"]), noScope],
    ["a scope of bytes", () => replaced(number.scope, Buffer.from("read")), noScope],
    ["a long scope", () => replaced(number.scope, long), noScope],
    ["control characters in the scope", () => replaced(number.scope, `read ${control}`), noScope],
    ["a client_id that is a number", () => replaced(number.client_id, 24), malformed],
    ["a long client_id", () => replaced(number.client_id, long), ["certificate.identity", 401, "invalid_client"]],
    [
      "control characters in the client_id",
      () => replaced(number.client_id, `shop.till${control}`),
      ["certificate.identity", 401, "invalid_client"],
    ],
    [
      "the client_id of another with an assertion",
      () => replaced(number.client_id, "shop.web", withAssertion()),
      ["assertion.subject", 401, "invalid_client"],
    ],
    ["another grant_type", () => replaced(number.grant_type, 0), noGrant],
    ["a grant_type that is text", () => replaced(number.grant_type, "client_credentials"), noGrant],
    ["another profile", () => replaced(number.ace_profile, 1), noProfile],
    ["a profile that is text", () => replaced(number.ace_profile, "mqtt_tls"), noProfile],
    ["a req_cnf that is text", () => replaced(number.req_cnf, "key"), badKey("request.key")],
    ["a req_cnf that is empty", () => replaced(number.req_cnf, new Map()), badKey("request.key")],
    [
      "a req_cnf of a kid",
      () => replaced(number.req_cnf, new Map<Cbor, Cbor>([[3, Buffer.from("1")]])),
      badKey("request.key"),
    ],
    [
      "a req_cnf with a long coordinate",
      () => {
        const key = new Map(toCoseKey(till.key) as Map<Cbor, Cbor>).set(-2, Buffer.alloc(8_000));
        return replaced(number.req_cnf, new Map<Cbor, Cbor>([[1, key]]));
      },
      badKey("key.malformed"),
    ],
    [
      "the key of another",
      () => replaced(number.req_cnf, new Map<Cbor, Cbor>([[1, toCoseKey(shop.web.key)]])),
      badKey("request.key"),
    ],
    ["an assertion that is text", () => replaced(number.assertion, "a.b.c"), malformed],
    ["a long assertion", () => replaced(number.assertion, Buffer.alloc(9_000)), noAssertion],
  ])("refuses %s", async (_name, call, outcome) => {
    await expectRefused(call(), outcome);
  });

  test.each(Object.entries(number))("refuses %s there twice", async (_name, key) => {
    const entries = withAssertion();
    const [, value] = entries.find(([known]) => known === key)!;
    const map = encode(new Map(entries));
    // one entry more than the map says it has, and then the map says so
    const body = Buffer.concat([Buffer.from([map[0]! + 1]), map.subarray(1), encode(key), encode(value)]);
    await expectRefused({ type: ACE, body }, ["cbor.duplicate-key", 400, "invalid_request"]);
  });
});

describe("the credential in Basic", () => {
  const cc = { grant_type: "client_credentials", audience: "shop.open" };
  const asked = (headers: Record<string, string>): Call => ({ type: FORM, body: toForm(cc), headers });

  test.each<[string, () => Record<string, string>, Outcome]>([
    ["a wrong secret", () => basic("shop.web", "wrong"), noSecret],
    ["no secret", () => basic("shop.web", ""), noSecret],
    ["an unknown client", () => basic("shop.nobody", shop.secret), noClient],
    ["a client of another project", () => basic("other.web", shop.secret), noClient],
    ["no client", () => basic("", shop.secret), noClient],
    ["an api", () => basic("shop/open", shop.secret), noClient],
    ["a long user", () => basic("u".repeat(4_000), "x"), noClient],
    ["a long secret", () => basic("shop.web", "x".repeat(4_000)), noSecret],
    ["control characters, encoded", () => basic("shop.web%0d%0aSet-Cookie:%20a=b", "%00"), noClient],
    [
      "bytes that are no characters",
      () => ({ authorization: `Basic ${Buffer.from("shop.web:\xff", "latin1").toString("base64")}` }),
      noSecret,
    ],
    ["what is not base64", () => ({ authorization: "Basic ***" }), ["credential.malformed", 401, "invalid_client"]],
    ["nothing", () => ({ authorization: "Basic" }), ["credential.malformed", 401, "invalid_client"]],
    ["another scheme", () => ({ authorization: "Bearer x" }), ["credential.malformed", 401, "invalid_client"]],
    ["the scheme of DPoP", () => ({ authorization: "DPoP x" }), ["credential.malformed", 401, "invalid_client"]],
  ])("refuses %s, with the challenge of its scheme", async (_name, headers, outcome) => {
    await expectRefused(asked(headers()), outcome);
  });
});

describe("around the parameters", () => {
  test("a body of more than 16 KiB is 413", async () => {
    const body = toForm({ ...bySecret(), more: "x".repeat(20_000) });
    await expectRefused({ type: FORM, body }, ["request.too-large", 413, "invalid_request"]);
  });

  test.each(["text/plain", "application/jwt", "multipart/form-data"])("a body of type %s is 415", async (type) => {
    await expectRefused({ type, body: toForm(bySecret()) }, ["request.media-type", 415, "invalid_request"]);
  });

  test.each(["GET", "PUT", "DELETE"])("%s is 405", async (method) => {
    const answer = await at.call("/token", { method });
    expect([answer.status, answer.headers["allow"], at.reason()]).toEqual([405, "POST", "request.method"]);
    expect(answer.headers).toMatchObject({ "cache-control": "no-store", pragma: "no-cache" });
  });

  test("a secret in the query is not looked at", async () => {
    const { client_secret: left, ...rest } = bySecret();
    const answer = await at.call(`/token?client_secret=${left}`, form(rest));
    expect([answer.status, at.reason()]).toEqual([401, "credential.missing"]);
    expect(JSON.stringify(at.lines)).not.toContain(shop.secret);
  });
});

/** Names alone: what is asked is there only when the tests run. */
function bySecretNames(): Record<string, string> {
  return { grant_type: "", audience: "", scope: "", client_id: "", client_secret: "" };
}

function byAssertionNames(): Record<string, string> {
  return { client_assertion: "", client_assertion_type: "" };
}
