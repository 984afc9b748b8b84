/** Writes that fail half way, and listeners that do: nothing half done on the disk, and nothing else in memory. */
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { createBrokerTicket } from "../../../broker/registry/broker-tickets.ts";
import { createClient, findClient } from "../../../broker/registry/clients.ts";
import { newestToken } from "../../../broker/registry/issued.ts";
import { openRegistry } from "../../../broker/registry/open-registry.ts";
import { activeSigner } from "../../../broker/registry/signing-keys.ts";
import { createTicket } from "../../../broker/registry/tickets.ts";
import { createMemoryTrust } from "../../../broker/trust/memory-trust.ts";
import { tokenHashes } from "../../../shared/token.ts";
import { base64, basic, ISSUER, makeCsr, makeKey, type Answer, type Device } from "../../authority/fixture.ts";
import { ADMIN, revoke } from "../../authority/trl-fixture.ts";
import { makeAuthority } from "../../authority/crl-maker.ts";
import { encodeCrlEntries, issueCrl } from "../../../broker/authority/certificates/crl.ts";
import { keptSeconds } from "../../../broker/registry/revoked-tokens.ts";
import { openGround, toText, type Ground } from "./ground.ts";

let at: Ground;
let device: Device;
let names = 0;
beforeAll(async () => {
  at = await openGround();
});
afterAll(() => at.close());
beforeEach(async () => {
  device = await at.newDevice(`dev-${names++}`);
});

/** Everything that is on the disk but for what says that something was refused. */
function snapshot(): unknown {
  const { db } = at.registry;
  const tables = db
    .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
    .pluck()
    .all() as string[];
  const where = (table: string): string => (table === "audit" ? "WHERE reason IS NULL" : "");
  return tables.map((table) => [table, db.prepare(`SELECT * FROM ${table} ${where(table)}`).all()]);
}

/** What a gate was told, of all that is there. */
function told(): unknown {
  const { trust, registry } = at;
  const ids = registry.db.prepare("SELECT project || '.' || name FROM client ORDER BY 1").pluck().all() as string[];
  const kids = registry.db.prepare("SELECT kid FROM signing_key").pluck().all() as string[];
  return [
    ids.map((id) => trust.client(id)),
    kids.map((kid) => trust.keyFor(kid) !== undefined),
    [trust.revokedTokens, trust.revokedCertificates, trust.tokensSince("plant")],
    trust.deviceAuthorities.map(({ id, listEndsAt }) => [id, listEndsAt]),
  ];
}

const form = "application/x-www-form-urlencoded";
const enrol = (secret: string): Promise<Answer> =>
  at.call("/.well-known/est/simpleenroll", {
    type: "application/pkcs10",
    body: base64(makeCsr(makeKey().privateKey)),
    headers: basic("", secret),
  });

