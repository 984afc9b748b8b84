/** The list of our own authority: what is on it, when it is made anew, and what OpenSSL says of it. */
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { readAuthorityName } from "../../broker/authority/certificates/authority-name.ts";
import { encodeCrlEntries, issueCrl } from "../../broker/authority/certificates/crl.ts";
import { readCrl } from "../../broker/authority/certificates/crl-reader.ts";
import { derInteger, derTime } from "../../broker/authority/certificates/der.ts";
import { openCrl } from "../../broker/authority/certificates/published-crl.ts";
import { revokeCertificate } from "../../broker/registry/certificates.ts";
import { deleteClient, setClientEnabled } from "../../broker/registry/clients.ts";
import { crlEntries, type CrlEntry } from "../../broker/registry/crl-entries.ts";
import { createProject } from "../../broker/registry/projects.ts";
import type { RevocationList } from "../../broker/registry/revocation-lists.ts";
import { normaliseSerial } from "../../shared/device-certificate.ts";
import { testWith } from "../peers.ts";
import { der, readElements } from "./der.ts";
import { makeAuthority } from "./crl-maker.ts";
import { furnish, makeDevice, openFixture, type Answer, type Device, type Fixture } from "./fixture.ts";

const day = 86_400;

describe("DER", () => {
  test.each([
    ["0", "020100"],
    ["7f", "02017f"],
    ["80", "02020080"],
    ["0000ff", "020200ff"],
    ["123", "02020123"],
    ["00", "020100"],
  ])("writes the number %s in the shortest way", (hex, bytes) => {
    expect(Buffer.from(derInteger(hex)).toString("hex")).toBe(bytes);
  });

  test.each([
    ["1950-01-01T00:00:00Z", 0x17, "500101000000Z"],
    ["1999-12-31T23:59:59Z", 0x17, "991231235959Z"],
    ["2049-12-31T23:59:59Z", 0x17, "491231235959Z"],
    ["2050-01-01T00:00:00Z", 0x18, "20500101000000Z"],
    ["1949-12-31T23:59:59Z", 0x18, "19491231235959Z"],
  ])("writes the time %s in the type that RFC 5280 wants", (time, tag, text) => {
    expect(Buffer.from(derTime(Date.parse(time) / 1000))).toEqual(der(tag, Buffer.from(text)));
  });
});

