/**
 * Who asks at `/token`, `/introspect`, `/verify-token` and `/revoke`: each parameter that says so wrong in every way, in form, JSON
 * and CBOR; several proofs at once; Basic as it is not written; proofs of possession that are none.
 *
 * What else `/token` takes is in `token-errors.test.ts` and `token-errors-cbor.test.ts`, client assertions as JWTs in
 * `credentials.test.ts`, DPoP in `dpop.test.ts` and `shared/dpop.test.ts`; here is what those have not.
 */
import { createHmac, generateKeyPairSync, randomBytes, sign } from "node:crypto";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { createSecret } from "../../../broker/registry/secrets.ts";
import { readTokenError } from "../../../shared/ace.ts";
import { encode, Tag, type Cbor } from "../../../shared/cbor.ts";
import { toCoseKey, toJwk } from "../../../shared/cose-key.ts";
import { createSigner, generatePrivateKey } from "../../../shared/es256.ts";
import { meaningOf, type Reason } from "../../../shared/refusal.ts";
import {
  ACE,
  assertionClaims,
  basic,
  cwtAssertion,
  ISSUER,
  JWT_BEARER,
  jwtAssertion,
  makeDevice,
  type Call,
  type Device,
  type Fixture,
} from "../../authority/fixture.ts";
import { FORM, furnishShop, openProver, readJson, toForm, type Shop } from "../../authority/http-apis.ts";
import { control, long, openPatient, type Outcome } from "../../authority/token-outcomes.ts";

let at: Fixture;
let shop: Shop;
let till: Device;
/** Of the api `shop/open`. */
let apiSecret: string;
/** A token of `shop.web` for `shop.open`. */
let token: string;

beforeAll(async () => {
  at = await openPatient();
  shop = furnishShop(at.registry);
  till = await makeDevice(at, "shop.till");
  apiSecret = createSecret(at.registry, { project: "shop", api: "open" }).secret;
});
beforeEach(async () => {
  at.clock.now += 1;
  const fields = { audience: "shop.open", client_id: "shop.web", client_secret: shop.secret };
  token = String(readJson(await at.call("/token", json(fields)))["access_token"]);
  at.lines.length = 0;
});
afterAll(() => at.close());

type Fields = Readonly<Record<string, unknown>>;

const json = (fields: object): Call => ({ type: "application/json", body: JSON.stringify(fields) });
const form = (fields: object): Call => ({
  type: FORM,
  body: toForm(JSON.parse(JSON.stringify(fields)) as Record<string, string>),
});

const malformed: Outcome = ["request.malformed", 400, "invalid_request"];
const notClient = (reason: Reason): Outcome => [reason, 401, "invalid_client"];

/** How a call is refused, having checked the whole answer, and that nothing was written but the audit log. */
async function outcomeOf(path: string, call: Call): Promise<Outcome> {
  const before = picture();
  at.lines.length = 0;
  const answer = await at.call(path, call);
  const reason = at.reason() as Reason;
  const isCbor = call.type === ACE;
  const told = isCbor ? readTokenError(answer.body) : readJson(answer);
  const { says } = meaningOf(told.error === "invalid_client" ? "client.unknown" : reason);
  const id = String(at.lines.findLast((line) => line["reason"] === reason)?.["id"]);
  expect(told).toEqual({ error: told.error, [isCbor ? "description" : "error_description"]: `${says} (id ${id})` });
  expect(answer.headers).toMatchObject({ "cache-control": "no-store", pragma: "no-cache" });
  expect(answer.headers["set-cookie"]).toBeUndefined();
  const tried = call.headers?.["authorization"] !== undefined;
  const challenge = reason === "admin.key" ? 'Bearer realm="postern"' : 'Basic realm="postern"';
  expect(answer.headers["www-authenticate"]).toBe(answer.status === 401 && tried ? challenge : undefined);
  expect(picture() === before).toBe(true);
  return [reason, answer.status, String(told.error)];
}