describe("where nothing can be written", () => {
  const rows: [string, () => Promise<() => Promise<Answer>>][] = [
    [
      "a revocation of everything",
      async () => {
        const token = await at.getToken(device);
        const keys = [activeSigner(at.registry).kid];
        const projects = [{ project: "plant", before: "now" }];
        const wish = { tokens: [toText(token)], certificates: [device.serial], clients: [device.id], keys, projects };
        return () => at.revoke(wish);
      },
    ],
    [
      "a client's own revocation",
      async () => {
        const token = await at.getToken(device);
        return () => at.call("/revoke", { type: form, body: `token=${toText(token)}`, as: device });
      },
    ],
    [
      "an administrator's",
      async () => {
        const token = await at.getToken(device);
        return () => at.call("/revoke", { type: form, body: `token=${toText(token)}`, headers: ADMIN });
      },
    ],
    ["disabling a client", async () => () => at.admin(path(), { enabled: false, roles: [] }, "PATCH")],
    ["deleting a client", async () => () => at.admin(path(), undefined, "DELETE")],
    ["a ticket for a broker", async () => () => at.admin("/v1/brokers/new/tickets", { hosts: ["a.test"] })],
    [
      "revoking a broker's ticket",
      async () => {
        const { id } = createBrokerTicket(at.registry, { name: "edge", hosts: [`h${names}.test`] });
        return () => at.admin(`/v1/brokers/edge/tickets/${id}`, undefined, "DELETE");
      },
    ],
    [
      "revoking a ticket",
      async () => {
        const { id } = createTicket(at.registry, { project: "plant", uses: 1 });
        return () => at.admin(`/v1/projects/plant/tickets/${id}`, undefined, "DELETE");
      },
    ],
    [
      "the enrolment of a broker",
      async () => {
        const { secret } = createBrokerTicket(at.registry, { name: "edge" });
        return () => enrol(secret);
      },
    ],
    [
      "the enrolment of a device",
      async () => {
        const { secret } = createTicket(at.registry, { project: "plant", uses: 1 });
        return () => enrol(secret);
      },
    ],
    ["a renewal", async () => () => at.renew(device)],
    ["a token", async () => () => at.ask(device)],
    [
      "an authority elsewhere",
      async () => {
        const { ca } = await makeAuthority();
        return () => at.admin("/v1/device-authorities", { name: "other", ca: ca.caPem });
      },
    ],
    [
      "a list of an authority elsewhere",
      async () => {
        const { ca } = await makeAuthority();
        const name = `ca-${names}`;
        await at.admin("/v1/device-authorities", { name, ca: ca.caPem, needs_crl: true });
        const { now } = at.clock;
        const entries = encodeCrlEntries([
          { serial: "1f", revokedAt: now },
          { serial: "2", revokedAt: now },
        ]);
        const crl = Buffer.from(
          await issueCrl(ca, { number: 1, thisUpdate: now, nextUpdate: now + 60, entries }),
        ).toString("base64");
        return () => at.admin(`/v1/device-authorities/${name}/crl`, { crl }, "PUT");
      },
    ],
    [
      "removing that authority",
      async () => () => at.admin(`/v1/device-authorities/ca-${names - 1}`, undefined, "DELETE"),
    ],
    ["deleting a broker", async () => () => at.admin("/v1/brokers/edge", undefined, "DELETE")],
  ];
  const path = (): string => `/v1/projects/plant/clients/${device.id.split(".")[1]}`;

  test.each(rows)("%s says so, has done nothing, and does it when there is room", async (_what, prepare) => {
    const send = await prepare();
    const before = [snapshot(), told()];
    at.registry.db.pragma("query_only = ON");
    const failed = await send();
    at.registry.db.pragma("query_only = OFF");
    expect([failed.status, at.reason()]).toEqual([507, "storage.failed"]);
    expect([snapshot(), told()]).toEqual(before);
    const { db } = at.registry;
    expect([db.inTransaction, db.pragma("synchronous", { simple: true })]).toEqual([false, 1]);
    const done = await send();
    expect(done.status).toBeLessThan(300);
    expect(snapshot()).not.toEqual(before[0]);
  });

  test("the list is read all the same, with what has expired on it", async () => {
    revoke(at, ["stays", device.id, "plant.tele", 10]);
    at.clock.now += 10 + keptSeconds;
    at.registry.db.pragma("query_only = ON");
    const [list, self] = await Promise.all([
      at.call("/revoke/trl", { as: device }),
      at.call("/v1/self", { as: device }),
    ]);
    at.registry.db.pragma("query_only = OFF");
    at.clock.now -= 10 + keptSeconds;
    expect([list.status, self.status]).toEqual([200, 200]);
  });
});

describe("what takes something back returns when the disk has it", () => {
  const role = "/v1/projects/plant/roles/sensor";
  const rows: [string, () => Promise<Answer> | Answer][] = [
    ["fewer rights of a role", () => at.admin(role, { permissions: ["sub:p/all"] }, "PUT")],
    ["roles of a client", () => at.admin(`/v1/projects/plant/clients/${device.id.slice(6)}`, { roles: [] }, "PATCH")],
    ["a client", () => at.admin(`/v1/projects/plant/clients/${device.id.slice(6)}`, undefined, "DELETE")],
    [
      "a ticket",
      () => {
        const { id } = createTicket(at.registry, { project: "plant", uses: 1 });
        return at.admin(`/v1/projects/plant/tickets/${id}`, undefined, "DELETE");
      },
    ],
    [
      "the ticket of a broker",
      () => {
        const { id } = createBrokerTicket(at.registry, { name: "synced" });
        return at.admin(`/v1/brokers/synced/tickets/${id}`, undefined, "DELETE");
      },
    ],
    ["a broker", () => at.admin("/v1/brokers/synced", undefined, "DELETE")],
    ["a certificate", () => at.revoke({ certificates: [device.serial] })],
  ];
  test.each(rows)("%s", async (_what, send) => {
    const { db } = at.registry;
    const said: unknown[] = [];
    const pragma = db.pragma.bind(db);
    db.pragma = (text: string, ...more: []) => {
      said.push([text, db.inTransaction]);
      return pragma(text, ...more);
    };
    const { status } = await send();
    db.pragma = pragma;
    expect(status).toBeLessThan(300);
    expect(said).toEqual([
      ["synchronous = FULL", false],
      ["synchronous = NORMAL", false],
    ]);
  });
});

