import { randomBytes } from "node:crypto";
import fc from "fast-check";
import { importJWK, jwtVerify } from "jose";
import { describe, expect, test } from "vitest";
import { toBase64url } from "../../shared/base64url.ts";
import { decode, encode, Tag, type Cbor } from "../../shared/cbor.ts";
import { readCwtClaims, type Claims } from "../../shared/claims.ts";
import { readSign1, signSign1, verifySign1 } from "../../shared/cose.ts";
import { jwkThumbprint, readCoseKey, toCoseKey, toJwk } from "../../shared/cose-key.ts";
import { mintCwt, readCwt, readLooseCwt, signCwt } from "../../shared/cwt.ts";
import { createSigner, generatePrivateKey } from "../../shared/es256.ts";
import { mintJwt, signJwt } from "../../shared/jwt.ts";
import { Refusal } from "../../shared/refusal.ts";
import { inspectToken, tokenHashes, verifyToken, type TokenExpectation } from "../../shared/token.ts";
import { hasVectors, readVectors } from "../peers.ts";
import { clientSigner, issuerSigner } from "./keys.ts";
import { hex, reasonOf, unhex } from "./reading.ts";

const now = 1_893_456_000;
const claims: Claims = {
  iss: "https://as.example",
  sub: "home.pi",
  aud: "home.telemetry",
  iat: now,
  exp: now + 3600,
  id: Uint8Array.from(unhex("00000001")),
  cnf: { kind: "key", key: clientSigner.publicKey },
  scope: [{ filter: "home/pi/#", pub: true, sub: false }],
};
const expected: TokenExpectation = {
  issuer: "https://as.example",
  keyFor: (kid) => (kid === issuerSigner.kid ? issuerSigner.publicKey : undefined),
  isAudience: (audience) => audience === "home.telemetry",
  nowSeconds: now,
};

describe("RFC 8392, appendix A.3", () => {
  const published =
    "d28443a10126a104524173796d6d657472696345434453413235365850a70175636f61703a2f2f61732e6578616d706c652e636f6d02656572696b77" +
    "037818636f61703a2f2f6c696768742e6578616d706c652e636f6d041a5612aeb0051a5610d9f0061a5610d9f007420b7158405427c1ff28d23fbad1f2" +
    "9c4c7c6a555e601d6fa29f9179bc3d7438bacaca5acd08c8d4d4f96131680c429a01f85951ecee743a52b9b63632c57209120e1c9e30";

  test("is reproduced bit for bit by the deterministic signer", () => {
    const payload = encode(
      new Map<Cbor, Cbor>([
        [1, "coap://as.example.com"],
        [2, "erikw"],
        [3, "coap://light.example.com"],
        [4, 1_444_064_944],
        [5, 1_443_944_944],
        [6, 1_443_944_944],
        [7, unhex("0b71")],
      ]),
    );
    const message = signSign1(
      {
        protected: new Map([[1, -7]]),
        unprotected: new Map<Cbor, Cbor>([[4, Buffer.from("AsymmetricECDSA256")]]),
        payload,
      },
      issuerSigner,
    );
    expect(hex(encode(message))).toBe(published);
  });

  test("verifies, and its claims are read", () => {
    const cwt = readLooseCwt(unhex(published));
    verifySign1(cwt.message, issuerSigner.publicKey);
    expect(cwt.kid).toBe("AsymmetricECDSA256");
    const read = readCwtClaims(cwt.claims);
    expect(read).toMatchObject({ iss: "coap://as.example.com", sub: "erikw", exp: 1_444_064_944, nbf: 1_443_944_944 });
  });

  test("is not accepted as a token, which needs tag 61 and an empty unprotected header", () => {
    expect(reasonOf(() => verifyToken(unhex(published), expected))).toBe("cose.tag");
  });
});

