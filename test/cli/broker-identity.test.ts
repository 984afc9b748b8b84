/** The folder of a broker elsewhere: enrolled once, kept, renewed in time, and mistaken for nothing else. */
import { X509Certificate } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { ServerClock } from "../../agent/clock.ts";
import { createBrokerTicket } from "../../broker/registry/broker-tickets.ts";
import { deleteBroker } from "../../broker/registry/brokers.ts";
import { listCertificates } from "../../broker/registry/certificates.ts";
import { openBrokerIdentity, type OwnIdentity } from "../../cli/broker-identity.ts";
import { keepRenewed } from "../../cli/keep-renewed.ts";
import { formatTicket } from "../../shared/ticket.ts";
import { openFixture, type Fixture } from "../authority/fixture.ts";

let at: Fixture;
let authority: string;
let dir: string;
let said: Record<string, unknown>[];
let made = 0;
const day = 86_400;
const log = pino({ level: "info" }, { write: (line) => said.push(JSON.parse(line) as Record<string, unknown>) });
/** The authority's clock, which tests set. */
const clock: ServerClock = {
  nowSeconds: () => at.clock.now,
  learn: () => {},
  remember: () => ({ offsetSeconds: 0, lastSeenSeconds: at.clock.now }),
};
const start = Math.floor(Date.now() / 1000);

beforeAll(async () => {
  at = await openFixture();
  authority = `https://localhost:${at.authority.port}`;
});
afterAll(() => at.close());
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "postern-broker-"));
  said = [];
  at.clock.now = start;
});
afterEach(() => rmSync(dir, { recursive: true }));

const newName = (): string => `edge-${++made}`;
function ticketFor(name: string, hosts?: string[], from = authority): string {
  const { secret } = createBrokerTicket(at.registry, { name, hosts });
  return formatTicket({ authority: from, pin: at.ca.pin, secret });
}
const open = (ticket?: string, host?: string): Promise<OwnIdentity> =>
  openBrokerIdentity({ dir, ticket, host, log, clock });
const text = (file: string): string => readFileSync(join(dir, file), "utf8");
const certificateOf = (identity: OwnIdentity): X509Certificate => new X509Certificate(identity.current().cert);
const issuedTo = (name: string) => listCertificates(at.registry, { client: `broker:${name}` });
/** Enrols as if it had been so many days ago. */
async function enrolled(daysAgo: number): Promise<string> {
  const name = newName();
  at.clock.now = start - daysAgo * day;
  await open(ticketFor(name));
  at.clock.now = start;
  return name;
}

describe("the first start", () => {
  it("enrols with the ticket, and leaves all that later ones need", async () => {
    const name = newName();
    const identity = await open(ticketFor(name, ["mq.example"]));
    expect(identity).toMatchObject({ name, authority, host: "mq.example", caPem: at.ca.caPem });
    expect(JSON.parse(text("broker.json"))).toEqual({ name, authority });
    expect(identity.current()).toEqual({ cert: text("certificate.pem"), key: text("key.pem") });
    expect(text("ca.pem")).toBe(at.ca.caPem);
    for (const file of ["key.pem", "certificate.pem", "ca.pem", "broker.json"]) {
      expect([file, statSync(join(dir, file)).mode & 0o777]).toEqual([file, 0o600]);
    }
    const again = await open();
    expect(again.current()).toEqual(identity.current());
    expect(issuedTo(name)).toHaveLength(1);
  });

  it("may be done again with the same ticket when it was cut short, because the key was written first", async () => {
    const ticket = ticketFor(newName());
    await open(ticket);
    const key = text("key.pem");
    rmSync(join(dir, "broker.json"));
    await open(ticket);
    expect(text("key.pem")).toBe(key);
  });

  it.each<[string, () => Promise<unknown>, string]>([
    ["no ticket", () => open(), "no enrolled broker in"],
    ["no ticket by its form", () => open("pt1_AAAA"), "this is not a ticket"],
    [
      "a ticket that pins another CA",
      () => open(formatTicket({ authority, pin: "ab".repeat(32), secret: "s" })),
      "the authority's certificate is not the one that the ticket names",
    ],
    [
      "a ticket that is not known",
      () => open(formatTicket({ authority, pin: at.ca.pin, secret: "s" })),
      "the ticket was refused",
    ],
    [
      "an authority that does not answer",
      () => open(ticketFor(newName(), [], "https://localhost:1")),
      "connection refused",
    ],
  ])("refuses %s, and is not enrolled", async (_name, start, why) => {
    await expect(start()).rejects.toThrow(why);
    expect(existsSync(join(dir, "broker.json"))).toBe(false);
  });

  it("refuses the ticket of a device", async () => {
    const { createProject } = await import("../../broker/registry/projects.ts");
    const { createClient } = await import("../../broker/registry/clients.ts");
    const { createTicket } = await import("../../broker/registry/tickets.ts");
    createProject(at.registry, "plant");
    createClient(at.registry, { project: "plant", name: "pi", kind: "device" });
    const { secret } = createTicket(at.registry, { project: "plant", client: "pi" });
    await expect(open(formatTicket({ authority, pin: at.ca.pin, secret }))).rejects.toThrow("certificate.usage");
    expect(existsSync(join(dir, "broker.json"))).toBe(false);
  });

  it.each([
    ["broker.json", "{}"],
    ["broker.json", "no"],
    ["key.pem", "no"],
    ["certificate.pem", "no"],
    ["ca.pem", ""],
  ])("is not taken for one that was finished with a damaged %s (%j)", async (file, content) => {
    await open(ticketFor(newName()));
    writeFileSync(join(dir, file), content);
    await expect(open()).rejects.toThrow(file === "broker.json" ? "broker.json is damaged" : "is missing or damaged");
  });

  it("keeps out of the folder of an authority", async () => {
    writeFileSync(join(dir, "postern.db"), "");
    await expect(open(ticketFor(newName()))).rejects.toThrow("is the data folder of an authority");
    expect(existsSync(join(dir, "key.pem"))).toBe(false);
  });
});

