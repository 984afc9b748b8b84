import { createPublicKey, createPrivateKey, generateKeyPairSync } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decode, encode, Tag, type Cbor } from "../../shared/cbor.ts";
import { readSign1, signSign1, toBeSigned, verifySign1 } from "../../shared/cose.ts";
import { readCoseKey, readJwk, readPublicKey, readSpki, toCoseKey, toJwk } from "../../shared/cose-key.ts";
import { createSigner, verifyEs256, generatePrivateKey } from "../../shared/es256.ts";
import { Refusal } from "../../shared/refusal.ts";
import { hasVectors, readVectors } from "../peers.ts";
import { clientSigner, issuerSigner } from "./keys.ts";
import { hex, reasonOf, unhex } from "./reading.ts";

const curveOrder = unhex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");

describe("ES256", () => {
  test("the deterministic signer gives the signatures of RFC 6979 A.2.5", () => {
    expect(hex(clientSigner.sign(Buffer.from("sample")))).toBe(
      "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716" +
        "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8",
    );
    expect(hex(clientSigner.sign(Buffer.from("test")))).toBe(
      "f1abb023518351cd71d881567b1ea663ed3efcf6c5132b354f28d3b0b7d38367" +
        "019f4113742a2b14bd25926b49c649155f267e60d3814b4c0cc84250e46f0083",
    );
  });

  test("node's signer and the deterministic one verify each other's signatures", () => {
    const privateKey = generatePrivateKey();
    const signer = createSigner("k", privateKey);
    const message = Buffer.from("message");
    expect(verifyEs256(signer.publicKey, message, signer.sign(message))).toBe(true);
    expect(verifyEs256(clientSigner.publicKey, message, clientSigner.sign(message))).toBe(true);
    expect(verifyEs256(signer.publicKey, message, clientSigner.sign(message))).toBe(false);
  });

  const message = Buffer.from("sample");
  const good = clientSigner.sign(message);
  const zero = new Uint8Array(32);
  test.each([
    ["r is zero", Buffer.concat([zero, good.subarray(32)])],
    ["s is zero", Buffer.concat([good.subarray(0, 32), zero])],
    ["both are zero", new Uint8Array(64)],
    ["r is the order of the curve", Buffer.concat([curveOrder, good.subarray(32)])],
    ["s is the order of the curve", Buffer.concat([good.subarray(0, 32), curveOrder])],
    ["s is beyond the order", Buffer.concat([good.subarray(0, 32), Buffer.alloc(32, 0xff)])],
    ["it is DER", Buffer.concat([unhex("3046022100"), good.subarray(0, 32), unhex("022100"), good.subarray(32)])],
    ["it is a byte short", good.subarray(0, 63)],
    ["it is a byte long", Buffer.concat([good, unhex("00")])],
    ["it is empty", new Uint8Array()],
  ])("does not accept a signature when %s", (_name, signature) => {
    expect(verifyEs256(clientSigner.publicKey, message, signature)).toBe(false);
  });
});

