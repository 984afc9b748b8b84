import { describe, expect, it } from "vitest";
import { listAudit } from "../../broker/registry/audit.ts";
import { createClient, deleteClient, getClient, setClientEnabled } from "../../broker/registry/clients.ts";
import { createRole } from "../../broker/registry/roles.ts";
import {
  createTicket,
  foreseeClient,
  getTicket,
  listTickets,
  redeemTicket,
  revokeTicket,
  type NewTicket,
} from "../../broker/registry/tickets.ts";
import type { Reason } from "../../shared/refusal.ts";
import { parsePermission } from "../../shared/scope.ts";
import { asText, refusal, newKey, NOW, openFarm, type Fixture } from "./fixture.ts";

function openWithClient(): Fixture {
  const fixture = openFarm();
  createClient(fixture.r, { project: "farm", name: "pi-1", kind: "device", roles: ["sensor"] });
  return fixture;
}

describe("a ticket for one client", () => {
  it("gives its client to the first key, and again to that key at no cost", () => {
    const { r } = openWithClient();
    const { id, secret, expiresAt } = createTicket(r, { project: "farm", client: "pi-1", ttlSeconds: 60 });
    expect(secret).toMatch(/^[A-Za-z0-9_-]{27}$/);
    expect(expiresAt).toBe(NOW + 60);
    const key = newKey();
    const client = getClient(r, "farm.pi-1");
    expect(redeemTicket(r, secret, key)).toEqual({ client, again: false, ticketId: id });
    expect(redeemTicket(r, secret, key)).toEqual({ client, again: true, ticketId: id });
    expect(getTicket(r, id)).toMatchObject({ clientId: "farm.pi-1", uses: 1, used: 1, revoked: false });
    expect(() => redeemTicket(r, secret, newKey())).toThrow(refusal("ticket.used-up"));
    expect(listAudit(r, { project: "farm", limit: 99 }).filter((row) => row.event === "ticket.redeemed")).toHaveLength(
      1,
    );
  });

  it("is kept as a hash", () => {
    const { r } = openWithClient();
    const { secret } = createTicket(r, { project: "farm", client: "pi-1" });
    const all = JSON.stringify([r.db.prepare("SELECT * FROM ticket").all(), r.db.prepare("SELECT * FROM audit").all()]);
    expect(all).not.toContain(secret);
    expect(all).not.toContain(Buffer.from(secret, "base64url").toString("hex"));
  });
});

describe("a ticket for many", () => {
  it("makes a device of each key, with the ticket's roles", () => {
    const { r, told } = openFarm();
    const { id, secret } = createTicket(r, { project: "farm", uses: 2, roles: ["sensor"] });
    const keys = [newKey(), newKey()] as const;
    const made = keys.map((key) => redeemTicket(r, secret, key));
    made.forEach(({ client, again }, index) => {
      expect(client.name).toBe(`d-${keys[index]!.thumbprint.slice(0, 10)}`);
      expect(client).toMatchObject({ kind: "device", enabled: true, roles: ["sensor"] });
      expect(again).toBe(false);
      expect(asText(told.clients.get(client.id)?.grants)).toContain(`sub:sites/${client.name}/down`);
    });
    expect(redeemTicket(r, secret, keys[0]).again).toBe(true);
    expect(() => redeemTicket(r, secret, newKey())).toThrow(refusal("ticket.used-up"));
    expect(getTicket(r, id)).toMatchObject({ clientId: null, uses: 2, used: 2, roles: ["sensor"] });
    const created = listAudit(r, { project: "farm", limit: 99 }).filter((row) => row.event === "client.created");
    expect(created.map((row) => row.actor)).toEqual([`ticket:${id}`, `ticket:${id}`]);
  });

  it("gives a key that another ticket has enrolled its device, and the roles of both", () => {
    const { r, told } = openFarm();
    createRole(r, { project: "farm", name: "more", api: "telemetry", permissions: [parsePermission("pub:sites/x")] });
    const first = createTicket(r, { project: "farm", uses: 1, roles: ["sensor"] });
    const second = createTicket(r, { project: "farm", uses: 1, roles: ["more"] });
    const key = newKey();
    const { client } = redeemTicket(r, first.secret, key);
    const merged = redeemTicket(r, second.secret, key);
    expect(merged).toMatchObject({ again: false, client: { id: client.id, roles: ["more", "sensor"] } });
    expect(asText(told.clients.get(client.id)?.grants)).toContain("pub:sites/x");
  });

  it("does not give a device to another key whose name is the same", () => {
    const { r } = openFarm();
    const { id, secret } = createTicket(r, { project: "farm", uses: 9, roles: [] });
    const key = newKey();
    redeemTicket(r, secret, key);
    const lookalike = { ...newKey(), thumbprint: key.thumbprint.slice(0, 10) + "0".repeat(54) };
    expect(() => redeemTicket(r, secret, lookalike)).toThrow(refusal("registry.conflict"));
    expect(getTicket(r, id).used).toBe(1);
  });
});

