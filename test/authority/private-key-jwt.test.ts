/** `private_key_jwt` (RFC 7523) at the token endpoint: one row for each way to be right, and one for each to be wrong. */
import { createHmac, randomBytes, sign, type KeyObject } from "node:crypto";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { createClient, deleteClient, setClientEnabled } from "../../broker/registry/clients.ts";
import { replaceKeys } from "../../broker/registry/public-keys.ts";
import { encodeTokenRequest } from "../../shared/ace.ts";
import { jwkThumbprint, toJwk, type PublicJwk } from "../../shared/cose-key.ts";
import type { Reason } from "../../shared/refusal.ts";
import {
  ACE,
  assertionClaims,
  countRows,
  cwtAssertion,
  furnish,
  ISSUER,
  JWT_BEARER,
  makeKey,
  openFixture,
  type Answer,
  type Fixture,
} from "./fixture.ts";

const FORM = "application/x-www-form-urlencoded";

let at: Fixture;

const form = (fields: Record<string, string>) => ({ type: FORM, body: new URLSearchParams(fields).toString() });

describe("private_key_jwt", () => {
  interface Pair {
    readonly privateKey: KeyObject;
    readonly key: ReturnType<typeof makeKey>["key"];
    readonly jwk: PublicJwk;
  }
  const makePair = (): Pair => {
    const pair = makeKey();
    return { ...pair, jwk: toJwk(pair.key) };
  };
  /** `plant.job` has `named` as k1 and `plain` without a name; `plant.other` has `others` as k2. */
  const [named, plain, others, stranger] = [makePair(), makePair(), makePair(), makePair()];
  const now = (): number => at.clock.now;
  const base64url = (value: object | Uint8Array): string =>
    Buffer.from(value instanceof Uint8Array ? value : JSON.stringify(value)).toString("base64url");

  beforeAll(async () => {
    // one row after the other fails as one client, on a clock that moves a minute for each
    at = await openFixture({ clientFailuresPerMinute: 1_000 });
    furnish(at.registry);
    const roles = ["reader", "sensor"];
    for (const name of ["job", "other", "off", "gone"]) {
      createClient(at.registry, { project: "plant", name, kind: "service", roles, keys: [plain.jwk] });
    }
    replaceKeys(at.registry, { project: "plant", client: "job" }, [{ ...named.jwk, kid: "k1" }, plain.jwk]);
    replaceKeys(at.registry, { project: "plant", client: "other" }, [{ ...others.jwk, kid: "k2" }]);
    replaceKeys(at.registry, { project: "plant", api: "tele" }, [others.jwk]);
    setClientEnabled(at.registry, "plant.off", false);
    deleteClient(at.registry, "plant.gone");
  });
  beforeEach(() => {
    at.clock.now += 60;
    at.lines.length = 0;
  });
  afterAll(() => at.close());

  interface Parts {
    readonly header?: object;
    readonly claims?: object;
    /** Who signs; the key k1 unless told otherwise. */
    readonly by?: Pair;
    /** In place of ES256. */
    readonly signWith?: (message: Uint8Array) => Uint8Array;
  }

  /** An assertion of `plant.job` with parts replaced; `undefined` leaves a member out. */
  function assertion({ header = {}, claims = {}, by = named, signWith }: Parts = {}): string {
    const { id, ...rest } = assertionClaims("plant.job", now());
    const payload = { ...rest, jti: base64url(id), ...claims };
    const signed = `${base64url({ alg: "ES256", typ: "JWT", ...header })}.${base64url(payload)}`;
    const es256 = (message: Uint8Array): Uint8Array =>
      sign("sha256", message, { key: by.privateKey, dsaEncoding: "ieee-p1363" });
    return `${signed}.${base64url((signWith ?? es256)(Buffer.from(signed)))}`;
  }

  function present(text: string, more: Record<string, string> = {}, path = "/token"): Promise<Answer> {
    return at.call(
      path,
      form({
        grant_type: "client_credentials",
        audience: "plant.open",
        client_assertion_type: JWT_BEARER,
        client_assertion: text,
        ...more,
      }),
    );
  }

  test.each<[string, () => Promise<Answer>]>([
    ["a named key, and its name", () => present(assertion({ header: { kid: "k1" } }))],
    ["a named key, and its thumbprint", () => present(assertion({ header: { kid: jwkThumbprint(named.key) } }))],
    ["a named key, and no name", () => present(assertion())],
    ["a key without a name, and none", () => present(assertion({ by: plain }))],
    ["a key without a name, and any", () => present(assertion({ by: plain, header: { kid: "whatever" } }))],
    ["its client_id as well", () => present(assertion(), { client_id: "plant.job" })],
    ["the token endpoint for its audience", () => present(assertion({ claims: { aud: `${ISSUER}/token` } }))],
    ["its audience in a list", () => present(assertion({ claims: { aud: [ISSUER] } }))],
    ["iat and nbf of this second", () => present(assertion({ claims: { iat: now(), nbf: now() } }))],
    ["no typ", () => present(assertion({ header: { typ: undefined } }))],
    ["the other path", () => present(assertion(), {}, "/get-access-token")],
  ])("lets a client in with %s", async (_, call) => {
    const answer = await call();
    expect([answer.status, at.reason()]).toEqual([200, undefined]);
  });

  test("lets a client in with a CWT that a registered key signed, and binds the token to that key", async () => {
    const clientAssertion = cwtAssertion({ ...plain, id: "plant.job", cert: "", serial: "" }, now());
    const body = encodeTokenRequest({ clientAssertion, audience: "plant.tele", wantsProfile: false });
    expect((await at.call("/token", { type: ACE, body })).status).toBe(200);
    const bound = at.registry.db.prepare("SELECT key_thumbprint FROM issued ORDER BY number DESC").pluck().get();
    expect(bound).toBe(plain.key.thumbprint);
  });

  const pem = (): Buffer => Buffer.from(named.key.keyObject.export({ type: "spki", format: "pem" }));
  const hs256 = (key: Buffer) => (message: Uint8Array) => createHmac("sha256", key).update(message).digest();
  const x5c = [randomBytes(300).toString("base64")];

  test.each<[string, () => string, Reason]>([
    [
      "HS256 with the public key in PEM",
      () => assertion({ header: { alg: "HS256" }, signWith: hs256(pem()) }),
      "assertion.malformed",
    ],
    [
      "HS256 with the public key in DER",
      () =>
        assertion({
          header: { alg: "HS256" },
          signWith: hs256(named.key.keyObject.export({ type: "spki", format: "der" })),
        }),
      "assertion.malformed",
    ],
    [
      "HS256 with the JWK",
      () => assertion({ header: { alg: "HS256" }, signWith: hs256(Buffer.from(JSON.stringify(named.jwk))) }),
      "assertion.malformed",
    ],
    ["an HMAC that says ES256", () => assertion({ signWith: hs256(pem()) }), "assertion.signature"],
    ...["none", "None", "NONE", "nOnE", ""].map((alg): [string, () => string, Reason] => [
      `alg ${JSON.stringify(alg)} and no signature`,
      () => assertion({ header: { alg }, signWith: () => new Uint8Array() }),
      "assertion.malformed",
    ]),
    ...["ES384", "ES256K", "RS256", "PS256", "EdDSA", "es256"].map((alg): [string, () => string, Reason] => [
      `alg ${alg}`,
      () => assertion({ header: { alg } }),
      "assertion.malformed",
    ]),
    ["no alg", () => assertion({ header: { alg: undefined } }), "assertion.malformed"],
    ["a list for alg", () => assertion({ header: { alg: ["ES256"] } }), "assertion.malformed"],
    ["no signature", () => assertion({ signWith: () => new Uint8Array() }), "assertion.signature"],
    ["a signature of zeros", () => assertion({ signWith: () => new Uint8Array(64) }), "assertion.signature"],
    [
      "a DER signature",
      () => assertion({ signWith: (m) => sign("sha256", m, named.privateKey) }),
      "assertion.signature",
    ],
    ["the signature of a stranger", () => assertion({ by: stranger }), "assertion.signature"],
    ["the key of another client", () => assertion({ by: others }), "assertion.signature"],

    ["a key of its own, jwk", () => assertion({ by: stranger, header: { jwk: stranger.jwk } }), "assertion.signature"],
    [
      "a key of its own, jwk, under the right name",
      () => assertion({ by: stranger, header: { kid: "k1", jwk: { ...stranger.jwk, kid: "k1" } } }),
      "assertion.signature",
    ],
    [
      "a place for its key, jku",
      () => assertion({ by: stranger, header: { jku: `${ISSUER}/.well-known/jwks.json` } }),
      "assertion.signature",
    ],
    [
      "a place for its certificate, x5u",
      () => assertion({ by: stranger, header: { x5u: "https://evil.test/" } }),
      "assertion.signature",
    ],
    ["a certificate of its own, x5c", () => assertion({ by: stranger, header: { x5c } }), "assertion.signature"],
    ["crit", () => assertion({ header: { crit: ["exp"] } }), "assertion.malformed"],

    [
      "the kid of another client, and its key",
      () => assertion({ by: others, header: { kid: "k2" } }),
      "assertion.signature",
    ],
    ["the kid of another client, and the own key", () => assertion({ header: { kid: "k2" } }), "assertion.signature"],
    ["a path for a kid", () => assertion({ header: { kid: "../../../../dev/null" } }), "assertion.signature"],
    [
      "a path for a kid, and the empty file as the secret",
      () => assertion({ header: { alg: "HS256", kid: "/dev/null" }, signWith: hs256(Buffer.alloc(0)) }),
      "assertion.malformed",
    ],
    ["SQL for a kid", () => assertion({ header: { kid: "k1' UNION SELECT 'k1" } }), "assertion.signature"],
    ["a kid of every object", () => assertion({ header: { kid: "__proto__" } }), "assertion.signature"],
    ["a kid of 255 characters", () => assertion({ header: { kid: "k".repeat(255) } }), "assertion.signature"],
    ["a kid of 256", () => assertion({ header: { kid: "k".repeat(256) } }), "assertion.malformed"],
    ["a kid of 10 kB", () => assertion({ by: plain, header: { kid: "k".repeat(10_000) } }), "assertion.malformed"],
    ["a number for a kid", () => assertion({ header: { kid: 1 } }), "assertion.malformed"],
    ["null for a kid", () => assertion({ header: { kid: null } }), "assertion.malformed"],

    ["another issuer", () => assertion({ claims: { iss: "plant.other" } }), "assertion.subject"],
    ["another subject", () => assertion({ claims: { sub: "plant.other" } }), "assertion.subject"],
    [
      "another client altogether",
      () => assertion({ claims: { iss: "plant.other", sub: "plant.other" } }),
      "assertion.signature",
    ],
    [
      "a client that is not there",
      () => assertion({ claims: { iss: "plant.none", sub: "plant.none" } }),
      "client.unknown",
    ],
    [
      "a client that was deleted",
      () => assertion({ by: plain, claims: { iss: "plant.gone", sub: "plant.gone" } }),
      "client.unknown",
    ],
    [
      "a client that is disabled",
      () => assertion({ by: plain, claims: { iss: "plant.off", sub: "plant.off" } }),
      "client.disabled",
    ],
    ["an api", () => assertion({ by: others, claims: { iss: "plant/tele", sub: "plant/tele" } }), "client.unknown"],
    ["no issuer", () => assertion({ claims: { iss: undefined } }), "assertion.malformed"],
    ["no subject", () => assertion({ claims: { sub: undefined } }), "assertion.malformed"],
    ["an object for its subject", () => assertion({ claims: { sub: {} } }), "assertion.malformed"],
    ["no audience", () => assertion({ claims: { aud: undefined } }), "assertion.malformed"],
    ["another audience", () => assertion({ claims: { aud: "https://other.test" } }), "assertion.audience"],
    ["the audience of an api", () => assertion({ claims: { aud: "plant.open" } }), "assertion.audience"],
    ["a prefix of the audience", () => assertion({ claims: { aud: ISSUER.slice(0, -1) } }), "assertion.audience"],
    ["two audiences", () => assertion({ claims: { aud: [ISSUER, "https://other.test"] } }), "assertion.malformed"],
    ["an empty list of audiences", () => assertion({ claims: { aud: [] } }), "assertion.malformed"],
    ["no expiry", () => assertion({ claims: { exp: undefined } }), "assertion.malformed"],
    ["a text for its expiry", () => assertion({ claims: { exp: String(now() + 60) } }), "assertion.malformed"],
    ["an expiry that has come", () => assertion({ claims: { exp: now() } }), "assertion.expired"],
    ["an expiry too far ahead", () => assertion({ claims: { exp: now() + 301 } }), "assertion.lifetime"],
    ["iat in the future", () => assertion({ claims: { iat: now() + 61 } }), "assertion.lifetime"],
    ["nbf in the future", () => assertion({ claims: { nbf: now() + 61 } }), "assertion.lifetime"],
    ["a text for nbf", () => assertion({ claims: { nbf: "now" } }), "assertion.malformed"],
    ["no jti", () => assertion({ claims: { jti: undefined } }), "assertion.malformed"],
    ["an empty jti", () => assertion({ claims: { jti: "" } }), "assertion.malformed"],
    ["a jti of 65 bytes", () => assertion({ claims: { jti: "j".repeat(65) } }), "assertion.malformed"],
    ["a number for jti", () => assertion({ claims: { jti: 1 } }), "assertion.malformed"],
    ["two parts", () => assertion().split(".").slice(0, 2).join("."), "assertion.malformed"],
    ["four parts", () => `${assertion()}.x`, "assertion.malformed"],
    ["five parts, encrypted", () => "a.b.c.d.e", "assertion.malformed"],
    ["padding", () => `${assertion()}=`, "assertion.malformed"],
    ["white space", () => `${assertion()} `, "assertion.malformed"],
    [
      "a list for its payload",
      () => `${base64url({ alg: "ES256" })}.${base64url([])}.${base64url(new Uint8Array(64))}`,
      "assertion.malformed",
    ],
  ])("refuses %s", async (_, text, reason) => {
    const before = countRows(at.registry);
    const answer = await present(text());
    expect(at.reason()).toBe(reason);
    expect(answer.status).toBe(401);
    expect(JSON.parse(answer.body.toString())).toEqual({
      error: "invalid_client",
      error_description: expect.stringMatching(/^client authentication failed \(id [\w-]+\)$/) as string,
    });
    expect(countRows(at.registry)).toEqual(before);
  });

  test.each<[string, Record<string, string>, number, Reason]>([
    ["a secret as well", { client_id: "plant.job", client_secret: "x" }, 400, "request.malformed"],
    ["the client_id of another", { client_id: "plant.other" }, 401, "assertion.subject"],
    [
      "another type of assertion",
      { client_assertion_type: "urn:ietf:params:oauth:client-assertion-type:saml2-bearer" },
      401,
      "assertion.malformed",
    ],
    ["no type of assertion", { client_assertion_type: "" }, 400, "request.malformed"],
  ])("refuses %s beside a good one", async (_, more, status, reason) => {
    const answer = await present(assertion(), more);
    expect([answer.status, at.reason()]).toEqual([status, reason]);
  });

  test("is used once, whichever path it was used at", async () => {
    const once = assertion();
    expect((await present(once)).status).toBe(200);
    for (const path of ["/token", "/get-access-token"]) {
      expect((await present(once, {}, path)).status).toBe(401);
      expect(at.reason()).toBe("assertion.replayed");
    }
    // signed again: the id is what counts
    const claims = { jti: "the-same" };
    expect((await present(assertion({ claims }))).status).toBe(200);
    expect((await present(assertion({ claims, by: plain }))).status).toBe(401);
    expect(at.reason()).toBe("assertion.replayed");
    // an id is each client's own
    const other = assertion({ by: others, claims: { ...claims, iss: "plant.other", sub: "plant.other" } });
    expect((await present(other)).status).toBe(200);
  });

  test("is good with a key until the key is replaced, and from then on with the new one", async () => {
    const owner = { project: "plant", client: "rolling" };
    createClient(at.registry, {
      project: "plant",
      name: "rolling",
      kind: "service",
      roles: ["reader"],
      keys: [plain.jwk],
    });
    const by = async (pair: Pair): Promise<unknown> => {
      const { status } = await present(assertion({ by: pair, claims: { iss: "plant.rolling", sub: "plant.rolling" } }));
      return status;
    };
    expect([await by(plain), await by(named)]).toEqual([200, 401]);
    replaceKeys(at.registry, owner, [plain.jwk, named.jwk]);
    expect([await by(plain), await by(named)]).toEqual([200, 200]);
    replaceKeys(at.registry, owner, [named.jwk]);
    expect([await by(plain), await by(named)]).toEqual([401, 200]);
    setClientEnabled(at.registry, "plant.rolling", false);
    expect([await by(plain), await by(named)]).toEqual([401, 401]);
    expect(at.reason()).toBe("client.disabled");
  });
});