describe("tokens", () => {
  test.each([
    ["CWT bytes", mintCwt(claims, issuerSigner), "cwt", 1],
    ["CWT text", toBase64url(mintCwt(claims, issuerSigner)), "cwt", 1],
    ["CWT text as bytes", Buffer.from(toBase64url(mintCwt(claims, issuerSigner))), "cwt", 1],
    ["JWT", mintJwt(claims, issuerSigner), "jwt", 2],
    ["JWT as bytes", Buffer.from(mintJwt(claims, issuerSigner)), "jwt", 2],
  ] as const)("a minted token verifies: %s", (_name, token, format, hashes) => {
    const verified = verifyToken(token, expected);
    expect(verified).toMatchObject({ format, kid: "AsymmetricECDSA256", grants: claims.scope });
    expect(verified.claims).toMatchObject({ sub: "home.pi", aud: "home.telemetry", exp: now + 3600, id: claims.id });
    expect(verified.claims.cnf).toMatchObject({ kind: "key", key: { thumbprint: clientSigner.publicKey.thumbprint } });
    // and those of the other form of its signature
    expect(verified.hashes.length).toBe(2 * hashes);
    expect(inspectToken(token).hashes).toEqual(verified.hashes.slice(0, hashes));
  });

  test("the frame of a CWT is 61(18([{1: -7, 4: kid}, {}, payload, signature]))", () => {
    const bytes = mintCwt(claims, issuerSigner);
    expect(hex(bytes)).toMatch(/^d83dd28457a2012604524173796d6d65747269634543445341323536a0/);
    expect(bytes.length).toBe(encode(decode(bytes)).length);
  });

  test("a JWT of ours is accepted by another library", async () => {
    const key = await importJWK({ ...toJwk(issuerSigner.publicKey), alg: "ES256" });
    const { payload, protectedHeader } = await jwtVerify(mintJwt(claims, issuerSigner), key, {
      issuer: claims.iss,
      audience: claims.aud,
      typ: "at+jwt",
      currentDate: new Date(now * 1000),
    });
    expect(protectedHeader).toEqual({ alg: "ES256", typ: "at+jwt", kid: "AsymmetricECDSA256" });
    expect(payload).toMatchObject({ client_id: "home.pi", cnf: { jwk: toJwk(clientSigner.publicKey) } });
  });

  test("a JWT may be bound to the thumbprint of a DPoP key (RFC 9449, section 6.1), a CWT may not", () => {
    const cnf = { kind: "thumbprint", jkt: jwkThumbprint(clientSigner.publicKey) } as const;
    const jwt = mintJwt({ ...claims, cnf }, issuerSigner);
    expect(inspectPayload(jwt)["cnf"]).toEqual({ jkt: cnf.jkt });
    expect(verifyToken(jwt, expected).claims.cnf).toEqual(cnf);
    expect(() => mintCwt({ ...claims, cnf }, issuerSigner)).toThrow(TypeError);
  });

  test("both formats hold a random set of claims", () => {
    const privateKey = generatePrivateKey();
    const signer = createSigner("k", privateKey);
    const filter = fc.stringMatching(/^[a-z]{1,4}(\/([a-z]{1,4}|\+)){0,3}(\/#)?$/);
    const grant = fc
      .record({ filter, pub: fc.boolean(), sub: fc.boolean() })
      .filter((candidate) => candidate.pub || candidate.sub);
    fc.assert(
      fc.property(fc.array(grant, { maxLength: 4 }), fc.uint8Array({ minLength: 1, maxLength: 8 }), (scope, id) => {
        const minted: Claims = { ...claims, scope, id };
        const expectation = { ...expected, keyFor: () => signer.publicKey };
        for (const token of [mintCwt(minted, signer), mintJwt(minted, signer)]) {
          const verified = verifyToken(token, expectation);
          expect(verified.grants).toEqual(scope);
          expect(hex(verified.claims.id)).toBe(hex(id));
        }
      }),
      { numRuns: 100 },
    );
  });
});

describe("what is refused of a token", () => {
  const other = clientSigner;
  const cwtOf = (change: ReadonlyArray<readonly [Cbor, Cbor | undefined]>): Uint8Array => {
    const map = new Map(readCwt(mintCwt(claims, issuerSigner)).claims);
    for (const [key, value] of change) {
      if (value === undefined) map.delete(key);
      else map.set(key, value);
    }
    return signCwt(map, issuerSigner);
  };
  const jwtOf = (change: Record<string, unknown>, type = "at+jwt"): string => {
    const payload = { ...inspectPayload(mintJwt(claims, issuerSigner)), ...change };
    return signJwt(payload, type, issuerSigner);
  };
  const sign1 = (protectedHeader: Map<Cbor, Cbor>, payload: Uint8Array = encode(new Map())): Uint8Array =>
    encode(new Tag(signSign1({ protected: protectedHeader, payload }, issuerSigner), 61));
  const withSignature = (signature: Uint8Array): Uint8Array => {
    const { message } = readCwt(mintCwt(claims, issuerSigner));
    return encode(new Tag(new Tag([message.protectedBytes, new Map(), message.payload, signature], 18), 61));
  };
  const kid: [Cbor, Cbor] = [4, Buffer.from(issuerSigner.kid)];
  const jwtPart = (value: unknown): string => toBase64url(Buffer.from(JSON.stringify(value)));
  const good = mintCwt(claims, issuerSigner);
  const goodText = toBase64url(good);
  const goodJwt = mintJwt(claims, issuerSigner);
  const [head, body, signature] = goodJwt.split(".") as [string, string, string];

  test.each([
    ["nothing", "", "token.malformed"],
    ["no bytes", new Uint8Array(), "token.malformed"],
    ["something else", "hello world", "token.malformed"],
    ["a token beyond 4 KiB", Buffer.alloc(4097, 0xd8), "token.too-large"],
    ["a text far beyond", "A".repeat(6000), "token.too-large"],
    ["a padded text", `${goodText}==`, "token.malformed"],
    ["a CWT cut short", good.subarray(0, -1), "cbor.truncated"],
    ["bytes after a CWT", Buffer.concat([good, unhex("00")]), "cbor.trailing"],
    ["a CWT by another key", mintCwt(claims, { ...other, kid: issuerSigner.kid }), "cose.signature"],
    ["a CWT with an unknown kid", mintCwt(claims, { ...issuerSigner, kid: "other" }), "token.key-unknown"],
    ["a CWT without kid", mintCwt(claims, { ...issuerSigner, kid: "" }), "token.key-unknown"],
    [
      "a kid that is text",
      sign1(
        new Map<Cbor, Cbor>([
          [1, -7],
          [4, "k"],
        ]),
      ),
      "cose.header",
    ],
    ["no algorithm", sign1(new Map([kid])), "cose.algorithm"],
    ["algorithm EdDSA", sign1(new Map<Cbor, Cbor>([[1, -8], kid])), "cose.algorithm"],
    ["algorithm HS256", sign1(new Map<Cbor, Cbor>([[1, 5], kid])), "cose.algorithm"],
    ["a payload that is no map", sign1(new Map<Cbor, Cbor>([[1, -7], kid]), unhex("80")), "cbor.type"],
    ["r and s zero", withSignature(new Uint8Array(64)), "cose.signature"],
    ["r and s beyond the order", withSignature(Buffer.alloc(64, 0xff)), "cose.signature"],
    ["a DER signature", withSignature(Buffer.concat([unhex("3044"), randomBytes(68)])), "cose.signature"],
    ["an expired CWT", cwtOf([[4, now]]), "token.expired"],
    ["a CWT from the future", cwtOf([[6, now + 61]]), "token.not-yet-valid"],
    ["a CWT not before later", cwtOf([[5, now + 61]]), "token.not-yet-valid"],
    ["a CWT of another issuer", cwtOf([[1, "https://other.example"]]), "token.issuer"],
    ["a CWT for another audience", cwtOf([[3, "home.other"]]), "token.audience"],
    ["a CWT for several audiences", cwtOf([[3, ["home.telemetry", "home.other"]]]), "token.claims"],
    ["exp that is text", cwtOf([[4, "soon"]]), "token.claims"],
    ["no exp", cwtOf([[4, undefined]]), "token.claims"],
    ["a negative exp", cwtOf([[4, -1]]), "token.claims"],
    ["no sub", cwtOf([[2, undefined]]), "token.claims"],
    ["an empty sub", cwtOf([[2, ""]]), "token.claims"],
    [
      "cnf with two methods",
      cwtOf([
        [
          8,
          new Map<Cbor, Cbor>([
            [1, toCoseKey(other.publicKey)],
            [3, unhex("01")],
          ]),
        ],
      ]),
      "token.claims",
    ],
    ["cnf with a kid alone", cwtOf([[8, new Map<Cbor, Cbor>([[3, unhex("01")]])]]), "token.claims"],
    [
      "cnf on another curve",
      cwtOf([[8, new Map([[1, new Map<Cbor, Cbor>([...toCoseKey(other.publicKey), [-1, 2]])]])]]),
      "key.curve",
    ],
    [
      "cnf off the curve",
      cwtOf([[8, new Map([[1, new Map<Cbor, Cbor>([...toCoseKey(other.publicKey), [-3, other.publicKey.x]])]])]]),
      "key.point",
    ],
    ["a scope that is no array", cwtOf([[9, unhex("a0")]]), "token.scope"],
    ["a scope with another permission", cwtOf([[9, encode([["a", ["all"]]])]]), "token.scope"],
    ["a scope with a bad filter", cwtOf([[9, encode([["a#", ["pub"]]])]]), "token.scope"],
    ["a JWT of two parts", `${head}.${body}`, "token.malformed"],
    ["a JWT by another key", mintJwt(claims, { ...other, kid: issuerSigner.kid }), "token.signature"],
    ["a JWT with an unknown kid", mintJwt(claims, { ...issuerSigner, kid: "other" }), "token.key-unknown"],
    ["alg none", `${jwtPart({ alg: "none", typ: "at+jwt", kid: issuerSigner.kid })}.${body}.`, "token.algorithm"],
    [
      "alg HS256",
      `${jwtPart({ alg: "HS256", typ: "at+jwt", kid: issuerSigner.kid })}.${body}.${signature}`,
      "token.algorithm",
    ],
    [
      "crit",
      `${jwtPart({ alg: "ES256", typ: "at+jwt", kid: issuerSigner.kid, crit: ["b64"] })}.${body}.${signature}`,
      "token.malformed",
    ],
    [
      "a changed payload",
      `${head}.${jwtPart({ ...inspectPayload(goodJwt), sub: "home.other" })}.${signature}`,
      "token.signature",
    ],
    ["a payload that is no object", `${head}.${jwtPart([])}.${signature}`, "token.malformed"],
    ["a padded signature", `${goodJwt}=`, "base64url.malformed"],
    ["a JWT of another type", jwtOf({}, "JWT"), "token.type"],
    ["an ID token", jwtOf({}, "id_token+jwt"), "token.type"],
    ["an expired JWT", jwtOf({ exp: now }), "token.expired"],
    ["a JWT from the future", jwtOf({ iat: now + 61 }), "token.not-yet-valid"],
    ["a JWT of another issuer", jwtOf({ iss: "https://as.example/" }), "token.issuer"],
    ["a JWT for another audience", jwtOf({ aud: "home.other" }), "token.audience"],
    ["exp that is a fraction", jwtOf({ exp: now + 0.5 }), "token.claims"],
    ["exp that is text", jwtOf({ exp: String(now + 60) }), "token.claims"],
    ["an empty cnf", jwtOf({ cnf: {} }), "token.claims"],
    ["cnf with a private key", jwtOf({ cnf: { jwk: { ...toJwk(other.publicKey), d: "AA" } } }), "key.private"],
    ["cnf with a short thumbprint", jwtOf({ cnf: { "x5t#S256": "AAAA" } }), "token.claims"],
    ["cnf with a short thumbprint of a DPoP key", jwtOf({ cnf: { jkt: "AAAA" } }), "token.claims"],
    ["cnf with a jkt that is no text", jwtOf({ cnf: { jkt: 1 } }), "token.claims"],
    [
      "cnf with a key and a thumbprint",
      jwtOf({ cnf: { jwk: toJwk(other.publicKey), jkt: jwkThumbprint(other.publicKey) } }),
      "token.claims",
    ],
  ] as ReadonlyArray<readonly [string, string | Uint8Array, string]>)("%s", (_name, token, reason) => {
    expect(reasonOf(() => verifyToken(token, expected))).toBe(reason);
  });

  test("a clock that is a minute off is tolerated for iat, never for exp", () => {
    expect(reasonOf(() => verifyToken(cwtOf([[6, now + 60]]), expected))).toBeUndefined();
    expect(reasonOf(() => verifyToken(cwtOf([[4, now + 1]]), expected))).toBeUndefined();
  });

  test("never throws but a refusal, whatever the bytes", () => {
    const mutated = fc.tuple(fc.nat(good.length - 1), fc.nat(255)).map(([at, byte]) => {
      const bytes = Uint8Array.from(good);
      bytes[at] = byte;
      return bytes;
    });
    fc.assert(
      fc.property(fc.oneof(mutated, fc.uint8Array({ maxLength: 300 }), fc.string({ maxLength: 300 })), (presented) => {
        try {
          verifyToken(presented, expected);
          expect(hex(presented as Uint8Array)).toBe(hex(good));
        } catch (error) {
          if (!(error instanceof Refusal)) throw error;
        }
      }),
      { numRuns: 2000 },
    );
  });
});

function inspectPayload(jwt: string): Record<string, unknown> {
  return JSON.parse(Buffer.from(jwt.split(".")[1]!, "base64url").toString()) as Record<string, unknown>;
}

describe("token hashes (RFC 9770, section 4)", () => {
  test("a CWT hashes as its base64url text, a JWT in both spellings", () => {
    const cwt = mintCwt(claims, issuerSigner);
    expect(tokenHashes(cwt)).toEqual(tokenHashes(toBase64url(cwt)));
    expect(tokenHashes(cwt)[0]).toMatch(/^01[0-9a-f]{64}$/);
    const jwt = mintJwt(claims, issuerSigner);
    expect(tokenHashes(jwt)).toEqual(tokenHashes(Buffer.from(jwt)));
    expect(new Set(tokenHashes(jwt)).size).toBe(2);
  });
});

interface HashVector {
  readonly name: string;
  readonly protected: string;
  readonly payload: string;
  readonly signature: string;
  readonly token_tagged_61_18: string;
  readonly token_hash: string;
}

describe.skipIf(!hasVectors)("vectors", () => {
  const tokens = hasVectors ? readVectors<{ tokens: HashVector[] }>("derived/cwt-and-token-hashes.json").tokens : [];
  test.each(tokens.map((vector) => [vector.name, vector] as const))("CWT and hash: %s", (_name, vector) => {
    const bytes = unhex(vector.token_tagged_61_18);
    const cwt = readCwt(bytes);
    verifySign1(cwt.message, issuerSigner.publicKey);
    expect(tokenHashes(bytes)).toEqual([vector.token_hash]);
    const kid = Buffer.from(decode(unhex(vector.protected)) instanceof Map ? cwt.kid! : "", "latin1").toString(
      "latin1",
    );
    expect(hex(signCwt(cwt.claims, { ...issuerSigner, kid }))).toBe(vector.token_tagged_61_18);
  });

  test("RFC 7515 A.3 JWT hashes differ by how the token came", () => {
    const { jwt_rfc7515_a3: jwt } = readVectors<{ jwt_rfc7515_a3: Record<string, string> }>(
      "derived/cwt-and-token-hashes.json",
    );
    const text = Object.values(jwt).find((value) => value.split(".").length === 3)!;
    expect(tokenHashes(text)).toEqual([
      "014634b4dcaca24964bce48e22146fb6e3933ad993e6f24f42575145a2133ae115",
      "01d3a3e787934e47efda8406bbe4e494c488a7b468bc0b691fb8b54caf1625c609",
    ]);
  });

  test("the token of the RFC 9770 figure", () => {
    const vector = readVectors<Record<string, string>>("published/rfc9770-example-token.json");
    expect(tokenHashes(unhex(vector["BYTES"]!))).toEqual([vector["token_hash_computed_here"]]);
  });

  const manipulated = hasVectors
    ? readVectors<{ valid_reference: string; must_reject_for_TRL: Array<{ why: string; token: string }> }>(
        "derived/trl-manipulated-tokens.json",
      )
    : { valid_reference: "", must_reject_for_TRL: [] };
  const reasons: Record<string, string> = {
    "non-empty unprotected map": "cose.header",
    "no tag 61": "cose.tag",
    "no tags": "cose.tag",
    "extra outer tag 55799": "cbor.tag",
    "tag 61 repeated": "cose.tag",
    "tag 61 encoded with uint16 argument (d9003d)": "cbor.not-deterministic",
    "tag 18 encoded non-minimally (d812)": "cbor.not-deterministic",
    "inner tag 17 (COSE_Mac0) on a Sign1": "cbor.tag",
    "unprotected map present but encoded non-minimally (b800)": "cbor.not-deterministic",
    "indefinite-length empty unprotected map (bfff)": "cbor.indefinite",
    "trailing byte": "cbor.trailing",
  };
  test.each(manipulated.must_reject_for_TRL.map((row) => [row.why, row.token] as const))(
    "refuses: %s",
    (why, token) => {
      expect(reasonOf(() => readCwt(unhex(token)))).toBe(reasons[why]);
      expect(reasonOf(() => verifyToken(unhex(token), expected))).toBe(reasons[why]);
    },
  );

  test("the token that the eleven were made from is well-formed", () => {
    const { message } = readCwt(unhex(manipulated.valid_reference));
    expect(() => verifySign1(message, issuerSigner.publicKey)).not.toThrow();
  });

  test("cose-wg CWT A.3 has the frame that can be revoked", () => {
    const vector = readVectors<{ output: { cbor: string } }>("cose-wg-examples/CWT/A_3.json");
    const cwt = readCwt(unhex(`d83d${vector.output.cbor}`));
    expect(cwt.message.unprotected.size).toBe(0);
  });

  test("RFC 8392 keys and JWK thumbprint", () => {
    const { keys } = readVectors<{ keys: { ecdsa256: Record<string, string> } }>("published/rfc8392-appendix-a.json");
    const published = decode(unhex(keys.ecdsa256["cose_key"]!), { anyOrder: true }) as Map<Cbor, Cbor>;
    expect(reasonOf(() => readCoseKey(published))).toBe("key.private");
    published.delete(-4);
    expect(readCoseKey(published).thumbprint).toBe(issuerSigner.publicKey.thumbprint);
    const { jwk_thumbprint_sha256 } = readVectors<Record<string, string>>("derived/cose-keys.json");
    expect(jwkThumbprint(clientSigner.publicKey)).toBe(jwk_thumbprint_sha256);
  });
});

test("a Sign1 read from a token is the one that was signed", () => {
  const bytes = mintCwt(claims, issuerSigner);
  const frame = decode(bytes) as Tag;
  expect(readSign1(frame.value as Cbor).payload.length).toBeGreaterThan(0);
});
