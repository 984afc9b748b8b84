/** Enrolment and renewal over EST (RFC 7030, RFC 8951), from our own requests and from openssl and curl. */
import { execFile } from "node:child_process";
import { generateKeyPairSync, X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { spki, toPem } from "../../broker/authority/certificates/x509.ts";
import { listAudit } from "../../broker/registry/audit.ts";
import { findCertificate, listCertificates } from "../../broker/registry/certificates.ts";
import { createClient, deleteClient, setClientEnabled, type Client } from "../../broker/registry/clients.ts";
import { createTicket, getTicket, revokeTicket } from "../../broker/registry/tickets.ts";
import { encodeTokenRequest } from "../../shared/ace.ts";
import type { Reason } from "../../shared/refusal.ts";
import { testWith } from "../peers.ts";
import { commonName, oids, readElements, sequence } from "./der.ts";
import {
  ACE,
  base64,
  basic,
  countRows,
  furnish,
  makeCsr,
  makeDevice,
  makeKey,
  openFixture,
  type Answer,
  type Call,
  type Fixture,
} from "./fixture.ts";

let at: Fixture;
beforeAll(async () => {
  at = await openFixture();
  furnish(at.registry);
  createClient(at.registry, { project: "plant", name: "off", kind: "device" });
});
afterAll(() => at.close());
beforeEach(() => {
  at.lines.length = 0;
});

const est = "/.well-known/est";
const PKCS10 = "application/pkcs10";
const ticketFor = (client: string) => createTicket(at.registry, { project: "plant", client });

function enrol(secret: string, csr: string, call: Call = {}): Promise<Answer> {
  return at.call(`${est}/simpleenroll`, { type: PKCS10, body: csr, headers: basic("", secret), ...call });
}

/** The certificates of a certs-only PKCS#7 message. */
function certificatesOf(body: Buffer): X509Certificate[] {
  expect(body.toString()).toMatch(/^[A-Za-z0-9+/]+={0,2}$/);
  const [message, ...behind] = readElements(Buffer.from(body.toString(), "base64"));
  expect(behind).toEqual([]);
  const [type, content, ...more] = readElements(message!.content);
  expect([type!.bytes, content!.tag, more]).toEqual([oids.signedData, 0xa0, []]);
  const [version, digests, inner, list, signers, ...rest] = readElements(readElements(content!.content)[0]!.content);
  expect([version, digests, signers].map((part) => part!.bytes.toString("hex"))).toEqual(["020101", "3100", "3100"]);
  // encapContentInfo: the type alone, no content
  expect([inner!.bytes, list!.tag, rest]).toEqual([sequence(oids.data), 0xa0, []]);
  return readElements(list!.content).map(({ bytes }) => new X509Certificate(bytes));
}

test("gives the authority's certificate and the wanted attributes to anybody", async () => {
  const authorities = await at.call(`${est}/cacerts`);
  expect([authorities.status, authorities.headers["content-type"]]).toEqual([
    200,
    "application/pkcs7-mime; smime-type=certs-only",
  ]);
  expect(certificatesOf(authorities.body).map((one) => one.fingerprint256)).toEqual([
    at.ca.caCertificate.fingerprint256,
  ]);
  const attributes = await at.call(`${est}/csrattrs`);
  expect([attributes.status, attributes.headers["content-type"]]).toEqual([200, "application/csrattrs"]);
  expect(Buffer.from(attributes.body.toString(), "base64").toString("hex")).toBe(
    "3021301506072a8648ce3d0201310a06082a8648ce3d03010706082a8648ce3d040302",
  );
});

describe("enrolment with a ticket", () => {
  test("gives a certificate for the ticket's client, whatever the request says", async () => {
    const { privateKey, key } = makeKey();
    const { secret, id } = ticketFor("pi");
    const answer = await enrol(secret, base64(makeCsr(privateKey, { subject: commonName("plant.admin") })));
    expect([answer.status, answer.headers["content-type"]]).toEqual([
      200,
      "application/pkcs7-mime; smime-type=certs-only",
    ]);
    const [certificate, ...more] = certificatesOf(answer.body);
    expect(more).toEqual([]);
    expect(certificate!.subject).toBe("CN=plant.pi");
    const events = listAudit(at.registry, { project: "plant", limit: 2 });
    expect(events.map(({ event, subject }) => [event, subject])).toEqual([
      ["certificate.issued", "plant.pi"],
      ["ticket.redeemed", "plant.pi"],
    ]);
    expect(events[0]?.facts).toMatchObject({ ticket: id, key: key.thumbprint });
    const body = encodeTokenRequest({ wantsProfile: false });
    const cert = toPem("CERTIFICATE", certificate!.raw);
    expect((await at.call("/token", { type: ACE, body, as: { privateKey, cert } })).status).toBe(200);
  });

  test("gives the same key a certificate again when the answer was lost, and no other key", async () => {
    const { secret } = ticketFor("pi");
    const csr = base64(makeCsr(makeKey().privateKey));
    expect((await enrol(secret, csr)).status).toBe(200);
    expect((await enrol(secret, csr)).status).toBe(200);
    expect((await enrol(secret, base64(makeCsr(makeKey().privateKey)))).status).toBe(401);
    expect(at.reason()).toBe("ticket.used-up");
  });

  test("makes a device for each key of a ticket for many", async () => {
    const { secret } = createTicket(at.registry, { project: "plant", uses: 2, roles: ["sensor"] });
    const keys = [makeKey(), makeKey(), makeKey()];
    const answers: Answer[] = [];
    for (const { privateKey } of keys) answers.push(await enrol(secret, base64(makeCsr(privateKey))));
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 401]);
    const names = answers.slice(0, 2).map(({ body }) => certificatesOf(body)[0]!.subject);
    expect(names).toEqual(keys.slice(0, 2).map(({ key }) => `CN=plant.d-${key.thumbprint.slice(0, 10)}`));
  });

  const csr = base64(makeCsr(makeKey().privateKey));
  const { publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const rsaRequest = base64(makeCsr(makeKey().privateKey, { publicKey: spki(publicKey) }));
  test.each<[string, () => Promise<Answer>, Reason, number]>([
    ["no ticket", () => at.call(`${est}/simpleenroll`, { type: PKCS10, body: csr }), "credential.missing", 401],
    ["an unknown ticket", () => enrol("nothing", csr), "ticket.unknown", 401],
    ["a ticket as user", () => enrol("", csr, { headers: basic(ticketFor("pi").secret, "") }), "ticket.malformed", 401],
    ["another scheme", () => enrol("", csr, { headers: { authorization: "Bearer x" } }), "credential.malformed", 401],
    ["a revoked ticket", () => revoked(), "ticket.revoked", 401],
    ["a ticket of a disabled client", () => disabled(), "client.disabled", 401],
    ["a request that is none", () => enrol(ticketFor("pi").secret, "AAAA"), "csr.malformed", 400],
    ["an RSA request", () => enrol(ticketFor("pi").secret, rsaRequest), "csr.key", 400],
    ["no request", () => enrol(ticketFor("pi").secret, ""), "csr.malformed", 400],
    ["a large request", () => enrol(ticketFor("pi").secret, base64(new Uint8Array(5000))), "request.too-large", 413],
    ["another media type", () => enrol(ticketFor("pi").secret, csr, { type: "text/plain" }), "request.media-type", 415],
  ])("refuses %s and changes nothing", async (_name, ask, reason, status) => {
    const before = countRows(at.registry);
    const answer = await ask();
    expect(at.reason()).toBe(reason);
    expect([answer.status, answer.headers["content-type"]]).toEqual([status, "text/plain; charset=utf-8"]);
    expect(countRows(at.registry)).toEqual(before);
    const challenge = answer.rawHeaders.indexOf("WWW-Authenticate");
    expect(answer.rawHeaders[challenge + 1]).toBe(status === 401 ? 'Basic realm="postern"' : answer.rawHeaders[0]);
  });

  function revoked(): Promise<Answer> {
    const { id, secret } = ticketFor("pi");
    revokeTicket(at.registry, id);
    return enrol(secret, csr);
  }

  function disabled(): Promise<Answer> {
    const { secret } = ticketFor("off");
    setClientEnabled(at.registry, "plant.off", false);
    return enrol(secret, csr);
  }

  test("refuses a ticket from the second it expires", async () => {
    const { secret, expiresAt } = ticketFor("pi");
    const now = at.clock.now;
    at.clock.now = expiresAt;
    expect((await enrol(secret, csr)).status).toBe(401);
    expect(at.reason()).toBe("ticket.expired");
    at.clock.now = expiresAt - 1;
    expect((await enrol(secret, csr)).status).toBe(200);
    at.clock.now = now;
  });
});