describe("a ticket given again", () => {
  it("is not used", async () => {
    const name = newName();
    await open(ticketFor(name));
    await open(ticketFor(name));
    expect(said.map(({ msg }) => msg)).toEqual(["enrolled", "enrolled already, the ticket is not used"]);
    expect(issuedTo(name)).toHaveLength(1);
  });

  it.each<[string, (name: string) => string]>([
    ["another address", (name) => ticketFor(name, undefined, "https://elsewhere.example")],
    ["another CA", () => formatTicket({ authority, pin: "ab".repeat(32), secret: "s" })],
  ])("is refused where it is of %s", async (_name, toTicket) => {
    const name = newName();
    await open(ticketFor(name));
    await expect(open(toTicket(name))).rejects.toThrow(`is enrolled as broker ${name} at ${authority}`);
  });

  it("enrols once more when the certificate has run out, as the same broker alone", async () => {
    const name = await enrolled(91);
    await expect(open()).rejects.toThrow(`the certificate of broker ${name} has run out; give --ticket`);
    await expect(open(ticketFor(newName()))).rejects.toThrow(`is enrolled as broker ${name}`);
    const key = text("key.pem");
    const identity = await open(ticketFor(name));
    expect(Date.parse(certificateOf(identity).validTo) / 1000).toBe(start + 90 * day);
    expect(identity.current().key).toBe(key);
  });
});

describe("the host", () => {
  it("is localhost where the certificate has no other name", async () => {
    expect((await open(ticketFor(newName()))).host).toBe("localhost");
  });

  it("may be any name that the certificate carries", async () => {
    const name = newName();
    await open(ticketFor(name, ["mq.example", "10.0.0.7"]));
    for (const host of ["mq.example", "10.0.0.7", "localhost", "::1"])
      expect((await open(undefined, host)).host).toBe(host);
    expect(issuedTo(name)).toHaveLength(1);
  });

  it("that the ticket does not allow is refused with what to do", async () => {
    const name = newName();
    await expect(open(ticketFor(name, ["mq.example"]), "other.example")).rejects.toThrow(
      `and not for other.example; on the authority, postern ticket create --broker ${name} --host other.example`,
    );
    expect(issuedTo(name)).toHaveLength(1);
  });

  it("that was allowed since comes with a renewal", async () => {
    const name = newName();
    await open(ticketFor(name));
    ticketFor(name, ["new.example"]);
    expect((await open(undefined, "new.example")).host).toBe("new.example");
    expect(issuedTo(name)).toHaveLength(2);
  });
});

describe("renewal", () => {
  it("waits until two thirds of the life are over", async () => {
    const name = await enrolled(59);
    await open();
    expect(issuedTo(name)).toHaveLength(1);
  });

  it("is done at the start when it is due, with the same key", async () => {
    const name = await enrolled(61);
    const before = text("certificate.pem");
    const identity = await open();
    expect(issuedTo(name)).toHaveLength(2);
    expect(text("certificate.pem")).not.toBe(before);
    expect(identity.current()).toEqual({ cert: text("certificate.pem"), key: text("key.pem") });
    expect(Date.parse(certificateOf(identity).validTo) / 1000).toBe(start + 90 * day);
  });

  it("that fails is said, and the broker starts with what it has", async () => {
    const name = await enrolled(61);
    deleteBroker(at.registry, name);
    const before = text("certificate.pem");
    expect((await open()).current().cert).toBe(before);
    expect(said.at(-1)).toMatchObject({ level: 50, msg: "certificate not renewed" });
  });

  it("does not need a clock that has come as far as the certificate", async () => {
    await enrolled(1);
    const before = text("certificate.pem");
    at.clock.now = start - 30 * day;
    expect((await open()).current().cert).toBe(before);
  });

  it("goes on while the broker runs, and again after failures until it is done", async () => {
    const name = await enrolled(0);
    const identity = await open();
    const before = identity.current().cert;
    const ending = new AbortController();
    at.clock.now = start + 61 * day;
    const renewals: string[] = [];
    let failing = 2;
    const flaky: OwnIdentity = {
      ...identity,
      renew: () => (failing-- > 0 ? Promise.reject(new Error("no answer")) : identity.renew()),
    };
    await keepRenewed(flaky, {
      log,
      signal: ending.signal,
      nowSeconds: () => at.clock.now,
      timing: { checkMs: 1, backoff: { firstMs: 1, longestMs: 1 } },
      use: () => {
        renewals.push(identity.current().cert);
        ending.abort();
      },
    });
    const messages = said.filter(({ msg }) => String(msg).startsWith("certificate")).map(({ msg }) => msg);
    expect(messages).toEqual(["certificate not renewed", "certificate not renewed", "certificate renewed"]);
    expect(renewals).toEqual([text("certificate.pem")]);
    expect(renewals).not.toContain(before);
    expect(issuedTo(name)).toHaveLength(2);
  });
});