describe("foreseeing", () => {
  it.each<[string, NewTicket]>([
    ["one client", { project: "farm", client: "pi-1" }],
    ["many", { project: "farm", uses: 1, roles: ["sensor"] }],
  ])("names the client that a ticket for %s will give, and changes nothing", (_, asked) => {
    const { r } = openWithClient();
    const { id, secret } = createTicket(r, asked);
    const key = newKey();
    const foreseen = foreseeClient(r, secret, key);
    expect(getTicket(r, id).used).toBe(0);
    expect(r.db.prepare("SELECT count(*) FROM client").pluck().get()).toBe(1);
    expect(redeemTicket(r, secret, key).client.id).toBe(foreseen);
    expect(foreseeClient(r, secret, key)).toBe(foreseen);
    expect(() => foreseeClient(r, secret, newKey())).toThrow(refusal("ticket.used-up"));
  });
});

describe("redeeming is refused", () => {
  it.each<[string, Reason, (f: Fixture, ticket: { id: string }) => void]>([
    ["when it has expired", "ticket.expired", (f) => (f.clock.now += 100)],
    ["when it is revoked", "ticket.revoked", (f, { id }) => revokeTicket(f.r, id)],
    ["when its client is disabled", "client.disabled", (f) => setClientEnabled(f.r, "farm.pi-1", false)],
    ["when its client is deleted", "client.unknown", (f) => deleteClient(f.r, "farm.pi-1")],
  ])("%s, for a new key and for the one that had it", (_, reason, spoil) => {
    const fixture = openWithClient();
    const { r } = fixture;
    const fresh = createTicket(r, { project: "farm", client: "pi-1", ttlSeconds: 100 });
    const used = createTicket(r, { project: "farm", client: "pi-1", ttlSeconds: 100 });
    const key = newKey();
    redeemTicket(r, used.secret, key);
    spoil(fixture, fresh);
    if (reason === "ticket.revoked") revokeTicket(r, used.id);
    for (const ask of [redeemTicket, foreseeClient]) {
      expect(() => ask(r, fresh.secret, newKey())).toThrow(refusal(reason));
      expect(() => ask(r, used.secret, key)).toThrow(refusal(reason));
    }
    expect(getTicket(r, fresh.id).used).toBe(0);
  });

  it("for a secret that was never given", () => {
    const { r } = openWithClient();
    for (const secret of ["", "x", "A".repeat(27)])
      expect(() => redeemTicket(r, secret, newKey())).toThrow(refusal("ticket.unknown"));
  });

  it("one second after the last good one", () => {
    const { r, clock } = openWithClient();
    const { secret } = createTicket(r, { project: "farm", uses: 5, ttlSeconds: 10 });
    clock.now += 9;
    redeemTicket(r, secret, newKey());
    clock.now += 1;
    expect(() => redeemTicket(r, secret, newKey())).toThrow(refusal("ticket.expired"));
  });

  it("for a device of a ticket that was disabled or deleted", () => {
    const { r } = openFarm();
    const first = createTicket(r, { project: "farm", uses: 5 });
    const second = createTicket(r, { project: "farm", uses: 5 });
    const [one, two] = [newKey(), newKey()];
    setClientEnabled(r, redeemTicket(r, first.secret, one).client.id, false);
    deleteClient(r, redeemTicket(r, first.secret, two).client.id);
    for (const { secret } of [first, second]) {
      expect(() => redeemTicket(r, secret, one)).toThrow(refusal("client.disabled"));
      expect(() => redeemTicket(r, secret, two)).toThrow(refusal("client.unknown"));
    }
  });
});

describe("making a ticket is refused", () => {
  it.each<[string, Partial<NewTicket>, string]>([
    ["without client and uses", {}, "uses:"],
    ["for a client that is not there", { client: "none" }, "client:"],
    ["for a client of another project", { client: "farm.pi-1" }, "client:"],
    ["for a client twice", { client: "pi-1", uses: 2 }, "uses:"],
    ["for a client with roles", { client: "pi-1", roles: ["sensor"] }, "roles:"],
    ["with a role that is not there", { uses: 1, roles: ["sensor", "none"] }, "roles.1"],
    ["for no use", { uses: 0 }, "uses:"],
    ["for half a use", { uses: 0.5 }, "uses:"],
    ["for too many uses", { uses: 100_001 }, "uses:"],
    ["for no time", { uses: 1, ttlSeconds: 0 }, "ttl_seconds:"],
    ["for more than a year", { uses: 1, ttlSeconds: 366 * 86_400 }, "ttl_seconds:"],
  ])("%s", (_, wrong, detail) => {
    const { r } = openWithClient();
    expect(() => createTicket(r, { project: "farm", ...wrong })).toThrow(refusal("registry.invalid", detail));
    expect(listTickets(r, "farm")).toEqual([]);
  });

  it("in a project that is not there", () => {
    const { r } = openFarm();
    expect(() => createTicket(r, { project: "zoo", uses: 1 })).toThrow(refusal("registry.not-found"));
    expect(() => revokeTicket(r, "none")).toThrow(refusal("registry.not-found"));
  });
});
