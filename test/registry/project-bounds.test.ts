/** How large a project may grow, and what one change of a role costs whoever listens. */
import { describe, expect, it } from "vitest";
import { grantsFor } from "../../broker/registry/grants.ts";
import * as clients from "../../broker/registry/clients.ts";
import { openRegistry } from "../../broker/registry/open-registry.ts";
import { MAX_CLIENT_GRANTS, projectBounds } from "../../broker/registry/project-bounds.ts";
import { createProject } from "../../broker/registry/projects.ts";
import { createApi, getApi } from "../../broker/registry/apis.ts";
import type { Registry } from "../../broker/registry/registry.ts";
import { createRole, getRole, updateRole } from "../../broker/registry/roles.ts";
import { createTicket, getTicket, redeemTicket } from "../../broker/registry/tickets.ts";
import { createMemoryTrust } from "../../broker/trust/memory-trust.ts";
import type { ApiGrants, TrustNews } from "../../broker/trust/trust.ts";
import { parsePermission, type Grant } from "../../shared/scope.ts";
import { asText, newKey, NOW, openFarm, refusal, type Fixture } from "./fixture.ts";

const permissionsOf = (name: string, count: number): Grant[] =>
  Array.from({ length: count }, (_, n) => parsePermission(`sub:sites/\${name}/${name}/${n}`));
const add = (r: Registry, name: string, count: number): string =>
  createRole(r, { project: "farm", api: "telemetry", name, permissions: permissionsOf(name, count) }).name;
const widen = (r: Registry, name: string, count: number) =>
  updateRole(r, { project: "farm", name, permissions: permissionsOf(name, count) });
const create = (r: Registry, name: string, roles: readonly string[]) =>
  clients.createClient(r, { project: "farm", name, kind: "device", roles });

/** Every row of what grants come of, and how many there are of all else that a change writes. */
function contents(r: Registry): unknown {
  const rows = ["role", "client", "client_role", "ticket", "ticket_use"].map((table) =>
    r.db.prepare(`SELECT * FROM ${table}`).all(),
  );
  const counts = ["audit", "trust_change", "secret", "public_key"].map((table) =>
    r.db.prepare(`SELECT count(*) FROM ${table}`).pluck().get(),
  );
  return [rows, counts];
}

interface Crowded extends Fixture {
  /** Five roles: four of 64 permissions, and one of 1. */
  readonly full: readonly string[];
}

/** Client `pi` has all that one may have; a ticket of once gives the role `one`. */
function openCrowd(): Crowded {
  const farm = openFarm();
  const full = [0, 1, 2, 3].map((n) => add(farm.r, `r${n}`, 64));
  add(farm.r, "one", 1);
  create(farm.r, "pi", full);
  return { ...farm, full };
}

