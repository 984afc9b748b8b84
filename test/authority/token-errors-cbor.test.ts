/**
 * The errors of the token endpoint in CBOR (RFC 9200, section 5.8.3): each parameter missing, of the wrong type, there twice, too
 * long and with control characters.
 */
import { afterAll, beforeAll, expect, test } from "vitest";
import { encode, type Cbor } from "../../shared/cbor.ts";
import { toCoseKey } from "../../shared/cose-key.ts";
import { ACE, cwtAssertion, makeDevice, type Call, type Device, type Fixture } from "./fixture.ts";
import { furnishShop, type Shop } from "./http-apis.ts";
import {
  badKey,
  control,
  long,
  malformed,
  noAssertion,
  noAudience,
  noGrant,
  noProfile,
  noScope,
  openPatient,
  refusalOf,
  type Outcome,
} from "./token-outcomes.ts";

let at: Fixture;
let shop: Shop;
let till: Device;

beforeAll(async () => {
  at = await openPatient();
  shop = furnishShop(at.registry);
  till = await makeDevice(at, "shop.till");
});
afterAll(() => at.close());

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
      const key = new Map(toCoseKey(till.key)).set(-2, Buffer.alloc(8_000));
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
  expect(await refusalOf(at, call())).toEqual(outcome);
});

test.each(Object.entries(number))("refuses %s there twice", async (_name, key) => {
  const entries = withAssertion();
  const [, value] = entries.find(([known]) => known === key)!;
  const map = encode(new Map(entries));
  // one entry more than the map says it has, and then the map says so
  const body = Buffer.concat([Buffer.from([map[0]! + 1]), map.subarray(1), encode(key), encode(value)]);
  expect(await refusalOf(at, { type: ACE, body })).toEqual(["cbor.duplicate-key", 400, "invalid_request"]);
});