describe("renewal with the certificate", () => {
  const renew = (csr: Uint8Array, as?: Call["as"]): Promise<Answer> =>
    at.call(`${est}/simplereenroll`, { type: PKCS10, body: base64(csr), as });

  test.each([
    ["the same key", false],
    ["a new key", true],
  ])("gives a certificate for %s, and the old one stays good", async (_name, isNew) => {
    const device = await makeDevice(at, "plant.pi");
    const { privateKey } = isNew ? makeKey() : device;
    const answer = await renew(makeCsr(privateKey, { subject: commonName("plant.pi") }), device);
    expect(answer.status).toBe(200);
    const [certificate] = certificatesOf(answer.body);
    expect(certificate!.subject).toBe("CN=plant.pi");
    expect(certificate!.checkPrivateKey(privateKey)).toBe(true);
    expect((await renew(makeCsr(device.privateKey, { subject: sequence() }), device)).status).toBe(200);
  });

  test("refuses a subject that is not the client's", async () => {
    const device = await makeDevice(at, "plant.pi");
    expect((await renew(makeCsr(device.privateKey, { subject: commonName("plant.off") }), device)).status).toBe(400);
    expect(at.reason()).toBe("csr.malformed");
  });

  test("refuses a ticket, no certificate, a certificate not on record and a disabled client", async () => {
    const { privateKey } = makeKey();
    expect((await renew(makeCsr(privateKey))).status).toBe(401);
    expect(at.reason()).toBe("certificate.missing");
    createClient(at.registry, { project: "plant", name: "leaver", kind: "device" });
    const leaver = await makeDevice(at, "plant.leaver");
    setClientEnabled(at.registry, "plant.leaver", false);
    expect((await renew(makeCsr(privateKey), leaver)).status).toBe(401);
    expect(at.reason()).toBe("client.disabled");
    const { key, ...unrecorded } = makeKey();
    const cert = toPem("CERTIFICATE", (await at.ca.issueDevice(key, "plant.pi", 1)).der);
    expect((await renew(makeCsr(privateKey), { ...unrecorded, cert })).status).toBe(403);
    expect(at.reason()).toBe("certificate.unknown");
  });
});