describe("GET /crl", () => {
  let at: Fixture;
  let pi: Device;
  beforeEach(async () => {
    at = await openFixture();
    furnish(at.registry);
    pi = await makeDevice(at, "plant.pi");
  });
  afterEach(() => at.close());

  const read = (answer: Answer): RevocationList => readCrl(answer.body, at.ca.caCertificate, at.clock.now);
  const get = async (): Promise<RevocationList> => read(await at.call("/crl"));
  const serials = (...devices: readonly Device[]): Set<string> =>
    new Set(devices.map(({ serial }) => normaliseSerial(serial)));

  /** The entries as they are encoded, in hex. */
  const encodedEntries = async (): Promise<string> => {
    const [list] = readElements((await at.call("/crl")).body);
    const [signed] = readElements(list!.content);
    return readElements(signed!.content)[5]!.bytes.toString("hex");
  };
  const timeHex = (seconds: number): string => Buffer.from(derTime(seconds)).toString("hex");
  const reasonHex = (reason: number): string => `300c300a0603551d1504030a010${String(reason)}`;

  test("gives an empty list, which says so by having none", async () => {
    const answer = await at.call("/crl");
    expect(answer).toMatchObject({ status: 200, headers: { "content-type": "application/pkix-crl" } });
    expect(answer.headers["cache-control"]).toBe("public, max-age=60");
    const list = read(answer);
    expect(list).toMatchObject({ thisUpdate: at.clock.now, nextUpdate: at.clock.now + day, serials: new Set() });
    const { subject, keyIdentifier } = readAuthorityName(at.ca.caDer);
    expect(answer.body.includes(Buffer.from(subject))).toBe(true);
    expect(answer.body.includes(der(0x80, keyIdentifier!))).toBe(true);
  });

  test("lists what was revoked, at once", async () => {
    const other = await makeDevice(at, "plant.pi");
    expect((await get()).serials).toEqual(new Set());
    at.clock.now += 7;
    at.registry.changeDurably(() => revokeCertificate(at.registry, pi.serial));
    expect((await get()).serials).toEqual(serials(pi));
    expect(await encodedEntries()).toContain(`${pi.serial}${timeHex(at.clock.now)}`);
    expect(await encodedEntries()).not.toContain("0603551d15");
    expect(await encodedEntries()).not.toContain(other.serial);
  });

  test("has the certificates of a disabled client on hold, and releases them", async () => {
    at.clock.now += 7;
    setClientEnabled(at.registry, "plant.pi", false);
    const since = at.clock.now;
    at.clock.now += 7;
    expect(await encodedEntries()).toContain(`${pi.serial}${timeHex(since)}${reasonHex(6)}`);
    setClientEnabled(at.registry, "plant.pi", true);
    expect((await get()).serials).toEqual(new Set());
  });

  test("has those of a deleted client out of operation", async () => {
    setClientEnabled(at.registry, "plant.pi", false);
    at.clock.now += 7;
    deleteClient(at.registry, "plant.pi");
    expect(await encodedEntries()).toContain(`${pi.serial}${timeHex(at.clock.now)}${reasonHex(5)}`);
  });

  test("names a certificate once that was revoked and whose client is gone", async () => {
    at.registry.changeDurably(() => revokeCertificate(at.registry, pi.serial));
    deleteClient(at.registry, "plant.pi");
    const entries = await encodedEntries();
    expect(entries.split(pi.serial)).toHaveLength(2);
    expect(entries).not.toContain("0603551d15");
  });

  test("names a certificate once that is revoked while the list is read", () => {
    setClientEnabled(at.registry, "plant.pi", false);
    const slices = crlEntries(at.registry, at.clock.now);
    const found = [...(slices.next().value as CrlEntry[])];
    at.registry.changeDurably(() => revokeCertificate(at.registry, pi.serial));
    for (const slice of slices) found.push(...slice);
    expect(found.map(({ serial }) => serial)).toEqual([...serials(pi)]);
  });

  test("keeps an entry until a list has shown it after the certificate's end", async () => {
    at.registry.changeDurably(() => revokeCertificate(at.registry, pi.serial));
    at.clock.now += 90 * day + day / 2;
    expect((await get()).serials).toEqual(serials(pi));
    at.clock.now += day;
    expect((await get()).serials).toEqual(new Set());
  });

  test("gives the same list until something on it changes or a quarter of its time is over", async () => {
    const first = await at.call("/crl");
    at.clock.now += day / 4 - 1;
    createProject(at.registry, "other");
    const again = await at.call("/crl");
    expect(again.headers["etag"]).toBe(first.headers["etag"]);
    expect(again.body).toEqual(first.body);
    at.clock.now += 1;
    const later = await at.call("/crl");
    expect(later.headers["etag"]).not.toBe(first.headers["etag"]);
    expect(read(later).thisUpdate).toBe(at.clock.now);
    const { number } = read(later);
    expect(number! > read(first).number!).toBe(true);
    // a clock that was set back: what is of the future is refused by whoever reads it
    at.clock.now -= day;
    const back = await get();
    expect(back.thisUpdate).toBe(at.clock.now);
    expect(back.number! > number!).toBe(true);
  });

  test("numbers its lists upwards, also in the next life and after a restore", async () => {
    const { number } = await get();
    at.registry.changeDurably(() => revokeCertificate(at.registry, pi.serial));
    expect((await get()).number).toBe(number! + 1n);
    const next = openCrl(at.registry, at.ca);
    expect(readCrl((await next.read()).der, at.ca.caCertificate, at.clock.now).number).toBe(number! + 2n);
    next.close();
    // a backup of an hour ago
    at.registry.db.exec("UPDATE crl SET number = number - 60");
    at.clock.now += 60;
    setClientEnabled(at.registry, "plant.pi", false);
    await makeDevice(at, "plant.pi");
    expect((await get()).number! > number! + 2n).toBe(true);
  });

  test("answers 304 to who has it, HEAD without a body, and 405 to other methods", async () => {
    const { headers, body } = await at.call("/crl");
    const known = await at.call("/crl", { headers: { "if-none-match": String(headers["etag"]) } });
    expect([known.status, known.body.length]).toEqual([304, 0]);
    const head = await at.call("/crl", { method: "HEAD" });
    expect([head.status, head.body.length, head.headers["content-length"]]).toEqual([200, 0, String(body.length)]);
    const posted = await at.call("/crl", { method: "POST" });
    expect([posted.status, posted.headers["allow"]]).toEqual([405, "GET, HEAD"]);
  });

  test("shares the making of a list, and never gives one that began before what was asked for", async () => {
    const crl = openCrl(at.registry, at.ca);
    const [one, two] = await Promise.all([crl.read(), crl.read()]);
    expect(two).toBe(one);
    at.registry.changeDurably(() => revokeCertificate(at.registry, pi.serial));
    const other = await makeDevice(at, "plant.pi");
    const early = crl.read();
    // until it has read who is disabled
    await setImmediate();
    await setImmediate();
    setClientEnabled(at.registry, "plant.pi", false);
    const late = await crl.read();
    expect(late).not.toBe(await early);
    expect(readCrl(late.der, at.ca.caCertificate, at.clock.now).serials).toEqual(serials(pi, other));
    crl.close();
  });

  test("is made again after it could not be", async () => {
    expect((await get()).serials).toEqual(new Set());
    at.registry.changeDurably(() => revokeCertificate(at.registry, pi.serial));
    at.registry.db.exec("ALTER TABLE crl RENAME TO elsewhere");
    expect((await at.call("/crl")).status).toBe(500);
    at.registry.db.exec("ALTER TABLE elsewhere RENAME TO crl");
    expect((await get()).serials).toEqual(serials(pi));
  });

  test("is whole where it is read in slices", async () => {
    const add = at.registry.db.prepare(
      `INSERT INTO certificate (serial, client, key_spki, key_thumbprint, not_before, not_after, der, issued_at, revoked_at)
       VALUES (?, ?, x'00', 'key', 0, ?, x'00', 0, ?)`,
    );
    const client = at.registry.db.prepare(
      `INSERT INTO client (project, name, kind, enabled, created_at, disabled_at) VALUES ('plant', ?, 'device', 0, 0, 0)`,
    );
    at.registry.change(() => {
      for (let index = 0; index < 4_500; index++) {
        client.run(`d${String(index)}`);
        add.run((0x5000_0000 + index).toString(16), `plant.d${String(index)}`, at.clock.now, null);
        add.run((0x6000_0000 + index).toString(16), "plant.pi", at.clock.now, at.clock.now);
      }
    });
    expect((await get()).serials.size).toBe(9_000);
  });
});

