/**
 * Tokens that nobody gave out, at `/introspect` and `/revoke`: algorithms confused, keys brought along, names of keys that are
 * paths and SQL, and sizes. All are one answer, and the log says why. `introspect.test.ts` has the tokens that were good once.
 */
import { createHmac, generateKeyPairSync, randomBytes, sign, type KeyObject } from "node:crypto";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { createClient } from "../../../broker/registry/clients.ts";
import { activeSigner } from "../../../broker/registry/signing-keys.ts";
import { decode, encode, Tag, type Cbor } from "../../../shared/cbor.ts";
import { claimKey } from "../../../shared/claims.ts";
import { toCoseKey, toJwk } from "../../../shared/cose-key.ts";
import { signSign1, toBeSigned } from "../../../shared/cose.ts";
import { createSigner, generatePrivateKey } from "../../../shared/es256.ts";
import { encodeIntrospectionRequest } from "../../../shared/introspection.ts";
import type { Reason } from "../../../shared/refusal.ts";
import { basic, ISSUER } from "../../authority/fixture.ts";
import {
  ACE,
  FORM,
  heard,
  json,
  openIntrospectFixture,
  type IntrospectFixture,
} from "../../authority/introspect-fixture.ts";

let at: IntrospectFixture;
/** A token that is good, in its parts: what the rows forge is like it. */
let good: { readonly text: string; readonly header: object; readonly claims: object };
const stranger = createSigner("stranger", generatePrivateKey());

beforeAll(async () => {
  at = await openIntrospectFixture();
  const key = toJwk(stranger.publicKey);
  createClient(at.registry, {
    project: "plant",
    name: "keyed",
    kind: "service",
    roles: [],
    keys: [{ ...key, kid: "own" }],
  });
});
afterAll(() => at.close());
beforeEach(() => {
  at.lines.length = 0;
  const text = at.mint();
  const [header, claims] = text
    .split(".")
    .slice(0, 2)
    .map((part) => JSON.parse(toText(part)) as object);
  good = { text, header: header!, claims: claims! };
});

const toText = (part: string): string => Buffer.from(part, "base64url").toString();
const part = (value: unknown): string =>
  Buffer.from(value instanceof Uint8Array ? value : JSON.stringify(value)).toString("base64url");

type Sign = (message: Uint8Array) => Uint8Array;

const none: Sign = () => new Uint8Array();
const es256 =
  (key: KeyObject): Sign =>
  (message) =>
    sign("sha256", message, { key, dsaEncoding: "ieee-p1363" });
const hs256 =
  (secret: Uint8Array): Sign =>
  (message) =>
    createHmac("sha256", secret).update(message).digest();
const byStranger: Sign = (message) => stranger.sign(message);

/** The good token's claims, or others, under another header and signature. */
function forge(header: object, by: Sign = byStranger, claims: object = {}): string {
  const signed = `${part({ ...good.header, ...header })}.${part({ ...good.claims, ...claims })}`;
  return `${signed}.${part(by(Buffer.from(signed)))}`;
}

const ours = () => activeSigner(at.registry).publicKey;
const pem = (): Uint8Array => Buffer.from(ours().keyObject.export({ type: "spki", format: "pem" }));
const jwk = () => toJwk(stranger.publicKey);
const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
const p384 = generateKeyPairSync("ec", { namedCurve: "P-384" });
const k256 = generateKeyPairSync("ec", { namedCurve: "secp256k1" });
const ed25519 = generateKeyPairSync("ed25519");