describe("keys", () => {
  const key = clientSigner.publicKey;
  const x = hex(key.x);
  const y = hex(key.y);

  test("the thumbprint is that of RFC 9679", () => {
    const published = readCoseKey(
      decode(
        unhex(
          "a4010220012158" +
            "2065eda5a12577c2bae829437fe338701a10aaa375e1bb5b5de108de439c08551d" +
            "2258201e52ed75701163f7f9e40ddf9f341b3dc9ba860af7e0ca7ca7e9eecd0084d19c",
        ),
      ),
    );
    expect(published.thumbprint).toBe("496bd8afadf307e5b08c64b0421bf9dc01528a344a43bda88fadd1669da253ec");
  });

  test("every form gives the same key back", () => {
    const spki = key.keyObject.export({ format: "der", type: "spki" });
    const forms = [
      readCoseKey(toCoseKey(key)),
      readCoseKey(toCoseKey(key, { uncompressed: true, alg: true, kid: unhex("01") })),
      readJwk(toJwk(key)),
      readSpki(spki),
      readPublicKey(key.keyObject),
    ];
    for (const form of forms) expect([hex(form.x), hex(form.y), form.thumbprint]).toEqual([x, y, key.thumbprint]);
    expect(hex(encode(toCoseKey(key)))).toBe(`a401022001215820${x}22f5`);
  });

  test("a compressed point survives for any key", () => {
    fc.assert(
      fc.property(fc.constant(null), () => {
        const publicKey = createPublicKey(generatePrivateKey());
        const random = readPublicKey(publicKey);
        expect(readCoseKey(toCoseKey(random)).thumbprint).toBe(random.thumbprint);
      }),
      { numRuns: 50 },
    );
  });

  const cose = (entries: ReadonlyArray<readonly [Cbor, Cbor]>): Map<Cbor, Cbor> =>
    new Map([...toCoseKey(key, { uncompressed: true }), ...entries]);
  test.each([
    ["no map", 5, "key.malformed"],
    ["another key type", cose([[1, 1]]), "key.type"],
    ["another curve", cose([[-1, 2]]), "key.curve"],
    ["another algorithm", cose([[3, -8]]), "key.algorithm"],
    ["operations without verify", cose([[4, [1]]]), "key.algorithm"],
    ["a private part", cose([[-4, key.x]]), "key.private"],
    ["a short coordinate", cose([[-2, key.x.subarray(1)]]), "key.malformed"],
    ["a long coordinate", cose([[-3, Buffer.concat([key.y, key.y])]]), "key.malformed"],
    ["no y", cose([[-3, null]]), "key.malformed"],
    ["a point off the curve", cose([[-3, key.x]]), "key.point"],
    ["a coordinate beyond the field", cose([[-2, Buffer.alloc(32, 0xff)]]), "key.point"],
    [
      "the point 0,0",
      cose([
        [-2, new Uint8Array(32)],
        [-3, new Uint8Array(32)],
      ]),
      "key.point",
    ],
    [
      "an x without a point",
      cose([
        [-2, Buffer.alloc(32, 0xff)],
        [-3, true],
      ]),
      "key.point",
    ],
  ] as const)("refuses a COSE_Key with %s", (_name, value, reason) => {
    expect(reasonOf(() => readCoseKey(value))).toBe(reason);
  });

  test.each([
    ["nothing", null, "key.malformed"],
    ["an RSA key", { kty: "RSA" }, "key.type"],
    ["another curve", { ...toJwk(key), crv: "P-384" }, "key.curve"],
    ["another algorithm", { ...toJwk(key), alg: "ES384" }, "key.algorithm"],
    ["a private key", { ...toJwk(key), d: "AA" }, "key.private"],
    ["a padded coordinate", { ...toJwk(key), x: `${toJwk(key).x}=` }, "base64url.malformed"],
    ["a point off the curve", { ...toJwk(key), y: toJwk(key).x }, "key.point"],
  ])("refuses a JWK with %s", (_name, jwk, reason) => {
    expect(reasonOf(() => readJwk(jwk))).toBe(reason);
  });

  test("refuses keys of node that are not P-256", () => {
    expect(reasonOf(() => readPublicKey(generateKeyPairSync("ed25519").publicKey))).toBe("key.type");
    expect(reasonOf(() => readPublicKey(generateKeyPairSync("ec", { namedCurve: "P-384" }).publicKey))).toBe(
      "key.curve",
    );
    expect(reasonOf(() => readSpki(unhex("3000")))).toBe("key.malformed");
  });
});

describe("COSE_Sign1", () => {
  const payload = Buffer.from("payload");
  const signed = (protectedHeader: Map<Cbor, Cbor>, unprotected?: Map<Cbor, Cbor>): Tag =>
    signSign1({ protected: protectedHeader, ...(unprotected && { unprotected }), payload }, clientSigner);
  const es256 = new Map<Cbor, Cbor>([[1, -7]]);

  test("what is signed verifies, also over external data", () => {
    const message = readSign1(decode(encode(signed(es256))));
    expect(() => verifySign1(message, clientSigner.publicKey)).not.toThrow();
    expect(reasonOf(() => verifySign1(message, issuerSigner.publicKey))).toBe("cose.signature");
    expect(reasonOf(() => verifySign1(message, clientSigner.publicKey, payload))).toBe("cose.signature");
  });

  test.each([
    ["another tag", new Tag([], 61), "cose.tag"],
    ["no array", 5, "cose.structure"],
    ["an array of three", [new Uint8Array(), new Map(), new Uint8Array()], "cose.structure"],
    ["a detached payload", [new Uint8Array(), new Map(), null, new Uint8Array()], "cose.structure"],
    ["a protected header that is no map", [unhex("00"), new Map(), payload, payload], "cbor.type"],
    ["a protected header cut short", [unhex("a1"), new Map(), payload, payload], "cbor.truncated"],
    ["a label in both headers", signed(es256, new Map([[1, -7]])), "cose.header"],
    ["a label of another type", signed(new Map<Cbor, Cbor>([[unhex("01"), 1]])), "cose.header"],
    ["crit that is not protected", signed(es256, new Map<Cbor, Cbor>([[2, [1]]])), "cose.header"],
    ["an empty crit", signed(new Map<Cbor, Cbor>([...es256, [2, []]])), "cose.header"],
    ["crit that names what is absent", signed(new Map<Cbor, Cbor>([...es256, [2, [4]]])), "cose.header"],
    ["crit that names what is unknown", signed(new Map<Cbor, Cbor>([...es256, [99, 1], [2, [99]]])), "cose.header"],
  ] as ReadonlyArray<readonly [string, Cbor, string]>)("refuses %s", (_name, value, reason) => {
    expect(reasonOf(() => readSign1(value))).toBe(reason);
  });

  test.each([
    ["none", new Map<Cbor, Cbor>()],
    ["EdDSA", new Map<Cbor, Cbor>([[1, -8]])],
    ["ES384", new Map<Cbor, Cbor>([[1, -35]])],
    ["a text", new Map<Cbor, Cbor>([[1, "ES256"]])],
  ])("refuses algorithm %s", (_name, protectedHeader) => {
    const message = readSign1(signed(protectedHeader));
    expect(reasonOf(() => verifySign1(message, clientSigner.publicKey))).toBe("cose.algorithm");
  });

  test("never throws but a refusal, whatever the bytes", () => {
    const good = encode(signed(es256));
    const mutated = fc.tuple(fc.nat(good.length - 1), fc.nat(255)).map(([at, byte]) => {
      const bytes = Uint8Array.from(good);
      bytes[at] = byte;
      return bytes;
    });
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 200 }), mutated), (bytes) => {
        let accepted = false;
        try {
          verifySign1(readSign1(decode(bytes)), clientSigner.publicKey);
          accepted = true;
        } catch (error) {
          expect(error).toBeInstanceOf(Refusal);
        }
        // one changed byte is only harmless where it changes nothing
        if (accepted) expect(hex(bytes)).toBe(hex(good));
      }),
      { numRuns: 2000 },
    );
  });
});

