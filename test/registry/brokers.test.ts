/** Brokers elsewhere and their tickets: whom a ticket is for, what a later one changes, and what deleting takes back. */
import { beforeAll, expect, test } from "vitest";
import {
  createBrokerTicket,
  getBrokerTicket,
  isBrokerTicket,
  listBrokerTickets,
  redeemBrokerTicket,
  revokeBrokerTicket,
} from "../../broker/registry/broker-tickets.ts";
import { assertLiveBroker, deleteBroker, getBroker, listBrokers } from "../../broker/registry/brokers.ts";
import { recordCertificate } from "../../broker/registry/certificates.ts";
import { setOwnAuthority } from "../../broker/registry/device-authorities.ts";
import { createTicket } from "../../broker/registry/tickets.ts";
import type { Registry } from "../../broker/registry/registry.ts";
import { nameAuthority } from "../../shared/device-certificate.ts";
import type { Reason } from "../../shared/refusal.ts";
import { makeAuthority, type TestAuthority } from "../gate/certificates.ts";
import { newKey, NOW, openFarm, openFixture, refusal, type Fixture } from "./fixture.ts";

let authority: TestAuthority;
beforeAll(async () => {
  authority = await makeAuthority();
});

function certify(r: Registry, name: string, serial: string): void {
  const times = { notBefore: NOW, notAfter: NOW + 86_400 };
  recordCertificate(r, { serial, clientId: `broker:${name}`, key: newKey(), ...times, der: new Uint8Array() });
}

/** Newest first: what happened, by whom, to whom. */
function events(r: Registry): unknown[] {
  const rows = r.db.prepare(`SELECT event, actor, subject, facts FROM audit ORDER BY seq DESC`).all();
  return (rows as { event: string; actor: string; subject: string; facts: string }[]).map(
    ({ event, actor, subject, facts }) => [event, actor, subject, JSON.parse(facts)],
  );
}

test("makes the broker with its first ticket, and says so in the audit log", () => {
  const { r } = openFixture();
  const { id, secret, expiresAt } = createBrokerTicket(r, { name: "edge", hosts: ["mq.example", "10.0.0.7"] });
  expect(expiresAt).toBe(NOW + 86_400);
  expect(isBrokerTicket(r, secret)).toBe(true);
  const edge = { name: "edge", hosts: ["mq.example", "10.0.0.7"], createdAt: NOW, certifiedUntil: null };
  expect([getBroker(r, "edge"), listBrokers(r)]).toEqual([edge, [edge]]);
  expect(events(r)).toEqual([
    ["ticket.created", "admin", id, { broker: "edge", expiresAt }],
    ["broker.created", "admin", "broker:edge", { hosts: ["mq.example", "10.0.0.7"] }],
  ]);
  expect(r.db.serialize().includes(secret)).toBe(false);
});

test("a later ticket changes the hosts only where it names some", () => {
  const { r } = openFixture();
  createBrokerTicket(r, { name: "edge", hosts: ["a.example"] });
  createBrokerTicket(r, { name: "edge" });
  expect(getBroker(r, "edge").hosts).toEqual(["a.example"]);
  createBrokerTicket(r, { name: "edge", hosts: ["b.example", "b.example"] });
  expect(getBroker(r, "edge").hosts).toEqual(["b.example"]);
  createBrokerTicket(r, { name: "edge", hosts: [] });
  expect(getBroker(r, "edge").hosts).toEqual([]);
  const changes = (events(r) as string[][]).filter(([event]) => event === "broker.hosts-changed");
  expect(changes).toHaveLength(2);
});

test.each<[string, Parameters<typeof createBrokerTicket>[1], string]>([
  ["a name with a dot", { name: "acme.edge" }, "a name is"],
  ["no name", { name: "" }, "a name is"],
  ["a host that is none", { name: "edge", hosts: ["ok.example", "a b"] }, "hosts.1"],
  ["a host with a wildcard", { name: "edge", hosts: ["*.example"] }, "hosts.0"],
  ["too many hosts", { name: "edge", hosts: Array.from({ length: 17 }, (_, n) => `h${n}`) }, "hosts: at most 16"],
  ["a ticket for ever", { name: "edge", ttlSeconds: 400 * 86_400 }, "ttl_seconds"],
])("refuses %s and makes nothing", (_name, asked, detail) => {
  const { r } = openFixture();
  expect(() => createBrokerTicket(r, asked)).toThrow(refusal("registry.invalid", detail));
  expect([listBrokers(r), events(r)]).toEqual([[], []]);
});