const jwts: readonly (readonly [what: string, make: () => string, reason: Reason])[] = [
  ["HS256 with our public key in PEM", () => forge({ alg: "HS256" }, hs256(pem())), "token.algorithm"],
  [
    "HS256 with our public key in DER",
    () => forge({ alg: "HS256" }, hs256(ours().keyObject.export({ type: "spki", format: "der" }))),
    "token.algorithm",
  ],
  [
    "HS256 with our JWK",
    () => forge({ alg: "HS256" }, hs256(Buffer.from(JSON.stringify(toJwk(ours()))))),
    "token.algorithm",
  ],
  ["HS256 with nothing", () => forge({ alg: "HS256" }, hs256(new Uint8Array())), "token.algorithm"],
  ["HS512", () => forge({ alg: "HS512" }, hs256(pem())), "token.algorithm"],
  ["an HMAC that says ES256", () => forge({}, hs256(pem())), "token.signature"],
  ...["none", "None", "NONE", "nOnE", "", " ES256", "es256"].map(
    (alg) => [`alg ${JSON.stringify(alg)}`, () => forge({ alg }, none), "token.algorithm"] as const,
  ),
  ["no alg", () => forge({ alg: undefined }, none), "token.algorithm"],
  ["alg null", () => forge({ alg: null }), "token.algorithm"],
  ["a list for alg", () => forge({ alg: ["ES256"] }), "token.algorithm"],
  ["no signature", () => forge({}, none), "token.signature"],
  ["a signature of zeros", () => forge({}, () => new Uint8Array(64)), "token.signature"],
  ["a signature of ones", () => forge({}, () => Buffer.alloc(64, 0xff)), "token.signature"],
  ["a signature of the order of the curve", () => forge({}, () => Buffer.concat([order, order])), "token.signature"],
  [
    "a signature and a byte",
    () => forge({}, (message) => Buffer.concat([byStranger(message), Buffer.alloc(1)])),
    "token.signature",
  ],
  [
    "RS256 with a key of its own",
    () =>
      forge({ alg: "RS256", jwk: rsa.publicKey.export({ format: "jwk" }) }, (m) => sign("sha256", m, rsa.privateKey)),
    "token.algorithm",
  ],
  ["RS256 that says ES256", () => forge({}, (m) => sign("sha256", m, rsa.privateKey)), "token.signature"],
  [
    "ES384 with a key of its own",
    () => forge({ alg: "ES384", jwk: p384.publicKey.export({ format: "jwk" }) }, es256(p384.privateKey)),
    "token.algorithm",
  ],
  ["P-384 that says ES256", () => forge({}, es256(p384.privateKey)), "token.signature"],
  ["ES256K", () => forge({ alg: "ES256K" }, es256(k256.privateKey)), "token.algorithm"],
  ["secp256k1 that says ES256", () => forge({}, es256(k256.privateKey)), "token.signature"],
  ["EdDSA", () => forge({ alg: "EdDSA" }, (m) => sign(null, m, ed25519.privateKey)), "token.algorithm"],
  ["PS256", () => forge({ alg: "PS256" }), "token.algorithm"],

  ["a key of its own under our kid", () => forge({ jwk: jwk() }), "token.signature"],
  ["a key of its own and no kid", () => forge({ jwk: jwk(), kid: undefined }), "token.key-unknown"],
  ["a key of its own and its kid", () => forge({ jwk: { ...jwk(), kid: "x" }, kid: "x" }), "token.key-unknown"],
  ["a place for its key", () => forge({ jku: "https://evil.test/jwks.json" }), "token.signature"],
  ["our own place for its key", () => forge({ jku: `${ISSUER}/.well-known/jwks.json`, kid: "x" }), "token.key-unknown"],
  ["a place for its certificate", () => forge({ x5u: "https://evil.test/" }), "token.signature"],
  ["a certificate of its own", () => forge({ x5c: [randomBytes(300).toString("base64")] }), "token.signature"],
  ["crit", () => forge({ crit: ["exp"] }), "token.malformed"],
  ["an empty crit", () => forge({ crit: [] }), "token.malformed"],
  ["a payload that is not encoded", () => forge({ b64: false, crit: ["b64"] }), "token.malformed"],
  ["a compressed payload", () => forge({ zip: "DEF" }), "token.signature"],

  ["a path for a kid", () => forge({ kid: "../../../../dev/null" }, hs256(new Uint8Array())), "token.key-unknown"],
  ["SQL for a kid", () => forge({ kid: "x' UNION SELECT 'x" }), "token.key-unknown"],
  ["SQL after our kid", () => forge({ kid: `${activeSigner(at.registry).kid}' --` }), "token.key-unknown"],
  [
    "our kid in other case",
    () => forge({ kid: activeSigner(at.registry).kid.toUpperCase() + "x" }),
    "token.key-unknown",
  ],
  ["our kid and a NUL", () => forge({ kid: `${activeSigner(at.registry).kid}\u0000` }), "token.key-unknown"],
  ["a line break in a kid", () => forge({ kid: "x\r\nSet-Cookie: a=b" }), "token.key-unknown"],
  ["a kid of every object", () => forge({ kid: "__proto__" }), "token.key-unknown"],
  ["another", () => forge({ kid: "constructor" }), "token.key-unknown"],
  ["the kid of a client's key", () => forge({ kid: "own" }), "token.key-unknown"],
  ["an empty kid", () => forge({ kid: "" }), "token.key-unknown"],
  ["a list for a kid", () => forge({ kid: [activeSigner(at.registry).kid] }), "token.malformed"],
  ["a number for a kid", () => forge({ kid: 0 }), "token.malformed"],
  ["null for a kid", () => forge({ kid: null }), "token.malformed"],
  ["an object for a kid", () => forge({ kid: { toString: "x" } }), "token.malformed"],
  ["a kid of 10 kB", () => forge({ kid: "k".repeat(10_000) }), "token.too-large"],
  ["a number for a typ", () => forge({ typ: 1 }), "token.malformed"],

  ["a signature that is white space", () => forge({}, none) + " ", "base64url.malformed"],
  ["padding", () => `${good.text}=`, "base64url.malformed"],
  ["a line break behind it", () => `${good.text}\n`, "base64url.malformed"],
  ["a NUL behind it", () => `${good.text}\u0000`, "base64url.malformed"],
  ["standard base64", () => good.text.replaceAll("_", "/").replaceAll("-", "+") + "/", "base64url.malformed"],
  ["the scheme before it", () => `Bearer ${good.text}`, "base64url.malformed"],
  ["four parts", () => `${good.text}.x`, "token.malformed"],
  ["five parts, encrypted", () => "e30.e30.e30.e30.e30", "token.malformed"],
  ["JSON in place of compact", () => JSON.stringify({ payload: "e30", signatures: [] }), "token.malformed"],
  ["a list for a payload", () => `${part(good.header)}.${part([])}.${part(new Uint8Array(64))}`, "token.malformed"],
  ["a header that is null", () => `${part(null)}.${part(good.claims)}.${part(new Uint8Array(64))}`, "token.malformed"],
  ["dots", () => "..", "token.malformed"],
  ["of 4,096 bytes", () => padded(4_096), "token.signature"],
  ["of 4,097 bytes", () => padded(4_097), "token.too-large"],
  ["of 15 kB", () => padded(15_000), "token.too-large"],
  ["nothing but brackets", () => `${"e30.".repeat(1_000)}e30`, "token.malformed"],
];
const order = Buffer.from("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", "hex");

