/** Lists of authorities elsewhere that are refused, one row for each way to be wrong, and bytes changed at random. */
import { sign } from "node:crypto";
import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { readCrl, readCrlText } from "../../broker/authority/certificates/crl-reader.ts";
import type { RevocationList } from "../../broker/registry/revocation-lists.ts";
import { bitString, commonName, der, integer, sequence } from "./der.ts";
import { makeKey } from "./fixture.ts";
import {
  ecdsaWithSha256,
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

const now = Date.parse("2026-11-22T12:00:00Z") / 1000;
let authority: OpenAuthority;
beforeAll(async () => {
  authority = await makeAuthority();
});

const nothing = Buffer.alloc(0);
const read = (parts: CrlParts = {}): RevocationList => readCrl(makeCrl(authority, parts), authority.certificate, now);
const octets = (hex: string): Buffer => der(0x02, Buffer.from(hex, "hex"));
const oneEntry = (serial: Uint8Array, ...more: readonly Uint8Array[]): CrlParts => ({
  entries: sequence(entry(serial, ...more)),
});
const numbered = (...more: readonly Uint8Array[]): CrlParts => ({
  extensions: extensions(extension(names.number, integer(7)), ...more),
});

describe("a list is refused", () => {
  const reasonOf = (value: number): Buffer => sequence(extension(names.reason, der(0x0a, Uint8Array.of(value))));
  const part = (content: Uint8Array): Buffer => extension(names.distributionPoint, sequence(content), yes);
  const longForm = Buffer.concat([Buffer.from([0x02, 0x81, 0x01]), Buffer.from([0x05])]);

  test.each<[what: string, parts: () => CrlParts, fault: string]>([
    // who signed
    ["of another key", () => ({ signWith: makeKey().privateKey }), "signature is not the authority's"],
    ["without a signature", () => ({ signature: bitString(nothing) }), "signature is not the authority's"],
    ["of half octets", () => ({ signature: der(0x03, Uint8Array.of(4, 0x30)) }), "not made of octets"],
    ["of an empty bit string", () => ({ signature: der(0x03) }), "not made of octets"],
    ["of another name", () => ({ issuer: commonName("Postern CB") }), "issuer is not the authority"],
    ["of a name in another string type", () => ({ issuer: commonName("Postern CA", 0x13) }), "issuer is not"],
    [
      "of an algorithm that is not known",
      () => ({ algorithm: sequence(Buffer.from("06082a8648ce3d040301", "hex")) }),
      "not one that is verified here",
    ],
    [
      "of an algorithm with parameters",
      () => ({ algorithm: sequence(Buffer.from("06082a8648ce3d0403020500", "hex")) }),
      "not one that is verified here",
    ],
    [
      "of the algorithm of another key",
      () => ({ algorithm: sequence(Buffer.from("06092a864886f70d01010b0500", "hex")) }),
      "not one of the authority's key",
    ],
    [
      "of two algorithms",
      () => ({ innerAlgorithm: sequence(Buffer.from("06082a8648ce3d040303", "hex")) }),
      "two signature algorithms",
    ],
    // what it is
    ["of version 3", () => ({ version: integer(2) }), "neither 1 nor 2"],
    ["of version 1 in numbers", () => ({ version: integer(0) }), "neither 1 nor 2"],
    ["of version 1 with extensions", () => ({ version: nothing }), "extensions in version 1"],
    [
      "of version 1 with extensions of an entry",
      () => ({ version: nothing, extensions: nothing, ...oneEntry(integer(1), reasonOf(1)) }),
      "extensions in version 1",
    ],
    ["that is a delta", () => numbered(extension(names.delta, integer(1), yes)), "delta"],
    ["that is a delta and says so quietly", () => numbered(extension(names.delta, integer(1))), "delta"],
    ["that is indirect", () => numbered(part(der(0x84, Uint8Array.of(0xff)))), "a part of the certificates"],
    ["for some reasons", () => numbered(part(der(0x83, Buffer.from("0640", "hex")))), "a part of the certificates"],
    ["for authorities alone", () => numbered(part(der(0x82, Uint8Array.of(0xff)))), "a part of the certificates"],
    ["for one distribution point", () => numbered(part(der(0xa0, der(0xa0)))), "a part of the certificates"],
    [
      "with an entry of another authority",
      () => oneEntry(integer(1), sequence(extension(names.certificateIssuer, sequence(), yes))),
      "indirect",
    ],
    ["with an entry that takes back", () => oneEntry(integer(1), reasonOf(8)), "takes another one back"],
    ["with a reason that there is not", () => oneEntry(integer(1), reasonOf(7)), "a reason that there is not"],
    // extensions
    ["with a critical extension", () => numbered(extension(names.unknown, nothing, yes)), "critical extension"],
    [
      "with a critical extension of an entry",
      () => oneEntry(integer(1), sequence(extension(names.unknown, nothing, yes))),
      "critical extension",
    ],
    ["with an extension twice", () => numbered(extension(names.number, integer(8))), "twice"],
    ["with no extensions in a place for them", () => ({ extensions: extensions() }), "extensions that are none"],
    [
      "with a default written out",
      () => numbered(extension(names.unknown, nothing, der(0x01, Uint8Array.of(0)))),
      "a boolean",
    ],
    [
      "with two numbers in one",
      () => ({ extensions: extensions(extension(names.number, Buffer.from("020101020102", "hex"))) }),
      "where nothing may",
    ],
    ["with a number below 0", () => ({ extensions: extensions(extension(names.number, octets("80"))) }), "negative"],
    [
      "with a number too long",
      () => ({ extensions: extensions(extension(names.number, octets("7f".repeat(21)))) }),
      "too many octets",
    ],
    [
      "with a number of no octets",
      () => ({ extensions: extensions(extension(names.number, der(0x02))) }),
      "too many octets",
    ],
    [
      "with a number of idle zeros",
      () => ({ extensions: extensions(extension(names.number, octets("0007"))) }),
      "shortest",
    ],
    // serials
    ["with a serial below 0", () => oneEntry(octets("ff")), "negative"],
    ["with a serial of no octets", () => oneEntry(der(0x02)), "too many octets"],
    ["with a serial of 22 octets", () => oneEntry(octets("7f".repeat(22))), "too many octets"],
    ["with a serial of idle zeros", () => oneEntry(octets("0001")), "shortest"],
    // times
    ["of the future", () => ({ thisUpdate: utcTime("261122120501Z") }), "of the future"],
    ["without the time of the next", () => ({ nextUpdate: nothing }), "when the next one comes"],
    ["whose next comes with it", () => ({ nextUpdate: utcTime("261120000000Z") }), "comes before it"],
    ["of a day that there is not", () => ({ thisUpdate: utcTime("260229000000Z") }), "a time that there is not"],
    ["of an hour that there is not", () => ({ thisUpdate: utcTime("260228240000Z") }), "a time that there is not"],
    ["of month 0", () => ({ thisUpdate: utcTime("260001000000Z") }), "a time that there is not"],
    ["without seconds", () => ({ thisUpdate: utcTime("2611200000Z") }), "to the second"],
    ["of local time", () => ({ thisUpdate: utcTime("261120000000+") }), "to the second"],
    ["of no digits", () => ({ thisUpdate: utcTime("26112000000:Z") }), "not made of digits"],
    ["of 2026 in the long form", () => ({ thisUpdate: generalizedTime("20261120000000Z") }), "is not a UTCTime"],
    ["of parts of seconds", () => ({ nextUpdate: generalizedTime("20500101000000.5Z") }), "to the second"],
    // its form
    ["with something after it", () => ({ after: Buffer.from("00", "hex") }), "follows the list"],
    ["with something at its end", () => ({ more: integer(1) }), "where nothing may"],
    ["with no entries in a place for them", () => ({ entries: sequence() }), "is left out"],
    ["with more in an entry", () => oneEntry(integer(1), reasonOf(1), integer(1)), "where nothing may"],
    ["with an entry without a time", () => ({ entries: sequence(sequence(integer(1))) }), "missing"],
    ["with a length in the long form", () => oneEntry(longForm), "not the shortest"],
    ["with an indefinite length", () => oneEntry(Buffer.from("0280050000", "hex")), "indefinite"],
    ["with an entry beyond its list", () => ({ entries: der(0x30, Buffer.from("307f0201", "hex")) }), "truncated"],
    ["with entries that are none", () => ({ entries: sequence(integer(1)) }), "tag 2 where 30 must be"],
  ])("%s", (_, parts, fault) => {
    expect(faultOf(() => read(parts()))).toContain(fault);
  });

  test("that ends too early, wherever it ends", () => {
    const bytes = makeCrl(authority);
    for (let length = 0; length < bytes.length; length++) {
      const fault = faultOf(() => readCrl(bytes.subarray(0, length), authority.certificate, now));
      expect([length, fault]).toEqual([length, expect.stringMatching(/^crl: (truncated|an element is missing)/)]);
    }
  });

  test("that is longer than it may be", () => {
    const bytes = new Uint8Array(64 * 1024 * 1024 + 1);
    expect(faultOf(() => readCrl(bytes, authority.certificate, now))).toContain("longer than");
  });

  test.each([
    ["nothing", ""],
    ["no base64", "MII*"],
    ["base64 that is not the one spelling", "MIIB"],
    ["base64url", "MII_"],
    ["PEM of something else", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"],
    ["PEM that is cut", "-----BEGIN X509 CRL-----\nMIIB\n"],
    ["two in one", "-----BEGIN X509 CRL-----\nMA==\n-----END X509 CRL-----\n".repeat(2)],
  ])("whose text is %s", (_, text) => {
    expect(faultOf(() => readCrlText(text, authority.certificate, now))).toMatch(/^crl: /);
  });

  test("with any byte changed", () => {
    const bytes = makeCrl(authority, { entries: sequence(entry(integer(1)), entry(octets("00f1"), reasonOf(1))) });
    const change = fc.tuple(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }));
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), (changes) => {
        const changed = Buffer.from(bytes);
        for (const [at, by] of changes) changed[at]! ^= by;
        fc.pre(!changed.equals(bytes));
        expect(faultOf(() => readCrl(changed, authority.certificate, now))).toMatch(/^crl: /);
      }),
      { numRuns: 5_000 },
    );
  });

  test("with any byte changed before it was signed, or it is a list", () => {
    const parts = { entries: sequence(entry(integer(1)), entry(octets("00f1"), reasonOf(1))) };
    const whole = makeCrl(authority, parts);
    // of SEQUENCE { tbsCertList, … }: what is signed stands behind four octets of header, or three
    const start = whole[1]! < 0x80 ? 2 : 2 + (whole[1]! & 0x7f);
    const size = whole[start + 1] === 0x81 ? 3 + whole[start + 2]! : 4 + whole.readUInt16BE(start + 2);
    const signed = whole.subarray(start, start + size);
    fc.assert(
      fc.property(fc.nat(size - 1), fc.integer({ min: 1, max: 255 }), (at, by) => {
        const changed = Buffer.from(signed);
        changed[at]! ^= by;
        const signature = bitString(sign("sha256", changed, authority.privateKey));
        const resigned = sequence(changed, ecdsaWithSha256, signature);
        const fault = faultOf(() => readCrl(resigned, authority.certificate, now));
        expect(fault).toMatch(/^(crl: |accepted$)/);
      }),
      { numRuns: 3_000 },
    );
  });
});
