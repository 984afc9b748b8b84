/** Certification requests and the DER under them: one row for each way to be wrong. */
import { generateKeyPairSync } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { readCertificationRequest } from "../../broker/authority/csr.ts";
import { bitString, der, DerReader, integer, oid, sequence, time } from "../../broker/authority/der.ts";
import { commonName, ids, spki } from "../../broker/authority/x509.ts";
import { Refusal, type Reason } from "../../shared/refusal.ts";
import { base64, makeCsr, makeKey } from "./fixture.ts";

const { privateKey, key } = makeKey();
const good = makeCsr(privateKey);
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const read = (body: Uint8Array | string) => readCertificationRequest(Buffer.from(body), 4096);

function reasonOf(run: () => unknown): Reason | undefined {
  try {
    run();
  } catch (error) {
    if (error instanceof Refusal) return error.reason;
    throw error;
  }
  return undefined;
}

describe("a certification request", () => {
  test("gives its key, whatever else it asks for", () => {
    const extensions = der(0xa0, sequence(oid("1.2.840.113549.1.9.14"), der(0x31, sequence(sequence()))));
    const asked = read(base64(makeCsr(privateKey, { subject: commonName("admin"), attributes: extensions })));
    expect(asked.key.thumbprint).toBe(key.thumbprint);
    expect(Object.keys(asked)).toEqual(["key", "subject"]);
  });

  test("may be broken into lines", () => {
    const lines = base64(good).replaceAll(/(.{64})/g, "$1\r\n\t ");
    expect(read(lines).key.thumbprint).toBe(key.thumbprint);
  });

  const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const p384 = generateKeyPairSync("ec", { namedCurve: "P-384" });
  const [info, algorithm] = [sequence(integer(Uint8Array.of(0))), sequence(oid(ids.ecdsaWithSha256))];
  test.each<[string, () => Uint8Array | string, Reason]>([
    ["nothing", () => "", "csr.malformed"],
    [
      "PEM",
      () => `-----BEGIN CERTIFICATE REQUEST-----\n${base64(good)}\n-----END CERTIFICATE REQUEST-----\n`,
      "csr.malformed",
    ],
    ["DER that is not base64", () => good, "csr.malformed"],
    ["base64url", () => "-_-_", "csr.malformed"],
    ["base64 without its padding", () => base64(Buffer.alloc(4)).replaceAll("=", ""), "csr.malformed"],
    ["truncated DER", () => base64(good.subarray(0, -1)), "csr.malformed"],
    ["trailing bytes", () => base64(Buffer.concat([good, Uint8Array.of(0)])), "csr.malformed"],
    [
      "trailing bytes inside",
      () => base64(sequence(new DerReader(good).next(0x30).content, integer(Uint8Array.of(1)))),
      "csr.malformed",
    ],
    ["an indefinite length", () => base64(Buffer.from("30800000", "hex")), "csr.malformed"],
    ["a length of four bytes", () => base64(Buffer.from("3084000000021234", "hex")), "csr.malformed"],
    ["a length that is not minimal", () => base64(Buffer.from("30810105", "hex")), "csr.malformed"],
    ["parts that are missing", () => base64(sequence(info, algorithm, bitString(new Uint8Array(8)))), "csr.malformed"],
    ["a key of RSA", () => base64(makeCsr(privateKey, { publicKey: spki(rsa.publicKey) })), "csr.key"],
    ["a key on P-384", () => base64(makeCsr(privateKey, { publicKey: spki(p384.publicKey) })), "csr.key"],
    ["a key that is none", () => base64(makeCsr(privateKey, { publicKey: sequence() })), "csr.key"],
    [
      "a point off the curve",
      () => base64(makeCsr(privateKey, { publicKey: spki(key.keyObject).fill(7, 30) })),
      "csr.key",
    ],
    [
      "the signature of another key",
      () => base64(makeCsr(privateKey, { signWith: makeKey().privateKey })),
      "csr.signature",
    ],
    ["a signature with another hash", () => base64(makeCsr(privateKey, { hash: "sha384" })), "csr.signature"],
    ["a signature over something else", () => base64(Buffer.from(good).fill("x", 20, 21)), "csr.signature"],
    [
      "more than 4 KiB",
      () => base64(makeCsr(privateKey, { attributes: der(0xa0, new Uint8Array(4096)) })),
      "request.too-large",
    ],
  ])("is refused when it is %s", (_name, body, reason) => {
    expect(reasonOf(() => read(body()))).toBe(reason);
  });

  test("is read or refused, whatever the bytes", () => {
    const mutated = fc
      .tuple(fc.nat(good.length - 1), fc.uint8Array({ minLength: 1, maxLength: 6 }))
      .map(([at, bytes]) => Buffer.concat([good.subarray(0, at), bytes, good.subarray(at + bytes.length)]));
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 300 }), mutated), (bytes) => {
        const reason = reasonOf(() => read(base64(bytes)));
        expect(reason === undefined ? hex(bytes) : hex(good)).toBe(hex(good));
      }),
      { numRuns: 500, seed: 7 },
    );
  });
});

describe("DER", () => {
  test("reads back what it wrote, at every size of length", () => {
    for (const size of [0, 1, 127, 128, 255, 256, 4096, 65_535]) {
      const reader = new DerReader(der(4, new Uint8Array(size)));
      expect(reader.next(4).content.length).toBe(size);
      reader.end();
    }
  });

  test.each(["04810100", "0482000100", "0482007f" + "00".repeat(127), "048000", "0483000001", "0402ff", "04"])(
    "refuses the length in %s",
    (text) => {
      expect(reasonOf(() => new DerReader(Buffer.from(text, "hex")).next(4))).toBe("csr.malformed");
    },
  );

  test.each([
    ["2.5.29.15", "0603551d0f"],
    ["1.2.840.10045.4.3.2", "06082a8648ce3d040302"],
  ])("writes the identifier %s", (text, expected) => {
    expect(hex(oid(text))).toBe(expected);
  });

  test.each([
    [[0], "020100"],
    [[0, 0, 1], "020101"],
    [[0x80], "02020080"],
    [[0x7f, 0xff], "02027fff"],
  ])("writes the integer %j", (bytes, expected) => {
    expect(hex(integer(Uint8Array.from(bytes)))).toBe(expected);
  });

  test.each([
    ["2026-11-22T01:02:03Z", 0x17, "261122010203Z"],
    ["2049-12-31T23:59:59Z", 0x17, "491231235959Z"],
    ["2050-01-01T00:00:00Z", 0x18, "20500101000000Z"],
  ])("writes the time %s", (text, tag, expected) => {
    const written = time(Date.parse(text) / 1000);
    expect([written[0], Buffer.from(written.subarray(2)).toString()]).toEqual([tag, expected]);
  });
});
