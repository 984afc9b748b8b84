/** The certificate authority: what is in its certificates, and what it keeps on disk. */
import { X509Certificate } from "node:crypto";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openCertificateAuthority, serverNames } from "../../broker/authority/certificates/certificates.ts";
import { toPem } from "../../broker/authority/certificates/x509.ts";
import { readDeviceCertificate } from "../../shared/device-certificate.ts";
import { Refusal } from "../../shared/refusal.ts";
import { testWith } from "../peers.ts";
import { der } from "./der.ts";
import { makeKey } from "./fixture.ts";

const start = Date.parse("2026-11-22T12:00:00Z") / 1000;
const day = 86_400;
let directory: string;
let now: number;
const open = () => openCertificateAuthority(directory, () => now);

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "postern-ca-"));
  now = start;
});
afterEach(() => {
  rmSync(directory, { recursive: true });
});

const mode = (file: string): string => (statSync(join(directory, file)).mode & 0o777).toString(8);
const read = (file: string): string => readFileSync(join(directory, file), "utf8");

describe("the authority", () => {
  test("is made once and kept, with its key for the owner alone", async () => {
    const first = await open();
    const again = await open();
    expect(again.caPem).toBe(first.caPem);
    expect(again.pin).toBe(first.pin);
    expect(first.pin).toMatch(/^[0-9a-f]{64}$/);
    expect(mode("ca.key")).toBe("600");
    expect(first.caPem).toBe(read("ca.pem"));
    // what OpenSSL writes: the label, lines of 64, a line break at the end
    expect(first.caPem).toBe(first.caCertificate.toString());
  });

  test("is a P-256 authority for ten years that signs nothing but end entities", async () => {
    const { caCertificate } = await open();
    expect(caCertificate.ca).toBe(true);
    expect(caCertificate.subject).toBe("CN=Postern CA");
    expect(caCertificate.verify(caCertificate.publicKey)).toBe(true);
    expect(Date.parse(caCertificate.validTo) / 1000).toBe(start + 3650 * day);
    expect(caCertificate.publicKey.asymmetricKeyDetails?.namedCurve).toBe("prime256v1");
  });

  test("does not start with a key that is not its own", async () => {
    await open();
    const pem = makeKey().privateKey.export({ type: "pkcs8", format: "pem" }).toString();
    writeFileSync(join(directory, "ca.key"), pem);
    await expect(open()).rejects.toThrow("do not belong together");
  });
});

describe("a device certificate", () => {
  test("says who the device is and nothing else", async () => {
    const ca = await open();
    const { key } = makeKey();
    const made = await ca.issueDevice(key, "plant.pi_1", 90);
    const certificate = new X509Certificate(made.der);
    expect(certificate.subject).toBe("CN=plant.pi_1");
    expect(certificate.subjectAltName).toBe("URI:urn:postern:client:plant.pi_1");
    expect(certificate.keyUsage).toEqual(["1.3.6.1.5.5.7.3.2"]);
    expect(certificate.ca).toBe(false);
    expect(certificate.checkIssued(ca.caCertificate)).toBe(true);
    expect(certificate.serialNumber.toLowerCase()).toBe(made.serial);
    expect(made.serial).toMatch(/^[4-7][0-9a-f]{31}$/);
    expect([made.notBefore, made.notAfter]).toEqual([start - 300, start + 90 * day]);
    const device = readDeviceCertificate(certificate, [ca.caCertificate], start - 299);
    expect(device).toMatchObject({ clientId: "plant.pi_1", serial: made.serial, notAfter: made.notAfter });
    expect(device.key.thumbprint).toBe(key.thumbprint);
  });

  test("never shares a serial", async () => {
    const ca = await open();
    const { key } = makeKey();
    const made = await Promise.all(Array.from({ length: 50 }, () => ca.issueDevice(key, "plant.pi", 1)));
    expect(new Set(made.map(({ serial }) => serial)).size).toBe(50);
  });

  test.each(["", "plant", "plant.", "plant.a,O=b", "plant.a\nb", "Plant.a"])("is not made for %j", async (id) => {
    const ca = await open();
    await expect(ca.issueDevice(makeKey().key, id, 1)).rejects.toThrow(new Refusal("client-id.malformed").reason);
  });

  test.each([
    ["2049-12-31T23:59:59Z", 0x17, "491231235959Z"],
    ["2050-01-01T00:00:00Z", 0x18, "20500101000000Z"],
  ])("that ends at %s says so in the type of time that RFC 5280 wants", async (end, tag, expected) => {
    now = Date.parse(end) / 1000 - day;
    const made = await (await open()).issueDevice(makeKey().key, "plant.pi", 1);
    expect(made.notAfter).toBe(now + day);
    expect(Buffer.from(made.der).includes(der(tag, Buffer.from(expected)))).toBe(true);
  });
});