function picture(): string {
  const tables = ["assertion", "issued", "revoked_token", "secret", "client", "public_key"];
  return JSON.stringify(tables.map((table) => at.registry.db.prepare(`SELECT * FROM ${table}`).all()));
}

/** By a secret, and by an assertion; at `/revoke` the client, elsewhere too. */
const bySecret = (): Fields => ({ token, client_id: "shop.web", client_secret: shop.secret });
const byAssertion = (): Fields => ({
  token,
  client_id: "shop.web",
  client_assertion: jwtAssertion(shop.web as Device, at.clock.now),
  client_assertion_type: JWT_BEARER,
});
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
      const before = picture();
      const answer = await at.call(path, send({ ...bySecret(), token: odd }));
      expect([answer.status, answer.body.toString()]).toEqual([200, path === "/revoke" ? "" : '{"active":false}']);
      expect(picture() === before).toBe(true);
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
          `${name} that is ${String(value)}`,
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

describe("several proofs at once", () => {
  type Proof =
    "a certificate" | "Basic" | "a secret" | "an assertion" | "the admin key" | "another key" | "DPoP as a scheme";
  const proofs: Readonly<Record<Proof, () => { readonly fields?: Fields; readonly call?: Call }>> = {
    "a certificate": () => ({ call: { as: till } }),
    Basic: () => ({ call: { headers: basic("shop.web", shop.secret) } }),
    "a secret": () => ({ fields: { client_id: "shop.web", client_secret: shop.secret } }),
    "an assertion": () => {
      const { token: _, ...fields } = byAssertion();
      return { fields };
    },
    "the admin key": () => ({ call: { headers: { authorization: "Bearer admin-key" } } }),
    "another key": () => ({ call: { headers: { authorization: "Bearer other" } } }),
    "DPoP as a scheme": () => ({ call: { headers: { authorization: `DPoP ${token}` } } }),
  };
  const names = Object.keys(proofs) as Proof[];
  const isHeader = (name: Proof): boolean => proofs[name]().call?.headers !== undefined;
  const heads: readonly Proof[] = ["Basic", "the admin key", "another key", "DPoP as a scheme"];
  const pairs = names.flatMap((one, index) =>
    names
      .slice(index + 1)
      .flatMap((other) => (heads.includes(one) && heads.includes(other) ? [] : [[one, other] as const])),
  );

  test.each(pairs)("%s and %s", async (one, other) => {
    expect([isHeader(one), isHeader(other)]).not.toEqual([true, true]);
    for (const path of ["/token", "/get-access-token", "/introspect", "/revoke"]) {
      for (const send of [json, form]) {
        const [a, b] = [proofs[one](), proofs[other]()];
        const fields = { grant_type: "client_credentials", audience: "shop.open", token, ...a.fields, ...b.fields };
        const call = { ...send(fields), ...a.call, ...b.call };
        expect([path, await outcomeOf(path, call)]).toEqual([path, malformed]);
      }
    }
  });

  test("and each by itself is one", async () => {
    for (const name of ["a certificate", "Basic", "a secret", "an assertion", "the admin key"] as const) {
      const { fields, call } = proofs[name]();
      expect([name, (await at.call("/introspect", { ...json({ token, ...fields }), ...call })).status]).toEqual([
        name,
        200,
      ]);
    }
  });
});

