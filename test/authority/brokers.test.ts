/** Brokers elsewhere enrol and renew over EST, and their certificates are good for that and not for what devices do. */
import { X509Certificate, type KeyObject } from "node:crypto";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { readCertsOnly } from "../../agent/certificate-request.ts";
import { toPem } from "../../broker/authority/certificates/x509.ts";
import { createBrokerTicket, getBrokerTicket, revokeBrokerTicket } from "../../broker/registry/broker-tickets.ts";
import { deleteBroker, getBroker } from "../../broker/registry/brokers.ts";
import { findCertificate, listCertificates } from "../../broker/registry/certificates.ts";
import { revokeAll } from "../../broker/registry/revocations.ts";
import { encodeTokenRequest } from "../../shared/ace.ts";
import { readBrokerCertificate } from "../../shared/broker-certificate.ts";
import type { Reason } from "../../shared/refusal.ts";
import { makeAuthority } from "../gate/certificates.ts";
import { commonName, sequence } from "./der.ts";
import {
  ACE,
  base64,
  basic,
  furnish,
  ISSUER,
  makeCsr,
  makeDevice,
  makeKey,
  openFixture,
  type Answer,
  type Call,
  type Fixture,
} from "./fixture.ts";

let at: Fixture;
let made = 0;
beforeAll(async () => {
  at = await openFixture();
  furnish(at.registry);
});
afterAll(() => at.close());
beforeEach(() => {
  at.lines.length = 0;
});

const est = "/.well-known/est";
const type = "application/pkcs10";
const day = 86_400;
const local = ["localhost", "127.0.0.1", "0:0:0:0:0:0:0:1"];
const newName = (): string => `edge-${String(++made)}`;
const revoke = (serial: string) => revokeAll(at.registry, { certificates: [serial] }, { issuer: ISSUER });

function enrol(secret: string, privateKey: KeyObject): Promise<Answer> {
  return at.call(`${est}/simpleenroll`, { type, body: base64(makeCsr(privateKey)), headers: basic("", secret) });
}

function renew(as: Call["as"], csr: Uint8Array = makeCsr(as!.privateKey, { subject: sequence() })): Promise<Answer> {
  return at.call(`${est}/simplereenroll`, { type, body: base64(csr), as });
}

function certificateOf({ status, body }: Answer): X509Certificate {
  expect([status, body.toString()]).toEqual([200, expect.stringMatching(/^M/)]);
  return new X509Certificate(readCertsOnly(body)[0]!);
}

/** What a certificate says, verified as a peer of the broker would. */
function read(certificate: X509Certificate) {
  return readBrokerCertificate(certificate, [at.ca.caCertificate], at.clock.now);
}

interface Enrolled {
  readonly name: string;
  readonly privateKey: KeyObject;
  readonly cert: string;
  readonly serial: string;
}

/** A broker that has redeemed a ticket. */
async function openBroker(hosts?: string[]): Promise<Enrolled> {
  const name = newName();
  const { privateKey } = makeKey();
  const { secret } = createBrokerTicket(at.registry, { name, hosts });
  const certificate = certificateOf(await enrol(secret, privateKey));
  return { name, privateKey, cert: certificate.toString(), serial: read(certificate).serial };
}

