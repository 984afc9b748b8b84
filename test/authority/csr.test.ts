/** Certification requests: one row for each way to be wrong. */
import { generateKeyPairSync } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { readCertificationRequest } from "../../broker/authority/certificates/csr.ts";
import { spki } from "../../broker/authority/certificates/x509.ts";
import { Refusal, type Reason } from "../../shared/refusal.ts";
import { bitString, commonName, der, integer, oids, readElements, sequence } from "./der.ts";
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
    const extensions = der(0xa0, sequence(oids.extensionRequest, der(0x31, sequence(sequence()))));
    const asked = read(base64(makeCsr(privateKey, { subject: commonName("admin"), attributes: extensions })));
    expect(asked.key.thumbprint).toBe(key.thumbprint);
    expect(Object.keys(asked)).toEqual(["key", "subject"]);
  });

  test.each([
    ["nobody", sequence(), ""],
    ["a UTF8String", commonName("plant.pi"), "CN=plant.pi"],
    ["a PrintableString", commonName("plant.pi", 0x13), "CN=plant.pi"],
    ["a text that looks like two", commonName("plant.pi, CN=plant.off"), "CN=plant.pi\\, CN=plant.off"],
    ["two", sequence(...["a", "b"].map((name) => readElements(commonName(name))[0]!.content)), "CN=a, CN=b"],
  ])("says who it is for: %s", (_name, subject, expected) => {
    expect(read(base64(makeCsr(privateKey, { subject }))).subject).toBe(expected);
  });

  test("may be broken into lines", () => {
    const lines = base64(good).replaceAll(/(.{64})/g, "$1\r\n\t ");
    expect(read(lines).key.thumbprint).toBe(key.thumbprint);
  });

  const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const p384 = generateKeyPairSync("ec", { namedCurve: "P-384" });
  const [info, algorithm] = [sequence(integer(0)), sequence(oids.ecdsaWithSha256)];
  const content = readElements(good)[0]!.content;
  const signature = readElements(content)[2]!.content.subarray(1);
  const inner = good.length - signature.length;
  const noPoint = sequence(sequence(oids.ecPublicKey, oids.p256), bitString(new Uint8Array()));
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
    ["trailing bytes inside", () => base64(sequence(content, integer(1))), "csr.malformed"],
    ["hex", () => base64(Buffer.from(hex(good))), "csr.malformed"],
    [
      "PEM in base64",
      () => base64(Buffer.from(`-----BEGIN X-----\n${base64(good)}\n-----END X-----`)),
      "csr.malformed",
    ],
    [
      "good but for an indefinite length",
      () => base64(Buffer.concat([Uint8Array.of(0x30, 0x80), content, new Uint8Array(2)])),
      "csr.malformed",
    ],
    [
      "good but for a length of four bytes",
      () => base64(Buffer.concat([Uint8Array.of(0x30, 0x84, 0, 0, 0, content.length), content])),
      "csr.malformed",
    ],
    [
      "good but for a length that is not minimal",
      () => base64(Buffer.concat([Uint8Array.of(0x30, 0x82, 0, content.length), content])),
      "csr.malformed",
    ],
    ["a thousand sequences deep", () => base64(Buffer.from("3080".repeat(1000), "hex")), "csr.malformed"],
    ["an indefinite length", () => base64(Buffer.from("30800000", "hex")), "csr.malformed"],
    ["a length of four bytes", () => base64(Buffer.from("3084000000021234", "hex")), "csr.malformed"],
    ["a length that is not minimal", () => base64(Buffer.from("30810105", "hex")), "csr.malformed"],
    ["parts that are missing", () => base64(sequence(info, algorithm, bitString(new Uint8Array(8)))), "csr.malformed"],
    ["a key of RSA", () => base64(makeCsr(privateKey, { publicKey: spki(rsa.publicKey) })), "csr.key"],
    ["a key on P-384", () => base64(makeCsr(privateKey, { publicKey: spki(p384.publicKey) })), "csr.key"],
    ["a key that is none", () => base64(makeCsr(privateKey, { publicKey: noPoint })), "csr.key"],
    ["an empty sequence for a key", () => base64(makeCsr(privateKey, { publicKey: sequence() })), "csr.malformed"],
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
    [
      "a signature of another algorithm",
      () => base64(makeCsr(privateKey, { algorithm: Buffer.from("06082a8648ce3d040303", "hex"), hash: "sha384" })),
      "csr.signature",
    ],
    [
      "a signature with parameters",
      () => base64(makeCsr(privateKey, { algorithm: Buffer.concat([oids.ecdsaWithSha256, der(0x05)]) })),
      "csr.signature",
    ],
    [
      "a signature whose inner length is wrong",
      () => base64(Buffer.from(good).fill(good[inner + 1]! - 32, inner + 1, inner + 2)),
      "csr.signature",
    ],
    ["a signature over something else", () => base64(Buffer.from(good).fill("x", 21, 22)), "csr.signature"],
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