describe("Basic", () => {
  const cc = { grant_type: "client_credentials", audience: "shop.open" };
  const coded = (text: string): string => Buffer.from(text).toString("base64");
  const right = (): string => coded(`shop.web:${shop.secret}`);

  test.each<[string, () => string]>([
    ["in lower case", () => `basic ${right()}`],
    ["in upper case", () => `BASIC ${right()}`],
    ["after several spaces", () => `Basic    ${right()}`],
    ["without padding", () => `Basic ${right().replace(/=+$/, "")}`],
    ["with a dot that is encoded", () => `Basic ${coded(`shop%2Eweb:${shop.secret}`)}`],
  ])("is taken %s", async (_name, authorization) => {
    expect((await at.call("/token", { ...form(cc), headers: { authorization: authorization() } })).status).toBe(200);
  });

  test.each<[string, () => string, Reason]>([
    ["nothing", () => "Basic ", "credential.malformed"],
    ["what is not base64", () => "Basic ***", "credential.malformed"],
    [
      "the alphabet of base64url",
      () => `Basic ${Buffer.from("shop.web:\u00fb\u00ff\u00fe").toString("base64url")}-_`,
      "credential.malformed",
    ],
    ["padding within", () => `Basic ${coded("a")}${coded("shop.web:x")}`, "credential.malformed"],
    ["too much padding", () => `Basic ${right().replace(/=+$/, "")}===`, "credential.malformed"],
    ["bits that are left over", () => "Basic c2hvcC53ZWI6eB==", "credential.malformed"],
    ["a tab for a space", () => `Basic\t${right()}`, "credential.malformed"],
    ["two credentials", () => `Basic ${right()}, Basic ${right()}`, "credential.malformed"],
    ["a parameter behind it", () => `Basic ${right()}, realm="postern"`, "credential.malformed"],
    ["no space", () => `Basic${right()}`, "credential.malformed"],
    ["no colon", () => `Basic ${coded("shop.web")}`, "credential.malformed"],
    ["a colon that is encoded", () => `Basic ${coded(`shop.web%3A${shop.secret}`)}`, "credential.malformed"],
    ["a colon alone", () => `Basic ${coded(":")}`, "client.unknown"],
    ["a colon before the user", () => `Basic ${coded(`:shop.web:${shop.secret}`)}`, "client.unknown"],
    ["a colon in the secret", () => `Basic ${coded(`shop.web::${shop.secret}`)}`, "client.secret"],
    ["a colon behind the secret", () => `Basic ${coded(`shop.web:${shop.secret}:`)}`, "client.secret"],
    ["a colon in the user, encoded", () => `Basic ${coded(`shop.web%3A:${shop.secret}`)}`, "client.unknown"],
    ["a user with a space", () => `Basic ${coded(`shop.web+:${shop.secret}`)}`, "client.unknown"],
    ["a user in upper case", () => `Basic ${coded(`SHOP.web:${shop.secret}`)}`, "client.unknown"],
    ["a user that is encoded twice", () => `Basic ${coded(`shop%252Eweb:${shop.secret}`)}`, "client.unknown"],
    ["a user with a NUL", () => `Basic ${coded(`shop.web\u0000:${shop.secret}`)}`, "client.unknown"],
    ["a user with a NUL, encoded", () => `Basic ${coded(`shop.web%00:${shop.secret}`)}`, "client.unknown"],
    ["a byte order mark", () => `Basic ${coded(`\ufeffshop.web:${shop.secret}`)}`, "client.unknown"],
    ["a secret that is half encoded", () => `Basic ${coded("shop.web:%4")}`, "credential.malformed"],
    ["a secret that is not UTF-8, encoded", () => `Basic ${coded("shop.web:%ff")}`, "credential.malformed"],
    ["an overlong character, encoded", () => `Basic ${coded("shop.web:%c0%ae")}`, "credential.malformed"],
    [
      "bytes that are no characters",
      () => `Basic ${Buffer.from("shop.web:\xff\xfe", "latin1").toString("base64")}`,
      "client.secret",
    ],
    ["a header, encoded", () => `Basic ${coded("shop.web%0d%0aSet-Cookie:a=b:x")}`, "client.unknown"],
    ["Digest", () => 'Digest username="shop.web"', "credential.malformed"],
    ["Negotiate", () => `Negotiate ${right()}`, "credential.malformed"],
    ["no scheme", () => right(), "credential.malformed"],
  ])("is refused with %s", async (_name, authorization, reason) => {
    const headers = { authorization: authorization() };
    expect(await outcomeOf("/token", { ...form(cc), headers })).toEqual(notClient(reason));
    expect(await outcomeOf("/introspect", { ...form({ token }), headers })).toEqual(notClient(reason));
    expect(await outcomeOf("/revoke", { ...form({ token }), headers })).toEqual(notClient(reason));
  });

  test("an empty one is refused as well", async () => {
    const headers = { authorization: "" };
    expect((await outcomeOf("/token", { ...form(cc), headers }))[0]).toBe("credential.malformed");
  });

  test("that is larger than all headers may be is 431, and the next request is answered", async () => {
    const headers = basic("shop.web", "x".repeat(9_000));
    const answer = await at.call("/token", { ...form(cc), headers });
    expect([answer.status, answer.body.length]).toEqual([431, 0]);
    expect((await at.call("/token", { ...form(cc), headers: basic("shop.web", shop.secret) })).status).toBe(200);
  });
});