describe("OpenSSL", () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "postern-crl-"));
  });
  afterEach(() => rmSync(directory, { recursive: true }));
  const openssl = (...args: readonly string[]): string =>
    execFileSync("openssl", args, { cwd: directory, encoding: "utf8", stdio: "pipe", maxBuffer: 64 * 1024 * 1024 });

  for (const count of [0, 1, 3, 20_000]) {
    testWith(["openssl"], `verifies a list of ${String(count)} and reads all of it`, async () => {
      const { ca } = await makeAuthority();
      const now = Math.floor(Date.now() / 1000);
      const reasons = [undefined, "certificateHold", "cessationOfOperation"] as const;
      const listed = Array.from({ length: count }, (_, at): CrlEntry => ({
        serial: randomBytes(16).toString("hex"),
        revokedAt: now - at,
        reason: reasons[at % 3],
      }));
      const content = { number: 300, thisUpdate: now - 60, nextUpdate: now + day, entries: encodeCrlEntries(listed) };
      writeFileSync(join(directory, "list.crl"), await issueCrl(ca, content));
      writeFileSync(join(directory, "ca.pem"), ca.caPem);
      const given = ["crl", "-inform", "DER", "-in", "list.crl", "-verify", "-CAfile", "ca.pem", "-text"];
      const text = openssl(...given);
      expect(text).toContain("Version 2");
      expect(text).toMatch(/CRL Number:\s+300\n/);
      expect(text).toContain("Authority Key Identifier");
      const found = [...text.matchAll(/Serial Number: ([0-9A-F]+)/g)].map(([, serial]) => normaliseSerial(serial!));
      expect(found).toEqual(listed.map(({ serial }) => normaliseSerial(serial)));
      expect(text.match(/Certificate Hold/g)?.length ?? 0).toBe(Math.floor((count + 1) / 3));
    });
  }

  testWith(["openssl"], "refuses what is on the list and nothing else", async () => {
    const at = await openFixture();
    try {
      // OpenSSL has its own clock
      at.clock.now -= 60;
      furnish(at.registry);
      const [good, bad] = [await makeDevice(at, "plant.pi"), await makeDevice(at, "plant.pi")];
      at.registry.changeDurably(() => revokeCertificate(at.registry, bad.serial));
      writeFileSync(join(directory, "ca.pem"), at.ca.caPem);
      writeFileSync(join(directory, "list.crl"), (await at.call("/crl")).body);
      openssl("crl", "-inform", "DER", "-in", "list.crl", "-out", "list.pem");
      const verify = (device: Device): string => {
        writeFileSync(join(directory, "device.pem"), device.cert);
        const trust = ["-x509_strict", "-crl_check", "-CAfile", "ca.pem", "-CRLfile", "list.pem"];
        return openssl("verify", ...trust, "device.pem");
      };
      expect(verify(good)).toContain("OK");
      expect(() => verify(bad)).toThrow("certificate revoked");
    } finally {
      await at.close();
    }
  });
});
