/**
 * Who asks at `/introspect`, `/verify-token` and `/revoke`: each parameter that says so wrong in every way, in form, JSON and CBOR.
 * Those of `/token` are in `token-errors.test.ts` and `token-errors-cbor.test.ts`.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { encode, type Cbor } from "../../../shared/cbor.ts";
import { ACE, cwtAssertion, JWT_BEARER, type Call, type Device } from "../../authority/fixture.ts";
import { FORM, type Shop } from "../../authority/http-apis.ts";
import { control, long, type Outcome } from "../../authority/token-outcomes.ts";
import { form, json, malformed, notClient, openTokenGround, type Fields, type TokenGround } from "./token-ground.ts";

let at: TokenGround;
let shop: Shop;
let till: Device;
let apiSecret: string;
/** A token of `shop.web` for `shop.open`. */
let token: string;

beforeAll(async () => {
  at = await openTokenGround();
  ({ shop, till, apiSecret } = at);
});
beforeEach(async () => {
  token = await at.getToken();
});
afterAll(() => at.close());

const outcomeOf = (path: string, call: Call): Promise<Outcome> => at.outcomeOf(path, call);
/** By a secret, and by an assertion. */
const bySecret = (): Fields => ({ token, client_id: "shop.web", client_secret: shop.secret });
const byAssertion = (): Fields => ({ token, ...at.byAssertion() });
const all = ["token", "client_id", "client_secret", "client_assertion", "client_assertion_type"] as const;
const fieldsFor = (name: string): Fields => (name.startsWith("client_assertion") ? byAssertion() : bySecret());