/** A forged token of just so many bytes: three are four characters, so two parts are made longer until it fits. */
function padded(bytes: number): string {
  const least = Math.floor(((bytes - forge({}).length) * 3) / 4) - 24;
  for (let pad = 0; pad < 12; pad++) {
    for (let more = least; more < least + 24; more++) {
      const text = forge({ pad: "x".repeat(pad) }, byStranger, { more: "x".repeat(more) });
      if (text.length === bytes) return text;
    }
  }
  throw new TypeError(`no token of ${bytes} bytes`);
}

type Header = ReadonlyMap<Cbor, Cbor>;

/** A CWT of `plant.board` for `plant.web` with other headers, by a stranger unless told otherwise. */
function forgeCwt(
  { header = new Map(), unprotected = new Map(), tag = 18 }: { header?: Header; unprotected?: Header; tag?: number },
  by?: (message: Uint8Array) => Uint8Array,
): Uint8Array {
  const now = at.clock.now;
  const payload = encode(
    new Map<Cbor, Cbor>([
      [claimKey.iss, ISSUER],
      [claimKey.sub, "plant.board"],
      [claimKey.aud, "plant.web"],
      [claimKey.exp, now + 600],
      [claimKey.iat, now],
      [claimKey.cti, Buffer.from([1])],
      [claimKey.scope, "read"],
    ]),
  );
  const kid = Buffer.from(activeSigner(at.registry).kid, "latin1");
  const all = new Map<Cbor, Cbor>([[1, -7], [4, kid], ...header]);
  for (const [label, value] of all) if (value === undefined) all.delete(label);
  const made = signSign1({ protected: all, unprotected: new Map(unprotected), payload }, stranger);
  const parts = made.value as Cbor[];
  if (by !== undefined) parts[3] = by(toBeSigned({ protectedBytes: parts[0] as Uint8Array, payload }));
  return encode(new Tag(new Tag(parts, tag), 61));
}