describe("enrolment with a ticket", () => {
  test("gives a certificate for the broker and its hosts, whatever the request says", async () => {
    const { secret, id } = createBrokerTicket(at.registry, { name: "edge", hosts: ["mq.example", "10.0.0.7"] });
    const { privateKey, key } = makeKey();
    const body = base64(makeCsr(privateKey, { subject: commonName("broker:other") }));
    const answer = await at.call(`${est}/simpleenroll`, { type, body, headers: basic("", secret) });
    const certificate = certificateOf(answer);
    expect(certificate.subject).toBe("CN=broker:edge");
    expect(certificate.subjectAltName).toBe(
      "URI:urn:postern:broker:edge, DNS:localhost, DNS:mq.example, IP Address:10.0.0.7, IP Address:127.0.0.1, " +
        "IP Address:0:0:0:0:0:0:0:1",
    );
    expect(certificate.keyUsage).toEqual(["1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.1"]);
    const said = read(certificate);
    expect([said.name, said.notAfter]).toEqual(["edge", at.clock.now + 90 * day]);
    expect(findCertificate(at.registry, said.serial)).toMatchObject({
      clientId: "broker:edge",
      keyThumbprint: key.thumbprint,
    });
    expect(getBroker(at.registry, "edge").certifiedUntil).toBe(said.notAfter);
    expect(getBrokerTicket(at.registry, "edge", id).redeemed).toBe(true);
  });

  test("gives the same key a certificate again when the answer was lost, and no other key", async () => {
    const name = newName();
    const { secret } = createBrokerTicket(at.registry, { name });
    const { privateKey } = makeKey();
    for (const _ of [1, 2]) expect(read(certificateOf(await enrol(secret, privateKey))).name).toBe(name);
    expect((await enrol(secret, makeKey().privateKey)).status).toBe(401);
    expect(at.reason()).toBe("ticket.used-up");
    expect(listCertificates(at.registry, { client: `broker:${name}` })).toHaveLength(2);
  });

  test("of two keys that race for a ticket, one wins", async () => {
    const name = newName();
    const { secret } = createBrokerTicket(at.registry, { name });
    const answers = await Promise.all([makeKey(), makeKey()].map(({ privateKey }) => enrol(secret, privateKey)));
    expect(answers.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([200, 401]);
    expect(listCertificates(at.registry, { client: `broker:${name}` })).toHaveLength(1);
  });

  test("refuses a ticket from the second it expires", async () => {
    const { secret, expiresAt } = createBrokerTicket(at.registry, { name: newName() });
    const { now } = at.clock;
    at.clock.now = expiresAt;
    expect((await enrol(secret, makeKey().privateKey)).status).toBe(401);
    expect(at.reason()).toBe("ticket.expired");
    at.clock.now = expiresAt - 1;
    expect((await enrol(secret, makeKey().privateKey)).status).toBe(200);
    at.clock.now = now;
  });

  test.each<[string, (name: string, id: string) => void]>([
    ["that was revoked", (name, id) => revokeBrokerTicket(at.registry, name, id)],
    ["of a broker that was deleted", (name) => deleteBroker(at.registry, name)],
  ])("refuses a ticket %s", async (_name, spoil) => {
    const name = newName();
    const { secret, id } = createBrokerTicket(at.registry, { name });
    spoil(name, id);
    expect((await enrol(secret, makeKey().privateKey)).status).toBe(401);
    expect(at.reason()).toBe("ticket.revoked");
    expect(listCertificates(at.registry, { client: `broker:${name}` })).toEqual([]);
  });

  test("does not certify a key again once a certificate of it was revoked", async () => {
    const { name, privateKey, serial } = await openBroker();
    revoke(serial);
    const { secret } = createBrokerTicket(at.registry, { name });
    expect((await enrol(secret, privateKey)).status).toBe(403);
    expect(at.reason()).toBe("certificate.revoked");
    expect((await enrol(secret, makeKey().privateKey)).status).toBe(200);
  });
});

describe("renewal with the certificate", () => {
  test.each([
    ["the same key", false],
    ["a new key", true],
  ])("gives a certificate for %s, and the old one stays good", async (_name, isNew) => {
    const broker = await openBroker();
    const { privateKey } = isNew ? makeKey() : broker;
    const csr = makeCsr(privateKey, { subject: commonName(`broker:${broker.name}`) });
    const renewed = certificateOf(await renew(broker, csr));
    expect([read(renewed).name, renewed.checkPrivateKey(privateKey)]).toEqual([broker.name, true]);
    expect((await renew(broker)).status).toBe(200);
  });

  test("gives the hosts that the broker has by now", async () => {
    const broker = await openBroker(["old.example"]);
    expect(read(new X509Certificate(broker.cert)).hosts).toEqual([local[0], "old.example", ...local.slice(1)]);
    createBrokerTicket(at.registry, { name: broker.name, hosts: ["new.example"] });
    const { hosts } = read(certificateOf(await renew(broker)));
    expect(hosts).toEqual([local[0], "new.example", ...local.slice(1)]);
  });

  const elsewhere = makeAuthority("Postern CA");
  test.each<[string, (broker: Enrolled) => Promise<Answer> | Answer, Reason, number]>([
    [
      "another subject",
      (b) => renew(b, makeCsr(b.privateKey, { subject: commonName("broker:other") })),
      "csr.malformed",
      400,
    ],
    ["a revoked one", (b) => (revoke(b.serial), renew(b)), "certificate.revoked", 403],
    ["one of a deleted broker", (b) => (deleteBroker(at.registry, b.name), renew(b)), "certificate.revoked", 403],
    ["one that is not on record", unrecorded, "certificate.unknown", 403],
    ["one of another authority", foreign, "certificate.untrusted", 403],
    ["one that has expired", expired, "certificate.expired", 403],
  ])("refuses %s, on a connection that has renewed before", async (_name, ask, reason, status) => {
    const broker = await openBroker();
    expect((await renew(broker)).status).toBe(200);
    expect((await ask(broker)).status).toBe(status);
    expect(at.reason()).toBe(reason);
  });

  async function unrecorded({ name }: Enrolled): Promise<Answer> {
    const { privateKey, key } = makeKey();
    return renew({ privateKey, cert: toPem("CERTIFICATE", (await at.ca.issueBroker(key, name, [], 1)).der) });
  }

  async function foreign({ name }: Enrolled): Promise<Answer> {
    const usages = ["1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.1"];
    const names = [{ type: "url", value: `urn:postern:broker:${name}` } as const];
    return renew(await (await elsewhere).device("", { subject: `CN=broker:${name}`, usages, names }));
  }

  async function expired(broker: Enrolled): Promise<Answer> {
    const { now } = at.clock;
    at.clock.now = now + 90 * day + 1;
    const answer = await renew(broker);
    at.clock.now = now;
    return answer;
  }
});

describe("while a certificate is being made", () => {
  /** Runs this when a certificate is made, before it is recorded. */
  function meanwhile(then: () => void): void {
    const issue = at.ca.issueBroker.bind(at.ca);
    vi.spyOn(at.ca, "issueBroker").mockImplementation(async (...asked) => {
      const issued = await issue(...asked);
      then();
      return issued;
    });
  }
  afterEach(() => {
    vi.restoreAllMocks();
  });

  const rows: [string, Reason, number, (name: string) => void][] = [
    ["the broker is deleted", "certificate.revoked", 403, (name) => deleteBroker(at.registry, name)],
    ["its hosts change", "registry.conflict", 409, (name) => createBrokerTicket(at.registry, { name, hosts: ["x"] })],
  ];
  test.each(rows)("%s: the renewal is refused and the certificate forgotten", async (_name, reason, status, then) => {
    const broker = await openBroker();
    meanwhile(() => then(broker.name));
    expect((await renew(broker)).status).toBe(status);
    expect(at.reason()).toBe(reason);
    expect(listCertificates(at.registry, { client: `broker:${broker.name}` })).toHaveLength(1);
  });

  test("the ticket is revoked: the enrolment is refused and the certificate forgotten", async () => {
    const name = newName();
    const { id, secret } = createBrokerTicket(at.registry, { name });
    meanwhile(() => revokeBrokerTicket(at.registry, name, id));
    expect((await enrol(secret, makeKey().privateKey)).status).toBe(401);
    expect(at.reason()).toBe("ticket.revoked");
    expect(listCertificates(at.registry, { client: `broker:${name}` })).toEqual([]);
  });
});

describe("a broker is no client", () => {
  test.each<[string, number, Call]>([
    ["/token", 401, { type: ACE, body: encodeTokenRequest({ audience: "plant.tele", wantsProfile: false }) }],
    ["/v1/self", 403, {}],
  ])("and gets nothing at %s", async (path, status, call) => {
    const answer = await at.call(path, { ...call, as: await openBroker() });
    expect([answer.status, at.reason()]).toEqual([status, "certificate.identity"]);
  });

  test("and a device no broker: it renews as what it is", async () => {
    const device = await makeDevice(at, "plant.pi");
    const csr = makeCsr(device.privateKey, { subject: commonName("broker:edge") });
    expect((await renew(device, csr)).status).toBe(400);
    expect(certificateOf(await renew(device)).subject).toBe("CN=plant.pi");
  });
});