describe("an assertion as a CWT", () => {
  /** With other headers, another tag or another signature; good as it stands. */
  function forge({
    header = new Map<Cbor, Cbor>(),
    unprotected = new Map<Cbor, Cbor>(),
    tag = 18,
    by = (message: Uint8Array): Uint8Array =>
      sign("sha256", message, { key: till.privateKey, dsaEncoding: "ieee-p1363" }) as Uint8Array,
  } = {}): Uint8Array {
    const { iss, sub, aud, exp, id } = assertionClaims("shop.till", at.clock.now);
    const claims = encode(
      new Map<Cbor, Cbor>([
        [1, iss],
        [2, sub],
        [3, aud],
        [4, exp],
        [7, id],
      ]),
    );
    const protectedBytes = encode(new Map<Cbor, Cbor>([[1, -7], ...header]));
    const message = encode(["Signature1", protectedBytes, new Uint8Array(), claims]);
    return encode(new Tag(new Tag([protectedBytes, unprotected, claims, by(message)], tag), 61));
  }
  const hs256 =
    (secret: Uint8Array) =>
    (message: Uint8Array): Uint8Array =>
      createHmac("sha256", secret).update(message).digest();
  const pem = (): Uint8Array => Buffer.from(till.key.keyObject.export({ type: "spki", format: "pem" }));
  const stranger = createSigner("", generatePrivateKey());
  const byStranger = (message: Uint8Array): Uint8Array => stranger.sign(message);
  const call = (assertion: Uint8Array): Call => ({
    type: ACE,
    body: encode(
      new Map<Cbor, Cbor>([
        [5, "shop.orders"],
        [-65537, assertion],
      ]),
    ),
  });

  test("is good as the rows change it", async () => {
    expect((await at.call("/token", call(forge()))).status).toBe(200);
    expect(
      (await at.call("/token", call(forge({ unprotected: new Map<Cbor, Cbor>([[4, Buffer.from("k")]]) })))).status,
    ).toBe(200);
  });

  test.each<[string, () => Uint8Array, Reason]>([
    [
      "an HMAC with its public key",
      () => forge({ header: new Map<Cbor, Cbor>([[1, 5]]), by: hs256(pem()) }),
      "assertion.malformed",
    ],
    ["an HMAC that says ES256", () => forge({ by: hs256(pem()) }), "assertion.signature"],
    [
      "COSE_Mac0",
      () => forge({ header: new Map<Cbor, Cbor>([[1, 5]]), tag: 17, by: hs256(pem()) }),
      "assertion.malformed",
    ],
    ["ES384", () => forge({ header: new Map<Cbor, Cbor>([[1, -35]]) }), "assertion.malformed"],
    ["ES256K", () => forge({ header: new Map<Cbor, Cbor>([[1, -47]]) }), "assertion.malformed"],
    [
      "the algorithm in both headers",
      () => forge({ unprotected: new Map<Cbor, Cbor>([[1, -7]]) }),
      "assertion.malformed",
    ],
    [
      "a key of its own",
      () => forge({ header: new Map<Cbor, Cbor>([[-1, toCoseKey(stranger.publicKey)]]), by: byStranger }),
      "assertion.signature",
    ],
    [
      "a kid that is a path",
      () => forge({ header: new Map<Cbor, Cbor>([[4, Buffer.from("../../dev/null")]]), by: byStranger }),
      "assertion.signature",
    ],
    [
      "a kid that is SQL",
      () => forge({ header: new Map<Cbor, Cbor>([[4, Buffer.from("' OR ''='")]]), by: byStranger }),
      "assertion.signature",
    ],
    ["a kid that is a list", () => forge({ header: new Map<Cbor, Cbor>([[4, []]]) }), "assertion.malformed"],
    ["crit", () => forge({ header: new Map<Cbor, Cbor>([[2, [4]]]) }), "assertion.malformed"],
    [
      "a kid of 10 kB",
      () => forge({ header: new Map<Cbor, Cbor>([[4, Buffer.alloc(10_000)]]), by: byStranger }),
      "assertion.signature",
    ],
  ])("is refused with %s", async (_name, make, reason) => {
    expect(await outcomeOf("/token", call(make()))).toEqual(notClient(reason));
  });
});