const label = (key: Cbor, value: Cbor): Header => new Map([[key, value]]);

const cwts: readonly (readonly [what: string, make: () => Uint8Array, reason: Reason])[] = [
  ["the signature of a stranger", () => forgeCwt({}), "cose.signature"],
  ["no signature", () => forgeCwt({}, () => new Uint8Array()), "cose.signature"],
  ["a signature of zeros", () => forgeCwt({}, () => new Uint8Array(64)), "cose.signature"],
  ["an HMAC with our public key", () => forgeCwt({ header: label(1, 5) }, hs256(pem())), "cose.algorithm"],
  ["an HMAC that says ES256", () => forgeCwt({}, hs256(pem())), "cose.signature"],
  ["COSE_Mac0", () => forgeCwt({ header: label(1, 5), tag: 17 }, hs256(pem())), "cbor.tag"],
  ["COSE_Encrypt0", () => forgeCwt({ tag: 16 }), "cbor.tag"],
  ["COSE_Sign", () => forgeCwt({ tag: 98 }), "cbor.tag"],
  ["ES384", () => forgeCwt({ header: label(1, -35) }, es256(p384.privateKey)), "cose.algorithm"],
  ["EdDSA", () => forgeCwt({ header: label(1, -8) }), "cose.algorithm"],
  ["ES256K", () => forgeCwt({ header: label(1, -47) }, es256(k256.privateKey)), "cose.algorithm"],
  ["RS256", () => forgeCwt({ header: label(1, -257) }), "cose.algorithm"],
  ["the algorithm as text", () => forgeCwt({ header: label(1, "ES256") }), "cose.algorithm"],
  ["no algorithm, that is 0", () => forgeCwt({ header: label(1, 0) }, () => new Uint8Array()), "cose.algorithm"],
  ["a key of its own", () => forgeCwt({ header: label(-1, toCoseKey(stranger.publicKey)) }), "cose.signature"],
  ["a chain of certificates", () => forgeCwt({ header: label(33, randomBytes(300)) }), "cose.signature"],
  ["crit that names what it understands", () => forgeCwt({ header: label(2, [4]) }), "cose.signature"],
  ["crit that names what nobody knows", () => forgeCwt({ header: label(2, [-70_000]) }), "cose.header"],
  ["something that is not protected", () => forgeCwt({ unprotected: label(5, 1) }), "cose.unprotected"],
  ["the kid in both headers", () => forgeCwt({ unprotected: label(4, Buffer.from("x")) }), "cose.header"],
  ["the algorithm in both headers", () => forgeCwt({ unprotected: label(1, 5) }), "cose.header"],
  ["a path for a kid", () => forgeCwt({ header: label(4, Buffer.from("../../dev/null")) }), "token.key-unknown"],
  ["SQL for a kid", () => forgeCwt({ header: label(4, Buffer.from("x' UNION SELECT 'x")) }), "token.key-unknown"],
  ["bytes for a kid", () => forgeCwt({ header: label(4, Buffer.from([0, 0xff, 0x0d, 0x0a])) }), "token.key-unknown"],
  ["an empty kid", () => forgeCwt({ header: label(4, new Uint8Array()) }), "token.key-unknown"],
  ["the kid of a client's key", () => forgeCwt({ header: label(4, Buffer.from("own")) }), "token.key-unknown"],
  ["a text for a kid", () => forgeCwt({ header: label(4, "x") }), "cose.header"],
  ["a list for a kid", () => forgeCwt({ header: label(4, [Buffer.from("x")]) }), "cose.header"],
  ["a kid of 3 kB", () => forgeCwt({ header: label(4, Buffer.alloc(3_000, "k")) }), "token.key-unknown"],
  ["a kid of 5 kB", () => forgeCwt({ header: label(4, Buffer.alloc(5_000, "k")) }), "token.too-large"],
  ["a byte behind it", () => Buffer.concat([forgeCwt({}), Buffer.alloc(1)]), "cbor.trailing"],
  ["half of it", () => forgeCwt({}).subarray(0, 60), "cbor.truncated"],
  ["a tag around it", () => encode(new Tag(decode(forgeCwt({})), 61)), "cose.tag"],
  ["no tag 61", () => encode((decode(forgeCwt({})) as Tag).value as Cbor), "cose.tag"],
  ["deep nests", () => Buffer.concat([Buffer.alloc(3_000, 0x81), Buffer.from([0x01])]), "cbor.too-deep"],
];