interface Sign1Vector {
  readonly title: string;
  readonly fail?: boolean;
  readonly input: { readonly sign0: { readonly key: Record<string, string>; readonly external?: string } };
  readonly intermediates: { readonly ToBeSign_hex: string };
  readonly output: { readonly cbor: string };
}

describe.skipIf(!hasVectors)("COSE working group, sign1-tests", () => {
  const files = ["pass-01", "pass-02", "pass-03", "fail-01", "fail-02", "fail-03", "fail-04", "fail-06", "fail-07"];
  const paths = [...files.map((file) => `sign1-tests/sign-${file}.json`), "ecdsa-examples/ecdsa-sig-01.json"];
  const expected: Record<string, string> = {
    "sign-fail-01": "cbor.tag",
    "sign-fail-02": "cose.signature",
    "sign-fail-03": "cose.algorithm",
    "sign-fail-04": "cose.algorithm",
    "sign-fail-06": "cose.signature",
    "sign-fail-07": "cose.signature",
  };
  test.each(paths)("%s", (path) => {
    const vector = readVectors<Sign1Vector>(`cose-wg-examples/${path}`);
    const { x, y } = vector.input.sign0.key;
    const key = readJwk({ kty: "EC", crv: "P-256", x, y });
    const externalAad = unhex(vector.input.sign0.external ?? "");
    const verify = (): void => verifySign1(readSign1(decode(unhex(vector.output.cbor))), key, externalAad);
    if (vector.fail === true) {
      expect(reasonOf(verify)).toBe(expected[vector.title.split(":")[0]!]);
      return;
    }
    verify();
    const message = readSign1(decode(unhex(vector.output.cbor)));
    expect(hex(toBeSigned(message, externalAad))).toBe(vector.intermediates.ToBeSign_hex.toLowerCase());
  });
});

describe.skipIf(!hasVectors)("published keys", () => {
  test("RFC 6979 A.2.5, all SHA-256 signatures", () => {
    interface Row {
      readonly hash: string;
      readonly message: string;
      readonly r: string;
      readonly s: string;
    }
    const { signatures } = readVectors<{ signatures: Row[] }>("published/rfc6979-a2.5-p256.json");
    const rows = signatures.filter((row) => row.hash === "SHA-256");
    expect(rows.length).toBe(2);
    for (const row of rows) {
      expect(hex(clientSigner.sign(Buffer.from(row.message)))).toBe((row.r + row.s).toLowerCase());
    }
  });

  test("COSE keys, thumbprints and JWK thumbprint", () => {
    const vector = readVectors<Record<string, string>>("derived/cose-keys.json");
    const key = readCoseKey(decode(unhex(vector["compressed_y_bool"]!)));
    expect(hex(encode(toCoseKey(key)))).toBe(vector["compressed_y_bool"]);
    expect(hex(encode(toCoseKey(key, { uncompressed: true })))).toBe(vector["uncompressed"]);
    expect(key.thumbprint).toBe(vector["ckt_sha256"]);
  });

  test("RFC 9679", () => {
    const { hashed_cbor, sha256 } = readVectors<Record<string, string>>("published/rfc9679-ckt.json");
    expect(readCoseKey(decode(unhex(hashed_cbor!))).thumbprint).toBe(sha256);
  });
});

test("a private key of node becomes a signer only when it is P-256", () => {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-384" });
  expect(reasonOf(() => createSigner("k", createPrivateKey(privateKey.export({ format: "pem", type: "pkcs8" }))))).toBe(
    "key.curve",
  );
});
