/** Lists of authorities elsewhere: what is read out of them. */
import { X509Certificate } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { encodeCrlEntries, issueCrl } from "../../broker/authority/certificates/crl.ts";
import { readCrl, readCrlText } from "../../broker/authority/certificates/crl-reader.ts";
import { toPem } from "../../broker/authority/certificates/x509.ts";
import type { CrlEntry } from "../../broker/registry/crl-entries.ts";
import type { RevocationList } from "../../broker/registry/revocation-lists.ts";
import { testWith } from "../peers.ts";
import { der, integer, sequence } from "./der.ts";
import {
  entry,
  extension,
  extensions,
  faultOf,
  generalizedTime,
  makeAuthority,
  makeCrl,
  names,
  utcTime,
  yes,
  type CrlParts,
  type OpenAuthority,
} from "./crl-maker.ts";
import { openOpensslCa } from "./openssl-ca.ts";

const now = Date.parse("2026-11-22T12:00:00Z") / 1000;
let authority: OpenAuthority;
let directory: string;
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "postern-crl-"));
  authority = await makeAuthority();
});
afterAll(() => rmSync(directory, { recursive: true }));

const nothing = Buffer.alloc(0);
const read = (parts: CrlParts = {}): RevocationList => readCrl(makeCrl(authority, parts), authority.certificate, now);
const octets = (hex: string): Buffer => der(0x02, Buffer.from(hex, "hex"));
const oneEntry = (serial: Uint8Array, ...more: readonly Uint8Array[]): CrlParts => ({
  entries: sequence(entry(serial, ...more)),
});
const numbered = (...more: readonly Uint8Array[]): CrlParts => ({
  extensions: extensions(extension(names.number, integer(7)), ...more),
});

