/**
 * The errors of the token endpoint (RFC 6749, section 5.2) in JSON and form: each parameter missing, of the wrong type, there
 * twice, too long and with control characters.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { toJwk } from "../../shared/cose-key.ts";
import { basic, JWT_BEARER, type Call, type Fixture } from "./fixture.ts";
import { assertionFields, FORM, furnishShop, toForm, type Shop } from "./http-apis.ts";
import {
  badKey,
  control,
  long,
  malformed,
  noAssertion,
  noAudience,
  noClient,
  noGrant,
  noProfile,
  noScope,
  noSecret,
  openPatient,
  refusalOf,
  type Outcome,
} from "./token-outcomes.ts";

let at: Fixture;
let shop: Shop;

beforeAll(async () => {
  at = await openPatient();
  shop = furnishShop(at.registry);
});
afterAll(() => at.close());

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
    expect(await refusalOf(at, send(fields()))).toEqual(outcome);
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
    expect(await refusalOf(at, json({ ...fields, [name]: value }))).toEqual(malformed);
  });

  test.each(parameters)("refuses %s there twice, however it is spelled", async (name) => {
    const fields = name.startsWith("client_assertion") ? byAssertion() : bySecret();
    const rest = JSON.stringify({ ...fields, [name]: "x" }).slice(1);
    const spelled = `\\u00${name.charCodeAt(0).toString(16)}${name.slice(1)}`;
    expect(await refusalOf(at, { type: "application/json", body: `{"${name}":"y",${rest}` })).toEqual(malformed);
    expect(await refusalOf(at, { type: "application/json", body: `{"${spelled}":"y",${rest}` })).toEqual(malformed);
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
    expect(await refusalOf(at, json({ ...byAssertion(), req_cnf: cnf() }))).toEqual(outcome);
    if (typeof cnf() === "string") return;
    expect(await refusalOf(at, form({ ...byAssertion(), req_cnf: JSON.stringify(cnf()) }))).toEqual(outcome);
  });
});

describe("in a form alone", () => {
  test.each([...Object.keys({ ...bySecretNames(), ...byAssertionNames() }), "req_cnf", "ace_profile"])(
    "refuses %s there twice, however it is spelled",
    async (name) => {
      const fields = toForm(name.startsWith("client_assertion") ? byAssertion() : bySecret());
      const spelled = `%${name.charCodeAt(0).toString(16)}${name.slice(1)}`;
      expect(await refusalOf(at, { type: FORM, body: `${fields}&${name}=a&${spelled}=a` })).toEqual(malformed);
    },
  );

  test("refuses to guess the grant_type (RFC 6749, section 4.4.2), and a parameter without a value is one that is left out", async () => {
    expect(await refusalOf(at, form({ ...bySecret(), grant_type: undefined }))).toEqual(malformed);
    expect(await refusalOf(at, form({ ...bySecret(), grant_type: "" }))).toEqual(malformed);
    expect((await at.call("/token", form({ ...bySecret(), scope: "", client_assertion: "" }))).status).toBe(200);
  });

  test.each(["{", "[]", "null", '{"jwk":1}', "x".repeat(9_000)])("refuses a req_cnf that is %s", async (text) => {
    expect(await refusalOf(at, form({ ...byAssertion(), req_cnf: text }))).toEqual(malformed);
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
    expect(await refusalOf(at, asked(headers()))).toEqual(outcome);
  });
});

describe("around the parameters", () => {
  test("a body of more than 16 KiB is 413", async () => {
    const body = toForm({ ...bySecret(), more: "x".repeat(20_000) });
    expect(await refusalOf(at, { type: FORM, body })).toEqual(["request.too-large", 413, "invalid_request"]);
  });

  test.each(["text/plain", "application/jwt", "multipart/form-data"])("a body of type %s is 415", async (type) => {
    expect(await refusalOf(at, { type, body: toForm(bySecret()) })).toEqual([
      "request.media-type",
      415,
      "invalid_request",
    ]);
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