test("a wish whose last part is wrong has done none of the others", async () => {
  const before = [snapshot(), told(), newestToken(at.registry)];
  const good = { certificates: [device.serial], clients: [device.id], keys: [activeSigner(at.registry).kid] };
  const now = at.clock.now;
  const bad: [object, number][] = [
    [
      {
        ...good,
        projects: [
          { project: "plant", before: now },
          { project: "none", before: 1 },
        ],
      },
      404,
    ],
    [{ ...good, projects: [{ project: "plant", before: now + 1 }] }, 422],
    [{ ...good, projects: [{ project: "plant", before: "2999-01-01T00:00:00Z" }] }, 422],
    [{ ...good, keys: [...good.keys, "??"] }, 404],
    [{ ...good, clients: [device.id, "plant.nobody"] }, 404],
    [{ ...good, clients: [device.id, "__proto__"] }, 404],
    [{ ...good, certificates: [device.serial, "ff"] }, 404],
    [{ ...good, certificates: [device.serial, "f".repeat(128)] }, 404],
    [{ ...good, tokens: [`01${"0".repeat(64)}`] }, 404],
    [{ ...good, tokens: ["%"] }, 422],
    [{ ...good, clients: Array.from({ length: 10_001 }, () => device.id) }, 422],
    [{ clients: Array.from({ length: 100_000 }, () => "x") }, 422],
    [{ ...good, other: 1 }, 422],
    [{ ...good, tokens: [[]] }, 422],
    [[], 422],
    [{ clients: [] }, 422],
  ];
  for (const [wish, status] of bad) expect((await at.revoke(wish)).status).toBe(status);
  expect([snapshot(), told(), newestToken(at.registry)]).toEqual(before);
});

test("one hash in every case, ten thousand times, is one token", async () => {
  const [hash] = tokenHashes(await at.getToken(device));
  const tokens = Array.from({ length: 10_000 }, (_, n) => (n % 2 === 0 ? hash! : hash!.toUpperCase()));
  const answer = await at.revoke({ tokens });
  expect([answer.status, JSON.parse(answer.body.toString())]).toMatchObject([200, { tokens: 1 }]);
});

test("a listener that fails keeps nobody else from hearing of what is committed", () => {
  const trust = createMemoryTrust({ issuer: ISSUER });
  const told: string[] = [];
  const sink = {
    ...trust,
    learnClient: (client: Parameters<typeof trust.learnClient>[0]): void => {
      if (client.id === "plant.one" && !client.enabled) throw new Error("no");
      trust.learnClient(client);
    },
  };
  const registry = openRegistry({ file: ":memory:", sink });
  registry.change(() => registry.db.exec("INSERT INTO project (slug, created_at) VALUES ('plant', 0)"));
  for (const name of ["one", "two"]) createClient(registry, { project: "plant", name, kind: "device" });
  const changed = vi.fn<() => void>();
  registry.onChange(changed);
  const disable = (): void => {
    registry.changeDurably(() => {
      for (const name of ["one", "two"]) {
        registry.db.exec(`UPDATE client SET enabled = 0 WHERE name = '${name}'`);
        registry.afterCommit(() => {
          told.push(name);
          sink.learnClient({ id: `plant.${name}`, enabled: false });
        });
      }
    });
  };
  expect(disable).toThrow("no");
  expect([told, trust.client("plant.two")?.enabled, findClient(registry, "plant.one")?.enabled]).toEqual([
    ["one", "two"],
    false,
    false,
  ]);
  expect(changed).toHaveBeenCalledTimes(1);
  registry.close();
});
