/** The credential reader: what it tells apart, and that nothing makes it do anything but answer or refuse. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { readCredential } from "../../broker/gate/credential.ts";
import { Refusal } from "../../shared/refusal.ts";

const bytes = (text: string): Uint8Array => Buffer.from(text);
const token = "0".repeat(100);

it.each([
  ["a proof", `ace${token}`, Buffer.alloc(64), false, "proof"],
  ["a proof beside a certificate", `ace${token}`, Buffer.alloc(64), true, "proof"],
  ["a token beside a certificate", `ace${token}`, undefined, true, "certificate-token"],
  ["a token and an empty password beside a certificate", `ace${token}`, bytes(""), true, "certificate-token"],
  ["a certificate alone", undefined, undefined, true, "certificate"],
  ["empty user name and password beside a certificate", "", bytes(""), true, "certificate"],
  ["a bearer token", "x", bytes(token), false, "bearer"],
  [
    "a bearer token of one whose name starts with ace",
    "acelsior",
    bytes(`${token}.${token}.${token}`),
    false,
    "bearer",
  ],
  ["a bearer token without a user name", undefined, bytes(token), false, "bearer"],
  ["nothing", undefined, undefined, false, "anonymous"],
])("reads %s", (_name, username, password, hasCertificate, kind) => {
  expect(readCredential(username, password, hasCertificate).kind).toBe(kind);
});

it("never takes 64 bytes for a bearer token", () => {
  expect(() => readCredential("x", Buffer.alloc(64, 65), false)).toThrow("credential.malformed");
});

it("answers or refuses, whatever arrives", () => {
  const username = fc.oneof(
    fc.constant(undefined),
    fc.string(),
    fc.string({ unit: "binary" }).map((text) => `ace${text}`),
    fc.base64String().map((text) => `ace${text}`),
    fc.integer({ min: 0, max: 8000 }).map((length) => `ace${"A".repeat(length)}`),
  );
  const password = fc.oneof(
    fc.constant(undefined),
    fc.uint8Array({ maxLength: 200 }),
    fc.uint8Array({ minLength: 64, maxLength: 64 }),
    fc.base64String({ minLength: 60, maxLength: 200 }).map(bytes),
    fc.integer({ min: 0, max: 8000 }).map((length) => Buffer.alloc(length, 65)),
  );
  expect(() =>
    fc.assert(
      fc.property(username, password, fc.boolean(), (name, secret, hasCertificate) => {
        try {
          const credential = readCredential(name, secret, hasCertificate);
          if (credential.kind === "proof") return secret?.length === 64 && name?.startsWith("ace") === true;
          if (credential.kind === "bearer") return (secret?.length ?? 0) > 64;
          if (credential.kind === "anonymous") return !hasCertificate && !name && !secret?.length;
          return hasCertificate && !secret?.length;
        } catch (error) {
          return error instanceof Refusal && /^(credential|proof)\./.test(error.reason);
        }
      }),
      { numRuns: 2000, seed: 9431 },
    ),
  ).not.toThrow();
});