describe("the permissions of all roles of a client", () => {
  it(`are ${MAX_CLIENT_GRANTS} at most, which it gets all of`, () => {
    const { r, told } = openCrowd();
    expect(MAX_CLIENT_GRANTS).toBe(256);
    expect(grantsFor(r, "farm.pi", getApi(r, "farm", "telemetry"))).toHaveLength(256);
    expect(asText(told.clients.get("farm.pi")?.grants)).toHaveLength(256);
  });

  const key = newKey();
  it.each<[string, (crowd: Crowded) => void, (crowd: Crowded) => unknown]>([
    ["a client is created", () => undefined, ({ r, full }) => create(r, "more", [...full, "one"])],
    ["its roles are set", () => undefined, ({ r, full }) => clients.setClientRoles(r, "farm.pi", [...full, "one"])],
    [
      "a role that it holds becomes longer",
      ({ r }) => {
        widen(r, "r3", 63);
        clients.setClientRoles(r, "farm.pi", ["r0", "r1", "r2", "r3", "one"]);
      },
      ({ r }) => widen(r, "one", 2),
    ],
    [
      "a role becomes longer that it holds, as do others who have room",
      ({ r }) => {
        for (const name of ["a", "z"]) create(r, name, ["one"]);
        widen(r, "r3", 63);
        clients.setClientRoles(r, "farm.pi", ["r0", "r1", "r2", "r3", "one"]);
      },
      ({ r }) => widen(r, "one", 2),
    ],
    [
      "a role that it holds becomes one of kind mqtt",
      ({ r, full }) => {
        createApi(r, { project: "farm", name: "web", kind: "http", scopes: ["read"] });
        createRole(r, { project: "farm", api: "web", name: "reader", scopes: ["read"] });
        clients.setClientRoles(r, "farm.pi", [...full, "reader"]);
      },
      ({ r }) =>
        updateRole(r, { project: "farm", name: "reader", api: "telemetry", permissions: permissionsOf("reader", 1) }),
    ],
    [
      "a ticket is made for devices",
      () => undefined,
      ({ r, full }) => createTicket(r, { project: "farm", uses: 1, roles: [...full, "one"] }),
    ],
    [
      "the device of a key gets more by another ticket",
      ({ r, full }) => redeemTicket(r, createTicket(r, { project: "farm", uses: 1, roles: full }).secret, key),
      ({ r }) => {
        const secret = r.db.prepare(`SELECT secret FROM kept`).pluck().get() as string;
        redeemTicket(r, secret, key);
      },
    ],
  ])("beyond that are refused when %s, and nothing is changed", (_name, prepare, tried) => {
    const crowd = openCrowd();
    const { secret } = createTicket(crowd.r, { project: "farm", uses: 1, roles: ["one"] });
    crowd.r.db.exec(`CREATE TEMP TABLE kept (secret TEXT)`);
    crowd.r.db.prepare(`INSERT INTO kept VALUES (?)`).run(secret);
    prepare(crowd);
    const before = contents(crowd.r);
    crowd.told.tellings = 0;
    expect(() => tried(crowd)).toThrow(refusal("registry.invalid", "at most 256 permissions in all roles"));
    expect(contents(crowd.r)).toEqual(before);
    expect(crowd.told.tellings).toBe(0);
    expect(asText(crowd.told.clients.get("farm.pi")?.grants)).toHaveLength(256);
  });

  it("are counted for each client by itself", () => {
    const { r } = openCrowd();
    for (const name of ["a", "z"]) create(r, name, ["r3", "one"]);
    widen(r, "r3", 63);
    widen(r, "r3", 64);
    widen(r, "one", 64);
    expect(grantsFor(r, "farm.z", getApi(r, "farm", "telemetry"))).toHaveLength(128);
  });

  it("of kind http do not count, nor a role that is named twice", () => {
    const { r, full } = openCrowd();
    createApi(r, { project: "farm", name: "web", kind: "http", scopes: ["read"] });
    createRole(r, { project: "farm", api: "web", name: "reader", scopes: ["read"] });
    expect(create(r, "more", [...full, "reader", "r0"]).client.roles).toHaveLength(5);
    createTicket(r, { project: "farm", uses: 1, roles: [...full, "r0"] });
  });

  it("of a role that has become longer are refused to who comes with a ticket from before, which is not spent", () => {
    const { r, full } = openCrowd();
    widen(r, "r3", 63);
    const { id, secret } = createTicket(r, { project: "farm", uses: 1, roles: [...full, "one"] });
    widen(r, "one", 2);
    expect(() => redeemTicket(r, secret, newKey())).toThrow(refusal("registry.invalid", "come to 257"));
    expect(getTicket(r, id).used).toBe(0);
    widen(r, "one", 1);
    expect(redeemTicket(r, secret, newKey()).client.roles).toHaveLength(5);
  });

  describe("that are beyond from earlier", () => {
    const openOld = (): Crowded => {
      const crowd = openCrowd();
      add(crowd.r, "r4", 64);
      crowd.r.db.prepare(`INSERT INTO client_role VALUES ('farm', 'pi', 'r4')`).run();
      crowd.r.change(() => clients.announceClient(crowd.r, "farm.pi"));
      return crowd;
    };

    it.each<[string, number, (crowd: Crowded) => unknown]>([
      ["stay as they are", 320, () => undefined],
      [
        "are disabled and enabled",
        320,
        ({ r }) => [false, true].map((on) => clients.setClientEnabled(r, "farm.pi", on)),
      ],
      ["become fewer by a role", 310, ({ r }) => widen(r, "r4", 54)],
      [
        "become others by a role",
        320,
        ({ r }) => updateRole(r, { project: "farm", name: "r4", permissions: permissionsOf("other", 64) }),
      ],
      [
        "become fewer by roles, and are too many still",
        257,
        ({ r, full }) => clients.setClientRoles(r, "farm.pi", [...full, "one"]),
      ],
      ["are given by the same roles", 320, ({ r, full }) => clients.setClientRoles(r, "farm.pi", [...full, "r4"])],
      ["become few", 1, ({ r }) => clients.setClientRoles(r, "farm.pi", ["one"])],
    ])("%s", (_name, count, change) => {
      const crowd = openOld();
      change(crowd);
      expect(grantsFor(crowd.r, "farm.pi", getApi(crowd.r, "farm", "telemetry"))).toHaveLength(count);
      expect(asText(crowd.told.clients.get("farm.pi")?.grants)).toHaveLength(count);
    });

    it.each<[string, (crowd: Crowded) => unknown]>([
      ["by a role", ({ r }) => [widen(r, "r4", 63), widen(r, "r4", 64)]],
      ["by roles", ({ r, full }) => clients.setClientRoles(r, "farm.pi", [...full, "r4", "one"])],
    ])("do not become more %s", (_name, change) => {
      const crowd = openOld();
      expect(() => change(crowd)).toThrow(refusal("registry.invalid", "at most 256 permissions"));
    });
  });
});