describe("a list is read", () => {
  test("with its number, its times and its serials", () => {
    expect(read()).toEqual({
      number: 7n,
      thisUpdate: Date.parse("2026-11-20T00:00:00Z") / 1000,
      nextUpdate: Date.parse("2026-11-30T00:00:00Z") / 1000,
      serials: new Set(["1", "2"]),
    });
  });

  test.each<[what: string, parts: CrlParts, expected: Partial<RevocationList>]>([
    ["of nobody", { entries: nothing }, { serials: new Set() }],
    ["without extensions", { extensions: nothing }, { number: undefined }],
    ["of version 1", { version: nothing, extensions: nothing }, { number: undefined }],
    ["of users alone", numbered(extension(names.distributionPoint, sequence(der(0x81, Uint8Array.of(0xff))), yes)), {}],
    ["with an extension that nobody knows", numbered(extension(names.unknown, Buffer.from("any"))), {}],
    ["with a number of 20 octets", { extensions: extensions(extension(names.number, octets("7f".repeat(20)))) }, {}],
    ["with a serial of 20 octets", oneEntry(octets("7f".repeat(20))), { serials: new Set(["7f".repeat(20)]) }],
    ["with a serial of a leading zero", oneEntry(octets("00ff01")), { serials: new Set(["ff01"]) }],
    ["with the serial 0", oneEntry(integer(0)), { serials: new Set(["0"]) }],
    ["with a reason", oneEntry(integer(9), sequence(extension(names.reason, der(0x0a, Uint8Array.of(1))))), {}],
    ["with one serial twice", { entries: sequence(entry(integer(3)), entry(integer(3))) }, { serials: new Set(["3"]) }],
    ["whose time is over", { nextUpdate: utcTime("261121000000Z") }, {}],
    ["that is a little ahead", { thisUpdate: utcTime("261122120500Z") }, {}],
    ["that lasts beyond 2049", { nextUpdate: generalizedTime("20500101000000Z") }, { nextUpdate: 2524608000 }],
    ["of the last century", { thisUpdate: utcTime("500101000000Z") }, { thisUpdate: -631152000 }],
  ])("%s", (_, parts, expected) => {
    expect(read(parts)).toMatchObject(expected);
  });

  test("from PEM, and from base64 with line breaks", () => {
    const bytes = makeCrl(authority);
    const lines = bytes.toString("base64").replaceAll(/.{40}/g, "$&\r\n");
    for (const text of [toPem("X509 CRL", bytes), lines]) {
      expect(readCrlText(text, authority.certificate, now).serials.size).toBe(2);
    }
  });

  test("as it was written, whatever stands on it", async () => {
    const seconds = fc.integer({ min: -631_152_000, max: 4_102_444_800 });
    const entries = fc.array(
      fc.record({
        serial: fc.bigInt(0n, 2n ** 159n - 1n).map((value) => value.toString(16)),
        revokedAt: seconds,
        reason: fc.constantFrom<CrlEntry["reason"]>(undefined, "certificateHold", "cessationOfOperation"),
      }),
      { maxLength: 20 },
    );
    const times = fc.record({
      at: fc.integer({ min: -631_152_000, max: now }),
      span: fc.integer({ min: 1, max: 1e9 }),
    });
    await fc.assert(
      fc.asyncProperty(entries, times, fc.nat(2 ** 40), async (listed, { at, span }, number) => {
        const content = { number, thisUpdate: at, nextUpdate: at + span, entries: encodeCrlEntries(listed) };
        expect(readCrl(await issueCrl(authority.ca, content), authority.certificate, now)).toEqual({
          number: BigInt(number),
          thisUpdate: at,
          nextUpdate: at + span,
          serials: new Set(listed.map(({ serial }) => serial)),
        });
      }),
      { numRuns: 60 },
    );
  });

  test("of a hundred thousand", async () => {
    const listed = Array.from({ length: 100_000 }, (_, at) => ({
      serial: (0x4000_0000_0000 + at).toString(16),
      revokedAt: now,
    }));
    const content = { number: 1, thisUpdate: now, nextUpdate: now + 1, entries: encodeCrlEntries(listed) };
    const bytes = await issueCrl(authority.ca, content);
    expect(readCrl(bytes, authority.certificate, now).serials.size).toBe(listed.length);
  });
});

describe("of OpenSSL's authority", () => {
  for (const [key, digest] of [
    ["p256", "sha256"],
    ["p384", "sha384"],
    ["rsa", "sha256"],
    ["rsa", "sha512"],
  ] as const) {
    testWith(["openssl"], `with ${key} and ${digest} a list is read, of version 2 and of version 1`, () => {
      const ca = openOpensslCa(join(directory, `${key}-${digest}`), key);
      const certificate = new X509Certificate(ca.pem);
      const time = Math.floor(Date.now() / 1000);
      ca.revoke("01", "keyCompromise");
      ca.revoke("00F1A2");
      const list = readCrlText(ca.makeList({ digest }), certificate, time);
      expect(list).toMatchObject({ number: 10n, serials: new Set(["1", "f1a2"]) });
      // OpenSSL reads its clock for each of the two
      expect([86_400, 86_401]).toContain(list.nextUpdate - list.thisUpdate);
      const old = readCrlText(ca.makeList({ digest, v1: true }), certificate, time);
      expect(old).toMatchObject({ number: undefined, serials: list.serials });
    });
  }

  testWith(["openssl"], "a list is refused where its key may not sign lists, or the digest is of yesterday", () => {
    const idle = openOpensslCa(join(directory, "idle"), "p256", "keyCertSign");
    const bytes = idle.makeList();
    expect(faultOf(() => readCrlText(bytes, new X509Certificate(idle.pem), 2e9))).toContain("let its key sign lists");
    const old = openOpensslCa(join(directory, "old"), "rsa");
    expect(faultOf(() => readCrlText(old.makeList({ digest: "sha1" }), new X509Certificate(old.pem), 2e9))).toContain(
      "algorithm",
    );
  });
});