describe.each(["/introspect", "/verify-token", "/revoke"])("%s", (path) => {
  describe.each([
    ["JSON", json],
    ["form", form],
  ])("in %s", (_wire, send) => {
    test.each([bySecret, byAssertion])("what the rows change is good", async (fields) => {
      expect((await at.call(path, send({ ...fields(), token_type_hint: "nonsense", resource: control }))).status).toBe(
        200,
      );
    });

    test.each<[string, () => Fields, Outcome]>([
      ["no token", () => ({ ...bySecret(), token: undefined }), malformed],
      ["no client_id", () => ({ ...bySecret(), client_id: undefined }), notClient("credential.malformed")],
      ["no client_secret", () => ({ ...bySecret(), client_secret: undefined }), notClient("credential.missing")],
      ["no client_assertion", () => ({ ...byAssertion(), client_assertion: undefined }), malformed],
      ["no client_assertion_type", () => ({ ...byAssertion(), client_assertion_type: undefined }), malformed],

      ["a long client_id", () => ({ ...bySecret(), client_id: long }), notClient("client.unknown")],
      [
        "a long client_id of an api",
        () => ({ ...bySecret(), client_id: `shop/${long}` }),
        notClient("resource-server.unknown"),
      ],
      ["a long client_secret", () => ({ ...bySecret(), client_secret: long }), notClient("client.secret")],
      [
        "a long client_assertion",
        () => ({ ...byAssertion(), client_assertion: long }),
        notClient("assertion.malformed"),
      ],
      ["a long client_assertion_type", () => ({ ...byAssertion(), client_assertion_type: long }), malformed],

      [
        "control characters in client_id",
        () => ({ ...bySecret(), client_id: `shop.web${control}` }),
        notClient("client.unknown"),
      ],
      [
        "control characters in client_secret",
        () => ({ ...bySecret(), client_secret: shop.secret + control }),
        notClient("client.secret"),
      ],
      [
        "control characters in client_assertion",
        () => ({ ...byAssertion(), client_assertion: String(byAssertion()["client_assertion"]) + control }),
        notClient("assertion.malformed"),
      ],
      [
        "control characters in client_assertion_type",
        () => ({ ...byAssertion(), client_assertion_type: JWT_BEARER + control }),
        malformed,
      ],

      ["SQL for a client_id", () => ({ ...bySecret(), client_id: "shop.web' --" }), notClient("client.unknown")],
      ["SQL for a client_secret", () => ({ ...bySecret(), client_secret: "' OR ''='" }), notClient("client.secret")],
      ["the client_id of another", () => ({ ...bySecret(), client_id: "shop.till" }), notClient("client.secret")],
      ["the client_id of an api", () => ({ ...bySecret(), client_id: "shop/open" }), notClient("client.secret")],
      ["the secret of an api", () => ({ ...bySecret(), client_secret: apiSecret }), notClient("client.secret")],
      [
        "the client_id of another, and an assertion",
        () => ({ ...byAssertion(), client_id: "shop.till" }),
        notClient("assertion.subject"),
      ],
      ["a secret and an assertion", () => ({ ...bySecret(), ...byAssertion() }), malformed],
      [
        "another type of assertion",
        () => ({ ...byAssertion(), client_assertion_type: "urn:ietf:params:oauth:client-assertion-type:saml2-bearer" }),
        malformed,
      ],
      [
        "a token of its own for an assertion",
        () => ({ ...byAssertion(), client_assertion: token }),
        notClient("assertion.subject"),
      ],
    ])("refuses %s", async (_name, fields, outcome) => {
      expect(await outcomeOf(path, send(fields()))).toEqual(outcome);
    });

    test.each([
      ["long", long],
      ["with control characters", control],
      ["SQL", "' OR ''='"],
      ["a path", "../../etc/passwd"],
      ["another alphabet's", "\u0430\ud83d\ude00"],
    ])("a token that is %s is like one that there never was", async (_name, odd) => {
      const before = at.picture();
      const answer = await at.call(path, send({ ...bySecret(), token: odd }));
      expect([answer.status, answer.body.toString()]).toEqual([200, path === "/revoke" ? "" : '{"active":false}']);
      expect(at.picture() === before).toBe(true);
    });
  });

  test.each(all.flatMap((name) => [1, true, null, [], ["x"], { a: 1 }].map((value) => [name, value] as const)))(
    "refuses %s in JSON that is %j",
    async (name, value) => {
      expect(await outcomeOf(path, json({ ...fieldsFor(name), [name]: value }))).toEqual(malformed);
    },
  );

  test.each(all)("refuses %s there twice, however it is spelled", async (name) => {
    const fields = fieldsFor(name);
    const code = name.charCodeAt(0).toString(16);
    const rest = JSON.stringify(fields).slice(1);
    for (const spelled of [name, `\\u00${code}${name.slice(1)}`]) {
      expect(await outcomeOf(path, { type: "application/json", body: `{"${spelled}":"x",${rest}` })).toEqual(malformed);
    }
    for (const spelled of [name, `%${code}${name.slice(1)}`]) {
      const body = `${String(form(fields).body)}&${spelled}=x`;
      expect(await outcomeOf(path, { type: FORM, body })).toEqual(malformed);
    }
  });

  test.each(["client_secret", "client_assertion", "token"])("refuses %s in the address", async (name) => {
    expect(await outcomeOf(`${path}?${name}=x`, json(bySecret()))).toEqual(malformed);
    expect(
      await outcomeOf(`${path}?x=1&%${name.charCodeAt(0).toString(16)}${name.slice(1)}`, form(bySecret())),
    ).toEqual(malformed);
  });

  describe("in CBOR", () => {
    const label = { token: 11, clientId: 24, assertion: -65537 };
    const proven = (): Map<number, Cbor> =>
      new Map<number, Cbor>([
        [label.token, token],
        [label.clientId, "shop.till"],
        [label.assertion, cwtAssertion(till, at.clock.now)],
      ]);
    const send = (map: ReadonlyMap<number, Cbor>): Call => ({ type: ACE, body: encode(new Map<Cbor, Cbor>(map)) });
    const put = (key: number, value: Cbor | undefined): Call => {
      const map = proven();
      if (value === undefined) map.delete(key);
      else map.set(key, value);
      return send(map);
    };

    test("what the rows change is good", async () => {
      // another client's token is not taken back, and is not active
      const own = put(label.token, "x");
      expect((await at.call(path, own)).status).toBe(200);
    });

    test.each<[string, () => Call, Outcome]>([
      ["no token", () => put(label.token, undefined), malformed],
      ["no assertion", () => put(label.assertion, undefined), notClient("credential.missing")],
      ...[7, true, null, [], new Map()].flatMap((value): [string, () => Call, Outcome][] =>
        Object.entries(label).map(([name, key]) => [
          `${name} that is ${JSON.stringify(value)}`,
          () => put(key, value),
          malformed,
        ]),
      ),
      ["an empty token", () => put(label.token, ""), malformed],
      ["an empty token of bytes", () => put(label.token, new Uint8Array()), malformed],
      ["a client_id of bytes", () => put(label.clientId, Buffer.from("shop.till")), malformed],
      ["a long client_id", () => put(label.clientId, long), notClient("assertion.subject")],
      [
        "control characters in the client_id",
        () => put(label.clientId, `shop.till${control}`),
        notClient("assertion.subject"),
      ],
      ["an assertion that is text", () => put(label.assertion, "a.b.c"), malformed],
      ["a long assertion", () => put(label.assertion, Buffer.alloc(9_000)), notClient("assertion.malformed")],
      ["an empty assertion", () => put(label.assertion, new Uint8Array()), notClient("assertion.malformed")],
    ])("refuses %s", async (_name, call, outcome) => {
      expect(await outcomeOf(path, call())).toEqual(outcome);
    });

    test.each(Object.values(label))("refuses %i there twice", async (key) => {
      const map = encode(new Map<Cbor, Cbor>(proven()));
      const body = Buffer.concat([Buffer.from([map[0]! + 1]), map.subarray(1), encode(key), encode("x")]);
      expect(await outcomeOf(path, { type: ACE, body })).toEqual(["cbor.duplicate-key", 400, "invalid_request"]);
    });
  });

  test("an assertion that was used at one endpoint is used at every other", async () => {
    const once = byAssertion();
    expect((await at.call(path, json(once))).status).toBe(200);
    for (const other of ["/introspect", "/verify-token", "/revoke", "/token", "/get-access-token"]) {
      expect([other, await outcomeOf(other, json({ ...once, audience: "shop.open" }))]).toEqual([
        other,
        notClient("assertion.replayed"),
      ]);
    }
  });
});