describe("a project", () => {
  const fill = (r: Registry, kind: keyof typeof projectBounds, count: number): void => {
    const columns = {
      api: `INSERT INTO api (project, name, audience, kind, topics, scopes, ttl_seconds, bearer, created_at)
            SELECT 'farm', 'f' || n, 'farm.f' || n, 'http', '[]', '["x"]', 60, 0, 0`,
      role: `INSERT INTO role (project, name, api, permissions, scopes, created_at)
             SELECT 'farm', 'f' || n, 'telemetry', '["sub:sites/x"]', '[]', 0`,
      client: `INSERT INTO client (project, name, kind, enabled, created_at) SELECT 'farm', 'f' || n, 'device', 1, 0`,
    };
    const numbers = `WITH RECURSIVE counted (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < ?)`;
    r.db.prepare(`${numbers} ${columns[kind]} FROM counted`).run(count);
  };

  // the farm has one api and one role
  it.each<[keyof typeof projectBounds, number, number, (r: Registry, project: string, name: string) => unknown]>([
    ["api", 100, 98, (r, project, name) => createApi(r, { project, name, kind: "http", scopes: ["x"] })],
    [
      "role",
      500,
      498,
      (r, project, name) =>
        createRole(r, {
          project,
          name,
          api: "telemetry",
          permissions: [parsePermission(`sub:${project === "zoo" ? "zoo" : "sites"}/x`)],
        }),
    ],
    ["client", 50_000, 49_999, (r, project, name) => clients.createClient(r, { project, name, kind: "service" })],
  ])(
    "has room for so many of kind %s",
    (kind, most, before, one) => {
      const { r, told } = openFarm();
      createProject(r, "zoo");
      createApi(r, { project: "zoo", name: "telemetry", kind: "mqtt", topics: ["zoo/#"] });
      fill(r, kind, before);
      expect(projectBounds[kind]).toBe(most);
      one(r, "farm", "last");
      const [rows, audited, apis] = [
        contents(r),
        r.db.prepare(`SELECT count(*) FROM audit`).pluck().get(),
        told.apis.size,
      ];
      for (const name of ["beyond", "again"])
        expect(() => one(r, "farm", name)).toThrow(refusal("limit.reached", `at most ${most} ${kind}s`));
      expect(() => one(r, "farm", "last")).toThrow(refusal("registry.conflict"));
      expect([contents(r), r.db.prepare(`SELECT count(*) FROM audit`).pluck().get(), told.apis.size]).toEqual([
        rows,
        audited,
        apis,
      ]);
      one(r, "zoo", "first");
    },
    60_000,
  );

  it("goes on with what is beyond from earlier, and gets nothing on top", () => {
    const { r } = openFarm();
    for (const [kind, count] of [
      ["role", 600],
      ["client", 50_010],
    ] as const)
      fill(r, kind, count);
    updateRole(r, { project: "farm", name: "f600", permissions: permissionsOf("f600", 2) });
    clients.setClientRoles(r, "farm.f50010", ["f600"]);
    expect(grantsFor(r, "farm.f50010", getApi(r, "farm", "telemetry"))).toHaveLength(2);
    expect(() => add(r, "beyond", 1)).toThrow(refusal("limit.reached"));
    for (let n = 1; n <= 10; n++) {
      clients.deleteClient(r, `farm.f${n}`);
      expect(() => create(r, "beyond", [])).toThrow(refusal("limit.reached"));
    }
    clients.deleteClient(r, "farm.f11");
    create(r, "again", []);
    expect(() => create(r, "beyond", [])).toThrow(refusal("limit.reached"));
  }, 60_000);

  it("counts no client that was not created after all, and none that is deleted", () => {
    const { r } = openFarm();
    fill(r, "client", 49_998);
    for (const name of ["a", "b", "c"])
      expect(() => create(r, name, ["none"])).toThrow(refusal("registry.invalid", "no role none"));
    create(r, "a", []);
    for (const name of ["b", "c"])
      expect(() => create(r, name, ["none"])).toThrow(refusal("registry.invalid", "no role"));
    create(r, "b", []);
    expect(() => create(r, "c", [])).toThrow(refusal("limit.reached"));
    expect(() =>
      r.change(() => {
        clients.deleteClient(r, "farm.a");
        throw new Error("undone");
      }),
    ).toThrow("undone");
    expect(() => create(r, "c", [])).toThrow(refusal("limit.reached"));
    clients.deleteClient(r, "farm.a");
    create(r, "c", []);
    expect(() => create(r, "d", [])).toThrow(refusal("limit.reached"));
  }, 60_000);
});