/** Why the newest token was not active, for the log alone. */
const why = (): unknown => at.lines.findLast(({ msg }) => msg === "inactive")?.["reason"];
const rows = (): unknown =>
  ["revoked_token", "issued"].map((table) => at.registry.db.prepare(`SELECT * FROM ${table}`).all());

/** What is heard of a token that is none of ours: at both endpoints, in all three encodings, with why in the log alone. */
const nothing = (reason: Reason): unknown =>
  ['{"active":false}', '{"active":false}', "\ufffd\n\ufffd"].map((body) => [200, body, reason, 200, ""]);

async function heardOf(token: string | Uint8Array): Promise<unknown> {
  const text = typeof token === "string" ? token : part(token);
  const form = { type: FORM, body: new URLSearchParams({ token: text }).toString() };
  const asJson = { type: "application/json", body: JSON.stringify({ token: text }) };
  const inCbor = { type: ACE, body: encodeIntrospectionRequest({ token }) };
  const unknown = heard(await at.call("/introspect", { ...asJson, body: '{"token":"x"}', headers: at.as("web") }));
  const before = rows();
  const all: unknown[] = [];
  for (const call of [form, asJson, inCbor]) {
    at.lines.length = 0;
    const answer = await at.call("/verify-token", { ...call, headers: at.as("web") });
    if (call === asJson) expect(heard(answer)).toEqual(unknown);
    const reason = why();
    // one's own that there never was is answered as taken back (RFC 7009, section 2.2)
    const taken = await at.call("/revoke", { ...call, headers: basic("plant.board", at.secret) });
    all.push([answer.status, answer.body.toString(), reason, taken.status, taken.body.toString()]);
  }
  expect(rows()).toEqual(before);
  return all;
}

test("what the rows forge is active", async () => {
  const ask = (token: string) =>
    at.call("/introspect", { type: FORM, body: new URLSearchParams({ token }).toString(), headers: at.as("web") });
  expect(json(await ask(good.text))).toMatchObject({ active: true, scope: "read write" });
  const signer = activeSigner(at.registry);
  expect(json(await ask(forge({}, (message) => signer.sign(message))))).toMatchObject({ active: true });
  expect(json(await ask(part(forgeCwt({}, (message) => signer.sign(message)))))).toMatchObject({ active: true });
});

describe("a JWT that is not ours", () => {
  test.each(jwts)("%s", async (_what, make, reason) => {
    expect(await heardOf(make())).toEqual(nothing(reason));
  });
});

describe("a CWT that is not ours", () => {
  test.each(cwts)("%s", async (_what, make, reason) => {
    expect(await heardOf(make())).toEqual(nothing(reason));
  });
});