describe("an assertion as a JWT", () => {
  const padded = (length: number): Fields => ({
    ...byAssertion(),
    audience: "shop.open",
    client_assertion: jwtAssertion(shop.web as Device, at.clock.now, { more: "x".repeat(length) } as object),
  });

  test("may be as long as a body lets it, and is signed all the same", async () => {
    expect((await at.call("/token", json(padded(10_000)))).status).toBe(200);
    const text = String(padded(10_000)["client_assertion"]);
    const cut = `${text.slice(0, -86)}${Buffer.alloc(64).toString("base64url")}`;
    expect(await outcomeOf("/token", json({ ...byAssertion(), client_assertion: cut }))).toEqual(
      notClient("assertion.signature"),
    );
    expect(await outcomeOf("/token", json(padded(12_500)))).toEqual(["request.too-large", 413, "invalid_request"]);
  });
});

describe("a DPoP proof", () => {
  const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const p384 = generateKeyPairSync("ec", { namedCurve: "P-384" });
  const fields = () => ({ audience: "shop.orders", client_id: "shop.web", client_secret: shop.secret });
  const signer = createSigner("", generatePrivateKey());

  function forge(
    header: object,
    claims: object = {},
    by = (message: Uint8Array): Uint8Array => signer.sign(message),
  ): string {
    const payload = {
      jti: randomBytes(9).toString("base64url"),
      htm: "POST",
      htu: `${ISSUER}/token`,
      iat: at.clock.now,
    };
    const all = { typ: "dpop+jwt", alg: "ES256", jwk: toJwk(signer.publicKey), ...header };
    const signed = `${part(all)}.${part({ ...payload, ...claims })}`;
    return `${signed}.${Buffer.from(by(Buffer.from(signed))).toString("base64url")}`;
  }

  test.each<[string, () => string]>([
    ["as the rows change it", () => forge({})],
    [
      "with names of keys, which are nothing to it",
      () => forge({ kid: "../../x", jku: "https://evil.test/", x5u: "x" }),
    ],
    ["of 4,096 bytes", () => sized(4_096)],
  ])("is good %s", async (_name, make) => {
    expect((await at.call("/token", { ...json(fields()), headers: { dpop: make() } })).status).toBe(200);
  });

  test.each<[string, () => string, Reason]>([
    ["of 4,097 bytes", () => sized(4_097), "dpop.malformed"],
    [
      "of RSA",
      () =>
        forge({ alg: "RS256", jwk: rsa.publicKey.export({ format: "jwk" }) }, {}, (m) =>
          sign("sha256", m, rsa.privateKey),
        ),
      "dpop.algorithm",
    ],
    [
      "of RSA that says ES256",
      () => forge({ jwk: rsa.publicKey.export({ format: "jwk" }) }, {}, (m) => sign("sha256", m, rsa.privateKey)),
      "dpop.key",
    ],
    [
      "of P-384",
      () =>
        forge({ alg: "ES384", jwk: p384.publicKey.export({ format: "jwk" }) }, {}, (m) =>
          sign("sha384", m, p384.privateKey),
        ),
      "dpop.algorithm",
    ],
    [
      "of P-384 that says ES256",
      () => forge({ jwk: p384.publicKey.export({ format: "jwk" }) }, {}, (m) => sign("sha256", m, p384.privateKey)),
      "dpop.key",
    ],
    ["of a symmetric key", () => forge({ jwk: { kty: "oct", k: "AA" } }), "dpop.key"],
    [
      "of a key whose x is long",
      () => forge({ jwk: { ...toJwk(signer.publicKey), x: "A".repeat(1_000) } }),
      "dpop.key",
    ],
    ["of a key that is a list", () => forge({ jwk: [toJwk(signer.publicKey)] }), "dpop.key"],
    ["with a kid that is a list", () => forge({ kid: ["x"] }), "dpop.malformed"],
    ["of before 1970", () => forge({}, { iat: -1 }), "dpop.time"],
    ["of the end of time", () => forge({}, { iat: Number.MAX_SAFE_INTEGER }), "dpop.time"],
    ["in milliseconds", () => forge({}, { iat: at.clock.now * 1000 }), "dpop.time"],
    ["beyond all numbers", () => forge({}, { iat: 2 ** 60 }), "dpop.malformed"],
    ["of the method in lower case", () => forge({}, { htm: "post" }), "dpop.method"],
    ["of the method and a space", () => forge({}, { htm: "POST " }), "dpop.method"],
    ["for the introspection of tokens", () => forge({}, { htu: `${ISSUER}/introspect` }), "dpop.url"],
    [
      "for the address by its port",
      () => forge({}, { htu: `https://localhost:${at.authority.port}/token` }),
      "dpop.url",
    ],
    ["for another host behind a user", () => forge({}, { htu: "https://postern.test@evil.test/token" }), "dpop.url"],
    ["with a line break in htu", () => forge({}, { htu: `${ISSUER}/token\r\nx` }), "dpop.url"],
  ])("is refused %s", async (_name, make, reason) => {
    const outcome: Outcome = [reason, 400, "invalid_dpop_proof"];
    expect(await outcomeOf("/token", { ...json(fields()), headers: { dpop: make() } })).toEqual(outcome);
  });

  test("is good once, at either path and for every client", async () => {
    const proof = openProver(at.clock).prove();
    const ask = { ...json(fields()), headers: { dpop: proof } };
    expect((await at.call("/token", ask)).status).toBe(200);
    const outcome: Outcome = ["dpop.replayed", 400, "invalid_dpop_proof"];
    expect(await outcomeOf("/token", ask)).toEqual(outcome);
    expect(await outcomeOf("/get-access-token", ask)).toEqual(["dpop.url", 400, "invalid_dpop_proof"]);
    at.clock.now += 1;
    expect(await outcomeOf("/token", ask)).toEqual(outcome);
  });

  /** Of just so many bytes. */
  function sized(bytes: number): string {
    const least = Math.floor(((bytes - forge({}).length) * 3) / 4) - 24;
    for (let pad = 0; pad < 12; pad++) {
      for (let more = least; more < least + 24; more++) {
        const text = forge({ pad: "x".repeat(pad) }, { more: "x".repeat(more) });
        if (text.length === bytes) return text;
      }
    }
    throw new TypeError(`no proof of ${bytes} bytes`);
  }
});