describe("the server certificate", () => {
  test("names this host and what the operator adds, and no wildcard address", async () => {
    const ca = await open();
    const asked = ["gw.example", "192.0.2.7", "2001:db8::1:0:7", "::ffff:192.0.2.8", "0.0.0.0", "::"];
    const { cert, key } = await ca.issueServer(asked);
    const certificate = new X509Certificate(cert);
    for (const name of ["localhost", "gw.example"]) expect(certificate.checkHost(name)).toBe(name);
    for (const ip of ["127.0.0.1", "::1", ...asked.slice(1, 4)]) expect(certificate.checkIP(ip)).toBe(ip);
    for (const ip of ["0.0.0.0", "2001:db8::1:0:8"]) expect(certificate.checkIP(ip)).toBeUndefined();
    expect(certificate.keyUsage).toEqual(["1.3.6.1.5.5.7.3.1"]);
    expect(key).toContain("PRIVATE KEY");
    expect(mode("server.key")).toBe("600");
    expect(serverNames(["bad host", "a..b", "*"])).toEqual(serverNames([]));
    expect(serverNames([])).toContain(hostname());
  });

  test("is kept while it will do, and made anew when it will not, for the same key", async () => {
    const issue = async (...hosts: string[]) => (await open()).issueServer(hosts);
    const first = await issue("gw.example");
    now += 366 * day;
    expect(await issue("gw.example")).toEqual(first);
    now += 2 * day;
    const renewed = await issue("gw.example");
    expect(renewed.cert).not.toBe(first.cert);
    expect(renewed.key).toBe(first.key);
    const wider = await issue("gw.example", "gw2.example");
    expect(wider.cert).not.toBe(renewed.cert);
    expect(await issue("gw2.example")).toEqual(wider);
    writeFileSync(join(directory, "server.pem"), "not a certificate");
    expect(new X509Certificate((await issue()).cert).checkHost("localhost")).toBe("localhost");
  });
});

testWith(["openssl"], "openssl finds nothing wrong with them", async () => {
  now = Math.floor(Date.now() / 1000);
  const ca = await open();
  const device = join(directory, "device.pem");
  writeFileSync(device, toPem("CERTIFICATE", (await ca.issueDevice(makeKey().key, "plant.pi", 90)).der));
  await ca.issueServer(["2001:db8::7"]);
  const verify = (purpose: string, file: string): string =>
    execFileSync(
      "openssl",
      ["verify", "-x509_strict", "-check_ss_sig", "-purpose", purpose, "-CAfile", "ca.pem", file],
      { cwd: directory, encoding: "utf8", stdio: "pipe" },
    );
  expect(verify("sslclient", "device.pem")).toContain("OK");
  expect(verify("sslserver", "server.pem")).toContain("OK");
  expect(() => verify("sslserver", "device.pem")).toThrow("Command failed");
  const text = (file: string): string =>
    execFileSync("openssl", ["x509", "-noout", "-text", "-in", file], {
      cwd: directory,
      encoding: "utf8",
      stdio: "pipe",
    });
  expect(text("ca.pem")).toContain("CA:TRUE, pathlen:0");
  expect(text("ca.pem")).toContain("Certificate Sign, CRL Sign");
  expect(text("device.pem")).toMatch(/X509v3 Key Usage: critical\s+Digital Signature\n/);
  expect(text("server.pem")).toContain("IP Address:2001:DB8:0:0:0:0:0:7");
});