describe("what a gate is told of roles", () => {
  const openTold = () => {
    const trust = createMemoryTrust({ issuer: "https://postern.test" });
    const r = openRegistry({ file: ":memory:", sink: trust, nowSeconds: () => NOW });
    createProject(r, "farm");
    createApi(r, { project: "farm", name: "telemetry", kind: "mqtt", topics: ["sites/#"] });
    add(r, "wide", 3);
    for (const name of ["pi-1", "pi-2"]) create(r, name, ["wide"]);
    create(r, "other", []);
    const news: TrustNews[] = [];
    trust.onNews((one) => news.push(one));
    const heldBy = (id: string): string[] => asText(trust.client(id)?.grants);
    return { r, trust, news, heldBy };
  };

  it("holds for each holder, with the news and before the change returns", () => {
    const { r, trust, heldBy } = openTold();
    const atNews: unknown[] = [];
    trust.onNews((one) => atNews.push([one, heldBy("farm.pi-1").length, heldBy("farm.pi-2").length]));
    widen(r, "wide", 1);
    // the second is told in the same turn, after the first
    expect(atNews).toEqual([
      [{ kind: "client", id: "farm.pi-1" }, 1, 3],
      [{ kind: "client", id: "farm.pi-2" }, 1, 1],
    ]);
    expect(heldBy("farm.pi-2")).toEqual(["sub:sites/pi-2/wide/0"]);
    expect(heldBy("farm.other")).toEqual([]);
  });

  it("is news only where the roles say something else", () => {
    const { r, news } = openTold();
    widen(r, "wide", 3);
    clients.setClientRoles(r, "farm.pi-1", ["wide"]);
    expect(news).toEqual([]);
    updateRole(r, { project: "farm", name: "wide", permissions: permissionsOf("narrow", 3) });
    expect(news).toHaveLength(2);
  });

  it("is one text for all who hold a role, whenever they were told", () => {
    const { r, trust } = openTold();
    const textsOf = (id: string): unknown =>
      (trust.client(id)!.grants![0] as ApiGrants & { roles: unknown[] }).roles[0];
    create(r, "later", ["wide"]);
    expect(textsOf("farm.later")).toBeDefined();
    expect(textsOf("farm.later")).toBe(textsOf("farm.pi-1"));
  });

  it("is not what a change would have made that was undone", () => {
    const { r, news, heldBy } = openTold();
    expect(() =>
      r.change(() => {
        widen(r, "wide", 1);
        expect(grantsFor(r, "farm.pi-1", getApi(r, "farm", "telemetry"))).toHaveLength(1);
        throw new Error("undone");
      }),
    ).toThrow("undone");
    expect([heldBy("farm.pi-1").length, news]).toEqual([3, []]);
    expect(grantsFor(r, "farm.pi-1", getApi(r, "farm", "telemetry"))).toHaveLength(3);
    clients.setClientEnabled(r, "farm.pi-1", false);
    clients.setClientEnabled(r, "farm.pi-1", true);
    expect(heldBy("farm.pi-1")).toHaveLength(3);
  });

  it("has one entry a filter, and a token the fewest", () => {
    const { r, heldBy } = openTold();
    const give = (name: string, ...texts: string[]) =>
      createRole(r, { project: "farm", api: "telemetry", name, permissions: texts.map(parsePermission) }).name;
    const roles = [give("a", "pub:sites/${name}", "sub:sites/x"), give("b", "sub:sites/both", "sub:sites/+")];
    create(r, "both", roles);
    expect(heldBy("farm.both")).toEqual(["sub:sites/+", "pubsub:sites/both", "sub:sites/x"]);
    const merged = grantsFor(r, "farm.both", getApi(r, "farm", "telemetry"));
    expect(asText(merged)).toEqual(["sub:sites/+", "pub:sites/both"]);
    expect(getRole(r, "farm", "a").permissions).toHaveLength(2);
  });
});