test("a ticket is the first key's, which may redeem it again", () => {
  const { r } = openFixture();
  const { id, secret } = createBrokerTicket(r, { name: "edge" });
  const [key, other] = [newKey(), newKey()];
  expect(redeemBrokerTicket(r, secret, key)).toMatchObject({ id, broker: { name: "edge" }, again: false });
  expect(redeemBrokerTicket(r, secret, key)).toMatchObject({ id, again: true });
  expect(() => redeemBrokerTicket(r, secret, other)).toThrow(refusal("ticket.used-up", id));
  expect(redeemBrokerTicket(r, secret, key).again).toBe(true);
  const redeemed = (events(r) as unknown[][]).filter(([event]) => event === "ticket.redeemed");
  expect(redeemed).toEqual([["ticket.redeemed", "broker:edge", "broker:edge", { ticket: id, key: key.thumbprint }]]);
  expect(listBrokerTickets(r, "edge")).toEqual([
    { id, broker: "edge", redeemed: true, createdAt: NOW, expiresAt: NOW + 86_400, revoked: false },
  ]);
});

test.each<[string, (at: Fixture, id: string, secret: string) => string, Reason]>([
  ["an unknown ticket", () => "nothing", "ticket.unknown"],
  ["the ticket of a device", ({ r }) => createTicket(r, { project: "farm", uses: 1 }).secret, "ticket.unknown"],
  ["an expired ticket", ({ clock }, _, secret) => ((clock.now = NOW + 60), secret), "ticket.expired"],
  ["a revoked ticket", ({ r }, id, secret) => (revokeBrokerTicket(r, "edge", id), secret), "ticket.revoked"],
  ["the ticket of a deleted broker", ({ r }, _, secret) => (deleteBroker(r, "edge"), secret), "ticket.revoked"],
])("refuses %s, also to the key that has redeemed it", (_name, spoil, reason) => {
  const at = openFarm();
  const { id, secret } = createBrokerTicket(at.r, { name: "edge", ttlSeconds: 60 });
  const key = newKey();
  redeemBrokerTicket(at.r, secret, key);
  const spoilt = spoil(at, id, secret);
  expect(() => redeemBrokerTicket(at.r, spoilt, key)).toThrow(refusal(reason));
});

test("a ticket is found under its own broker alone", () => {
  const { r } = openFixture();
  const { id } = createBrokerTicket(r, { name: "edge" });
  createBrokerTicket(r, { name: "other" });
  expect(() => getBrokerTicket(r, "other", id)).toThrow(refusal("registry.not-found", id));
  expect(() => revokeBrokerTicket(r, "other", id)).toThrow(refusal("registry.not-found", id));
  expect(getBrokerTicket(r, "edge", id).revoked).toBe(false);
});

test("deleting takes back the certificates and leaves the name taken", () => {
  const { r, told } = openFixture();
  setOwnAuthority(r, authority.x509);
  createBrokerTicket(r, { name: "edge" });
  createBrokerTicket(r, { name: "other" });
  certify(r, "edge", "4a");
  certify(r, "edge", "4b");
  certify(r, "other", "4c");
  expect(getBroker(r, "edge").certifiedUntil).toBe(NOW + 86_400);
  assertLiveBroker(r, { name: "edge", serial: "4A" });

  deleteBroker(r, "edge");
  for (const serial of ["4a", "4b"]) {
    expect(() => assertLiveBroker(r, { name: "edge", serial })).toThrow(refusal("certificate.revoked", serial));
  }
  const id = nameAuthority(authority.x509);
  expect(told.certificates).toEqual(new Set([`${id}:4a`, `${id}:4b`]));
  assertLiveBroker(r, { name: "other", serial: "4c" });
  expect(listBrokers(r).map(({ name }) => name)).toEqual(["other"]);
  expect(() => getBroker(r, "edge")).toThrow(refusal("registry.not-found", "no broker edge"));
  expect(() => deleteBroker(r, "edge")).toThrow(refusal("registry.not-found"));
  expect(() => createBrokerTicket(r, { name: "edge" })).toThrow(refusal("registry.conflict", "broker edge existed"));
  const done = (events(r) as string[][]).slice(0, 3).map(([event, , subject]) => [event, subject]);
  expect(done).toEqual([
    ["broker.deleted", "broker:edge"],
    ["certificate.revoked", "broker:edge"],
    ["certificate.revoked", "broker:edge"],
  ]);
});

test.each<[string, { name: string; serial: string }]>([
  ["that was never recorded", { name: "edge", serial: "4f" }],
  ["of another broker", { name: "edge", serial: "4c" }],
  ["of a broker that never was", { name: "ghost", serial: "4d" }],
])("a certificate %s is not on record", (_name, certificate) => {
  const { r } = openFixture();
  createBrokerTicket(r, { name: "edge" });
  createBrokerTicket(r, { name: "other" });
  certify(r, "other", "4c");
  certify(r, "ghost", "4d");
  expect(() => assertLiveBroker(r, certificate)).toThrow(refusal("certificate.unknown", certificate.serial));
});
