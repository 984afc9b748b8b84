/** Renewal of the device certificate, against a real authority whose clock the test sets. */
import { X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openServerClock } from "../../agent/clock.ts";
import type { AgentFailure } from "../../agent/failure.ts";
import { isRenewalDue, renewCertificate } from "../../agent/renew.ts";
import { writeCertificate, type AgentIdentity } from "../../agent/state.ts";
import { openTokenSource } from "../../agent/tokens.ts";
import { setClientEnabled } from "../../broker/registry/clients.ts";
import { listCertificates } from "../../broker/registry/certificates.ts";
import { furnish, ISSUER, makeDevice, openFixture } from "../authority/fixture.ts";

const day = 86_400;
let at: Awaited<ReturnType<typeof openFixture>>;
let dir: string;

beforeAll(async () => {
  at = await openFixture();
  furnish(at.registry);
  dir = mkdtempSync(join(tmpdir(), "postern-renew-"));
});
afterAll(async () => {
  rmSync(dir, { recursive: true });
  await at.close();
});

/** An agent whose certificate was issued so many days ago. */
async function enrolled(daysAgo: number): Promise<AgentIdentity> {
  at.clock.now -= daysAgo * day;
  const device = await makeDevice(at, "plant.pi");
  at.clock.now += daysAgo * day;
  writeCertificate(dir, device.cert);
  const brokers = { mqtts: null, wss: null };
  const authority = `https://127.0.0.1:${at.authority.port}`;
  return {
    enrolment: { authority, clientId: "plant.pi", issuer: ISSUER, apis: [], brokers },
    keyPem: device.privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    certificatePem: device.cert,
    caPem: at.ca.caPem,
  };
}

const onDisk = (): string => readFileSync(join(dir, "certificate.pem"), "utf8");
const serialOf = (pem: string): string => new X509Certificate(pem).serialNumber;

it("is due when two thirds of the certificate's life are over", async () => {
  const { certificatePem } = await enrolled(0);
  expect(isRenewalDue(certificatePem, at.clock.now + 59 * day)).toBe(false);
  expect(isRenewalDue(certificatePem, at.clock.now + 61 * day)).toBe(true);
});

describe("fetching a token", () => {
  it("renews a certificate that is due, for the same key, and goes on with the new one", async () => {
    const identity = await enrolled(70);
    const tokens = openTokenSource(dir, identity, openServerClock(), { audience: "plant.tele" });
    const before = serialOf(onDisk());
    await tokens.renew();
    const renewed = new X509Certificate(onDisk());
    expect(renewed.serialNumber).not.toBe(before);
    expect(renewed.subject).toBe("CN=plant.pi");
    expect(renewed.publicKey.equals(new X509Certificate(identity.certificatePem).publicKey)).toBe(true);
    expect(Date.parse(renewed.validTo)).toBeGreaterThan((at.clock.now + 89 * day) * 1000);
    const count = listCertificates(at.registry).length;
    await tokens.renew();
    expect([serialOf(onDisk()), listCertificates(at.registry).length]).toEqual([renewed.serialNumber, count]);
  });

  it("goes on with the old one when renewal does not work, and says so", async () => {
    const identity = await enrolled(70);
    const stranger = { ...identity, enrolment: { ...identity.enrolment, clientId: "plant.other" } };
    await expect(renewCertificate(dir, stranger, openServerClock())).rejects.toMatchObject({ kind: "refused" });
    const heard: AgentFailure[] = [];
    const wish = { audience: "plant.tele" };
    const tokens = openTokenSource(dir, stranger, openServerClock(), wish, (failure) => heard.push(failure));
    await expect(tokens.renew()).resolves.toMatchObject({ fromCache: false });
    expect(heard).toMatchObject([{ kind: "refused", message: expect.stringContaining("not renewed") }]);
    expect(serialOf(onDisk())).toBe(serialOf(identity.certificatePem));
  });

  it("of a disabled client renews nothing", async () => {
    const identity = await enrolled(70);
    setClientEnabled(at.registry, "plant.pi", false);
    const tokens = openTokenSource(dir, identity, openServerClock(), { audience: "plant.tele" });
    await expect(tokens.renew()).rejects.toMatchObject({ kind: "refused" });
    expect(serialOf(onDisk())).toBe(serialOf(identity.certificatePem));
  });
});
