/** What stands between an agent and its authority may try at enrolment, and what a name may do to a command's path. */
// oxlint-disable-next-line import/no-unassigned-import
import "reflect-metadata";
import { webcrypto, X509Certificate } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer as createHttpsServer } from "node:https";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BasicConstraintsExtension, X509CertificateGenerator } from "@peculiar/x509";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { enrol } from "../../agent/enrol.ts";
import { readIdentity } from "../../agent/state.ts";
import { certsOnly } from "../../broker/authority/certificates/certs-only.ts";
import { createTicket } from "../../broker/registry/tickets.ts";
import { route } from "../../cli/admin-client.ts";
import { formatTicket } from "../../shared/ticket.ts";
import { base64, furnish, openFixture, type Fixture } from "../authority/fixture.ts";
import { makeAuthority } from "../gate/certificates.ts";

let f: Fixture;
let folder: string;
const open: (() => void)[] = [];
beforeAll(async () => {
  f = await openFixture();
  furnish(f.registry);
  folder = mkdtempSync(join(tmpdir(), "postern-attack-"));
});
afterAll(async () => {
  for (const close of open) close();
  await f.close();
  rmSync(folder, { recursive: true });
});

const ecdsa = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };

/** A certificate with the authority's name and key and other contents, signed by somebody else. */
async function forgeAuthority(): Promise<X509Certificate> {
  const { subtle } = webcrypto;
  const spki = f.ca.caCertificate.publicKey.export({ type: "spki", format: "der" });
  const forger = await subtle.generateKey(ecdsa, true, ["sign", "verify"]);
  const forged = await X509CertificateGenerator.create({
    serialNumber: "01",
    subject: f.ca.caCertificate.subject,
    issuer: f.ca.caCertificate.subject,
    notBefore: new Date(Date.now() - 86_400_000),
    notAfter: new Date(Date.now() + 3_600_000),
    signingKey: forger.privateKey,
    publicKey: await subtle.importKey("spki", spki, ecdsa, true, ["verify"]),
    signingAlgorithm: ecdsa,
    extensions: [new BasicConstraintsExtension(true, 0, true)],
  });
  return new X509Certificate(forged.toString("pem"));
}

/** Answers the first connection itself, and passes the others on. */
async function standBetween(answer: Buffer): Promise<number> {
  const server = await (await makeAuthority("someone")).server();
  const own = createHttpsServer({ key: server.key, cert: server.cert }, (_request, response) => {
    response.writeHead(200, { "content-type": "application/pkcs7-mime" }).end(answer);
  });
  own.listen(0, "127.0.0.1");
  await once(own, "listening");
  let connections = 0;
  const pass = createServer((socket: Socket) => {
    const port = ++connections === 1 ? (own.address() as AddressInfo).port : f.authority.port;
    const onward = connect(port, "127.0.0.1");
    for (const end of [socket, onward]) end.on("error", () => {});
    socket.pipe(onward).pipe(socket);
  });
  pass.listen(0, "127.0.0.1");
  await once(pass, "listening");
  open.push(
    () => own.close(),
    () => pass.close(),
  );
  return (pass.address() as AddressInfo).port;
}

const ticketFor = (port: number): string => {
  const { secret } = createTicket(f.registry, { project: "plant", client: "pi" });
  return formatTicket({ authority: `https://localhost:${port}`, pin: f.ca.pin, secret });
};

describe("who stands between an agent and its authority", () => {
  it("cannot replace the authority's certificate by another of the same key", async () => {
    const forged = await forgeAuthority();
    const port = await standBetween(Buffer.from(base64(certsOnly(forged.raw))));
    const dir = join(folder, "forged");
    await enrol(ticketFor(port), dir).catch(() => undefined);
    let kept = f.ca.caPem;
    try {
      kept = readIdentity(dir).caPem;
    } catch {
      // refused: nothing was kept
    }
    expect(new X509Certificate(kept).validTo).toBe(f.ca.caCertificate.validTo);
  });

  it("cannot make it read more than a bounded answer, or anything that is no certificate", async () => {
    for (const answer of [
      Buffer.alloc(10_000_000, 0x41),
      Buffer.from("{}"),
      Buffer.alloc(0),
      Buffer.from([0xff, 0, 1]),
    ]) {
      const port = await standBetween(answer);
      await expect(enrol(ticketFor(port), join(folder, "garbage"))).rejects.toThrow(/./);
    }
  });
});

describe("a name in a command", () => {
  it.each(["..", ".", "%2e%2e", "../..", "a/b", "a?b", "a#b"])("reaches no other path: %s", (name) => {
    let path = "/v1/projects/plant/clients/refused";
    try {
      path = new URL(route`/v1/projects/${"plant"}/clients/${name}`, "https://localhost").pathname;
    } catch {
      // refused
    }
    expect(path).toMatch(/^\/v1\/projects\/plant\/clients\/[^/]+$/);
  });
});
