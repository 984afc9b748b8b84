/**
 * Proofs of a key at the token endpoint that are none: assertions as CWTs, and what `credentials.test.ts` has not of those as JWTs
 * and `dpop.test.ts` and `shared/dpop.test.ts` of DPoP.
 */
import { createHmac, generateKeyPairSync, randomBytes, sign } from "node:crypto";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { encode, Tag, type Cbor } from "../../../shared/cbor.ts";
import { toCoseKey, toJwk } from "../../../shared/cose-key.ts";
import { createSigner, generatePrivateKey } from "../../../shared/es256.ts";
import type { Reason } from "../../../shared/refusal.ts";
import { ACE, assertionClaims, ISSUER, jwtAssertion, type Call, type Device } from "../../authority/fixture.ts";
import { openProver, type Shop } from "../../authority/http-apis.ts";
import type { Outcome } from "../../authority/token-outcomes.ts";
import { json, notClient, openTokenGround, type Fields, type TokenGround } from "./token-ground.ts";

let at: TokenGround;
let shop: Shop;
let till: Device;

beforeAll(async () => {
  at = await openTokenGround();
  ({ shop, till } = at);
  // the first use of a secret is written down
  await at.getToken();
});
beforeEach(() => {
  at.clock.now += 1;
  at.lines.length = 0;
});
afterAll(() => at.close());

const outcomeOf = (path: string, call: Call): Promise<Outcome> => at.outcomeOf(path, call);

describe("an assertion as a CWT", () => {
  /** With other headers, another tag or another signature; good as it stands. */
  function forge({
    header = new Map<Cbor, Cbor>(),
    unprotected = new Map<Cbor, Cbor>(),
    tag = 18,
    by = (message: Uint8Array): Uint8Array =>
      sign("sha256", message, { key: till.privateKey, dsaEncoding: "ieee-p1363" }),
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
    ...at.byAssertion(),
    audience: "shop.open",
    client_assertion: jwtAssertion(shop.web as Device, at.clock.now, { more: "x".repeat(length) } as object),
  });

  test("may be as long as a body lets it, and is signed all the same", async () => {
    expect((await at.call("/token", json(padded(10_000)))).status).toBe(200);
    const text = String(padded(10_000)["client_assertion"]);
    const cut = `${text.slice(0, -86)}${Buffer.alloc(64).toString("base64url")}`;
    expect(await outcomeOf("/token", json({ ...at.byAssertion(), client_assertion: cut }))).toEqual(
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
