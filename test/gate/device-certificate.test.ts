/** The device certificate: one row for every way in which one is not what it must be. */
// oxlint-disable-next-line import/no-unassigned-import
import "reflect-metadata";
import { beforeAll, expect, it } from "vitest";
import { SubjectAlternativeNameExtension } from "@peculiar/x509";
import { readPublicKey } from "../../shared/cose-key.ts";
import { readDeviceCertificate } from "../../shared/device-certificate.ts";
import { makeAuthority, makePrivateKey, uses } from "./certificates.ts";
import type { TestAuthority, Wish } from "./certificates.ts";

const id = "acme.pump-7";
const urn = `urn:postern:client:${id}`;
const now = Date.now() / 1000;
let authority: TestAuthority;
beforeAll(async () => {
  authority = await makeAuthority();
});

it("says whose it is", async () => {
  const privateKey = makePrivateKey();
  const other = await makeAuthority();
  const { x509 } = await authority.device(id, { privateKey, serial: "0ABCDEF012" });
  const device = readDeviceCertificate(x509, [other.x509, authority.x509], now);
  expect(device).toMatchObject({ clientId: id, serial: "0abcdef012" });
  expect(device.key.thumbprint).toBe(readPublicKey(privateKey).thumbprint);
  expect(Buffer.from(device.sha256).toString("hex")).toBe(x509.fingerprint256.replaceAll(":", "").toLowerCase());
  expect([device.notBefore, device.notAfter]).toEqual([
    Date.parse(x509.validFrom) / 1000,
    Date.parse(x509.validTo) / 1000,
  ]);
});

const second = 1000;
const rows: [string, string, Wish][] = [
  ["has expired", "certificate.expired", { notAfter: new Date(Date.now() - 5 * second) }],
  ["is not valid yet", "certificate.not-yet-valid", { notBefore: new Date(Date.now() + 600 * second) }],
  ["is for servers", "certificate.usage", { usages: [uses.serverAuth] }],
  ["is for any use", "certificate.usage", { usages: ["2.5.29.37.0"] }],
  ["says no use", "certificate.usage", { usages: [] }],
  ["is an authority's", "certificate.usage", { isAuthority: true }],
  ["has no common name", "certificate.identity", { subject: "O=acme" }],
  ["has an organization too", "certificate.identity", { subject: `CN=${id}, O=acme` }],
  ["has two common names", "certificate.identity", { subject: `CN=${id}, CN=acme.other` }],
  ["has two common names in one", "certificate.identity", { subject: `CN=${id}+CN=acme.other` }],
  ["has a line break in its name", "certificate.identity", { subject: `CN=${id}\\0AO=acme` }],
  ["has an equals sign in its name", "certificate.identity", { subject: `CN=CN\\=${id}` }],
  ["has a name that is no client id", "certificate.identity", { subject: "CN=pump" }],
  ["has no alternative name", "certificate.identity", { names: [] }],
  ["is another's by its alternative name", "certificate.identity", { names: [{ type: "url", value: `${urn}8` }] }],
  ["has a DNS name for it", "certificate.identity", { names: [{ type: "dns", value: urn }] }],
  [
    "has a second alternative name",
    "certificate.identity",
    {
      names: [
        { type: "url", value: urn },
        { type: "dns", value: "x" },
      ],
    },
  ],
  [
    "has a second URI",
    "certificate.identity",
    {
      names: [
        { type: "url", value: urn },
        { type: "url", value: `${urn}8` },
      ],
    },
  ],
  ["has a comma in its URI", "certificate.identity", { names: [{ type: "url", value: `${urn}, URI:x` }] }],
  [
    "has a second such extension",
    "certificate.untrusted",
    { moreExtensions: [new SubjectAlternativeNameExtension([{ type: "url", value: `${urn}8` }])] },
  ],
  ["has a key on another curve", "key.curve", { privateKey: makePrivateKey("P-384") }],
];
it.each(rows)("refuses one that %s: %s", async (_name, reason, wish) => {
  const { x509 } = await authority.device(id, wish);
  expect(() => readDeviceCertificate(x509, [authority.x509], now)).toThrow(reason);
});

it("refuses one of nobody, of another authority, and of another by the same name", async () => {
  const { x509 } = await authority.device(id);
  const others = [[], [(await makeAuthority("other")).x509], [(await makeAuthority()).x509]];
  for (const authorities of others) {
    expect(() => readDeviceCertificate(x509, authorities, now)).toThrow("certificate.untrusted");
  }
});

it("refuses one that a device issued", async () => {
  const device = await authority.device(id);
  expect(() => readDeviceCertificate(device.x509, [device.x509], now)).toThrow("certificate.untrusted");
});
