/** The certificate of a broker elsewhere: one row for every way in which one is not what it must be. */
import { beforeAll, expect, it, test } from "vitest";
import { claimsBroker, readBrokerCertificate } from "../../shared/broker-certificate.ts";
import { readDeviceCertificate } from "../../shared/device-certificate.ts";
import type { Reason } from "../../shared/refusal.ts";
import { makeAuthority, makePrivateKey, uses, type TestAuthority, type Wish } from "../gate/certificates.ts";
import { refusal } from "../registry/fixture.ts";

const now = Date.now() / 1000;
const both = [uses.clientAuth, uses.serverAuth];
const uri = { type: "url", value: "urn:postern:broker:edge" } as const;
const dns = { type: "dns", value: "mq.example" } as const;
const good = { subject: "CN=broker:edge", usages: both, names: [uri, dns] } satisfies Wish;
const id = "acme.pump";
const urn = { type: "url", value: `urn:postern:client:${id}` } as const;

/** Subject and URI for a name. */
function named(name: string): Wish {
  return { subject: `CN=broker:${name}`, names: [{ type: "url", value: `urn:postern:broker:${name}` }] };
}

let authority: TestAuthority;
beforeAll(async () => {
  authority = await makeAuthority();
});

test("says whose it is, and for which hosts", async () => {
  const addresses = [
    { type: "ip", value: "10.0.0.7" },
    { type: "ip", value: "::1" },
  ] as const;
  const { x509 } = await authority.device("", { ...good, names: [uri, dns, ...addresses], serial: "0ABCDEF012" });
  const hosts = ["mq.example", "10.0.0.7", "0:0:0:0:0:0:0:1"];
  expect(claimsBroker(x509)).toBe(true);
  expect(readBrokerCertificate(x509, [authority.x509], now)).toMatchObject({
    name: "edge",
    hosts,
    serial: "0abcdef012",
  });
});

test("needs no host", async () => {
  const { x509 } = await authority.device("", { ...good, names: [uri] });
  expect(readBrokerCertificate(x509, [authority.x509], now).hosts).toEqual([]);
});

it.each<[string, Reason, Wish]>([
  ["has expired", "certificate.expired", { notAfter: new Date(Date.now() - 5000) }],
  ["is not valid yet", "certificate.not-yet-valid", { notBefore: new Date(Date.now() + 600_000) }],
  ["is for servers alone", "certificate.usage", { usages: [uses.serverAuth] }],
  ["is for clients alone", "certificate.usage", { usages: [uses.clientAuth] }],
  ["is an authority's", "certificate.usage", { isAuthority: true }],
  ["has no name", "certificate.identity", named("")],
  ["has a name with a dot", "certificate.identity", named("acme.edge")],
  ["has an organization too", "certificate.identity", { subject: "CN=broker:edge, O=acme" }],
  ["has two common names", "certificate.identity", { subject: "CN=broker:edge, CN=broker:other" }],
  ["is another's by its URI", "certificate.identity", { names: [{ ...uri, value: `${uri.value}2` }, dns] }],
  ["has no alternative name", "certificate.identity", { names: [] }],
  ["has its URI last", "certificate.identity", { names: [dns, uri] }],
  ["has a second URI", "certificate.identity", { names: [uri, { ...uri, value: "urn:postern:broker:other" }] }],
  ["has a client's URI too", "certificate.identity", { names: [uri, urn] }],
  ["has a mail address", "certificate.identity", { names: [uri, { type: "email", value: "a@mq.example" }] }],
  ["has a host with a wildcard", "certificate.identity", { names: [uri, { type: "dns", value: "*.example" }] }],
  ["has a key on another curve", "key.curve", { privateKey: makePrivateKey("P-384") }],
])("refuses one that %s: %s", async (_name, reason, wish) => {
  const { x509 } = await authority.device("", { ...good, ...wish });
  expect(() => readBrokerCertificate(x509, [authority.x509], now)).toThrow(refusal(reason));
});

test("refuses another authority's, of the same name too", async () => {
  const { x509 } = await authority.device("", good);
  for (const name of ["another", "test authority"]) {
    const other = await makeAuthority(name);
    expect(() => readBrokerCertificate(x509, [other.x509], now)).toThrow(refusal("certificate.untrusted"));
  }
});

test("a broker's is no device's, a device's no broker's, and none is both", async () => {
  const rows: Wish[] = [
    good,
    { ...good, names: [uri] },
    { ...good, names: [urn] },
    { subject: `CN=${id}`, usages: both, names: [urn, uri] },
    { subject: `CN=${id}`, usages: both, names: [uri] },
    { subject: `CN=${id}`, usages: both, names: [urn, dns] },
  ];
  for (const wish of rows) {
    const { x509 } = await authority.device(id, wish);
    expect(() => readDeviceCertificate(x509, [authority.x509], now)).toThrow(refusal("certificate.identity"));
  }
  const { x509 } = await authority.device(id, { usages: both });
  expect(readDeviceCertificate(x509, [authority.x509], now).clientId).toBe(id);
  expect(claimsBroker(x509)).toBe(false);
  expect(() => readBrokerCertificate(x509, [authority.x509], now)).toThrow(refusal("certificate.identity"));
});