describe("while a certificate is being made", () => {
  /** Runs this once `count` certificates are made, before any of them goes on to be recorded. */
  function meanwhile(count: number, then: () => void = () => {}): void {
    const issue = at.ca.issueDevice.bind(at.ca);
    const waiting: (() => void)[] = [];
    vi.spyOn(at.ca, "issueDevice").mockImplementation(async (...asked) => {
      const issued = await issue(...asked);
      await new Promise<void>((resolve) => {
        if (waiting.push(resolve) < count) return;
        then();
        for (const goOn of waiting) goOn();
      });
      return issued;
    });
  }
  afterEach(() => {
    vi.restoreAllMocks();
  });
  const request = () => base64(makeCsr(makeKey().privateKey));

  test.each([
    ["a ticket for one client", () => ticketFor("pi")],
    ["a ticket for many, with one use left", () => createTicket(at.registry, { project: "plant", uses: 1 })],
  ])("of several keys that race for %s, one wins", async (_name, make) => {
    const { id, secret } = make();
    const before = countRows(at.registry);
    meanwhile(3);
    const answers = await Promise.all([1, 2, 3].map(() => enrol(secret, request())));
    expect(answers.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([200, 401, 401]);
    expect(at.lines.filter(({ reason }) => reason === "ticket.used-up")).toHaveLength(2);
    expect(getTicket(at.registry, id).used).toBe(1);
    const after = countRows(at.registry);
    for (const table of ["certificate", "ticket_use"]) expect(after[table]).toBe(Number(before[table]) + 1);
    const winner = answers.find(({ status }) => status === 200);
    const serial = certificatesOf(winner!.body)[0]!.serialNumber;
    expect(findCertificate(at.registry, serial)?.ticketId).toBe(id);
  });

  test("the same key may ask twice, and spends one use", async () => {
    const { id, secret } = createTicket(at.registry, { project: "plant", uses: 2, roles: ["sensor"] });
    const csr = request();
    meanwhile(2);
    const answers = await Promise.all([enrol(secret, csr), enrol(secret, csr)]);
    const names = answers.map(({ status, body }) => [status, certificatesOf(body)[0]!.subject]);
    expect(names[0]).toEqual([200, expect.stringMatching(/^CN=plant\.d-[0-9a-f]{10}$/)]);
    expect(names[1]).toEqual(names[0]);
    expect(getTicket(at.registry, id).used).toBe(1);
  });

  test.each<[string, Reason, (client: string, ticketId: string) => void]>([
    ["the ticket is revoked", "ticket.revoked", (_client, id) => revokeTicket(at.registry, id)],
    ["the client is disabled", "client.disabled", (client) => setClientEnabled(at.registry, client, false)],
    ["the client is deleted", "client.unknown", (client) => deleteClient(at.registry, client)],
  ])("%s: the enrolment is refused and the certificate forgotten", async (_name, reason, then) => {
    const { id: client, name } = makeClient();
    const { id, secret } = ticketFor(name);
    meanwhile(1, () => then(client, id));
    expect((await enrol(secret, request())).status).toBe(401);
    expect(at.reason()).toBe(reason);
    expect(listCertificates(at.registry, { client })).toEqual([]);
  });

  test.each<[string, Reason, (client: string) => void]>([
    ["disabled", "client.disabled", (client) => setClientEnabled(at.registry, client, false)],
    ["deleted", "client.unknown", (client) => deleteClient(at.registry, client)],
  ])("the client is %s: the renewal is refused and the certificate forgotten", async (_name, reason, then) => {
    const { id: client } = makeClient();
    const device = await makeDevice(at, client);
    meanwhile(1, () => then(client));
    const body = base64(makeCsr(device.privateKey, { subject: commonName(client) }));
    expect((await at.call(`${est}/simplereenroll`, { type: PKCS10, body, as: device })).status).toBe(401);
    expect(at.reason()).toBe(reason);
    expect(listCertificates(at.registry, { client })).toHaveLength(1);
  });

  let made = 0;
  function makeClient(): Client {
    return createClient(at.registry, { project: "plant", name: `hasty-${String(++made)}`, kind: "device" }).client;
  }
});

testWith(["openssl", "curl"], "openssl and curl enrol and renew", async () => {
  const directory = mkdtempSync(join(tmpdir(), "postern-est-"));
  const run = async (program: string, ...args: string[]): Promise<string> =>
    (await promisify(execFile)(program, args, { cwd: directory, encoding: "utf8" })).stdout;
  try {
    const port = String(at.authority.port);
    writeFileSync(join(directory, "ca.pem"), at.ca.caPem);
    const { secret } = ticketFor("pi");
    await run(
      "openssl",
      "req",
      "-new",
      "-newkey",
      "ec",
      "-pkeyopt",
      "ec_paramgen_curve:P-256",
      "-nodes",
      "-keyout",
      "k.pem",
      "-subj",
      "/CN=me",
      "-addext",
      "subjectAltName=DNS:evil.example",
      "-outform",
      "DER",
      "-out",
      "r.der",
    );
    await run("openssl", "base64", "-in", "r.der", "-out", "r.b64");
    const curl = ["--silent", "--show-error", "--fail", "--cacert", "ca.pem"];
    const post = ["-H", "Content-Type: application/pkcs10", "--data-binary", "@r.b64"];
    const url = `https://localhost:${port}${est}`;
    await run("curl", ...curl, "--user", `:${secret}`, ...post, "-o", "c.b64", `${url}/simpleenroll`);
    await run("openssl", "base64", "-d", "-A", "-in", "c.b64", "-out", "c.p7");
    await run("openssl", "pkcs7", "-inform", "DER", "-in", "c.p7", "-print_certs", "-out", "c.pem");
    expect(await run("openssl", "verify", "-x509_strict", "-CAfile", "ca.pem", "c.pem")).toContain("OK");
    const text = await run("openssl", "x509", "-noout", "-text", "-in", "c.pem");
    expect(text).toMatch(/Subject: CN ?= ?plant\.pi\n/);
    expect(text).not.toContain("evil");
    await run("openssl", "req", "-new", "-key", "k.pem", "-subj", "/CN=plant.pi", "-outform", "DER", "-out", "r.der");
    await run("openssl", "base64", "-in", "r.der", "-out", "r.b64");
    await run("curl", ...curl, "--cert", "c.pem", "--key", "k.pem", ...post, "-o", "d.b64", `${url}/simplereenroll`);
    expect(certificatesOf(readFileSync(join(directory, "d.b64")))).toHaveLength(1);
    await run("curl", ...curl, "-o", "ca.b64", `${url}/cacerts`);
    expect(certificatesOf(readFileSync(join(directory, "ca.b64")))).toHaveLength(1);
  } finally {
    rmSync(directory, { recursive: true });
  }
});
