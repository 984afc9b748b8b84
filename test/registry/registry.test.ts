import { describe, expect, it } from "vitest";
import {
  createApi,
  findApi,
  findApiOf,
  getApi,
  listApis,
  listHeldApis,
  type NewApi,
} from "../../broker/registry/apis.ts";
import { listAudit } from "../../broker/registry/audit.ts";
import { recordCertificate, liveCertificateKeys } from "../../broker/registry/certificates.ts";
import * as clients from "../../broker/registry/clients.ts";
import { createProject, getProject, listProjects } from "../../broker/registry/projects.ts";
import { grantsFor } from "../../broker/registry/grants.ts";
import { createRole, getRole, listRoles, updateRole } from "../../broker/registry/roles.ts";
import { checkSecret } from "../../broker/registry/secrets.ts";
import { parsePermission } from "../../shared/scope.ts";
import { asText, refusal, newKey, NOW, openFarm, openFixture } from "./fixture.ts";

describe("projects", () => {
  it("are listed by slug, with an audit row each", () => {
    const { r } = openFixture();
    createProject(r, "zoo");
    createProject(r, "farm");
    expect(listProjects(r)).toEqual([
      { slug: "farm", createdAt: NOW, tokensSince: 0 },
      { slug: "zoo", createdAt: NOW, tokensSince: 0 },
    ]);
    expect(getProject(r, "zoo").slug).toBe("zoo");
    const [row] = listAudit(r, { project: "farm", limit: 9 });
    expect(row).toMatchObject({ event: "project.created", actor: "admin", subject: "farm", at: NOW });
  });

  it.each(["", "a", "A", "1a", "a_b", "a.b", "-a", "a".repeat(32), "a b", "ä1"])("refuse the slug %j", (slug) => {
    const { r } = openFixture();
    expect(() => createProject(r, slug)).toThrow(refusal("registry.invalid"));
    expect(listProjects(r)).toEqual([]);
  });

  it("are made once, and found or not", () => {
    const { r } = openFarm();
    expect(() => createProject(r, "farm")).toThrow(refusal("registry.conflict"));
    expect(() => getProject(r, "zoo")).toThrow(refusal("registry.not-found"));
  });
});

describe("apis", () => {
  it("have defaults and are told to the sink", () => {
    const { r, told, api } = openFarm();
    expect(api).toEqual({
      project: "farm",
      name: "telemetry",
      kind: "mqtt",
      audience: "farm.telemetry",
      topics: ["sites/#"],
      scopes: [],
      ttlSeconds: 3600,
      format: null,
      bearer: false,
      purge: "client",
      createdAt: NOW,
    });
    expect(getApi(r, "farm", "telemetry")).toEqual(api);
    expect(listApis(r, "farm")).toEqual([api]);
    expect(findApi(r, "farm.telemetry")).toEqual(api);
    expect(findApi(r, "farm.other")).toBeUndefined();
    const trust = { audience: "farm.telemetry", kind: "mqtt", bearer: false, topics: ["sites/#"], purge: "client" };
    expect(told.apis.get("farm.telemetry")).toEqual(trust);
  });

  it("are found by the audience they were given, also when it was asked for before", () => {
    const { r } = openFarm();
    expect(findApi(r, "mqtts://broker.example")).toBeUndefined();
    const made = createApi(r, {
      project: "farm",
      name: "web",
      kind: "http",
      scopes: ["read", "write", "read"],
      audience: "mqtts://broker.example",
      bearer: true,
      format: "jwt",
      ttlSeconds: 5,
    });
    expect(made.scopes).toEqual(["read", "write"]);
    expect(findApi(r, "mqtts://broker.example")).toEqual(made);
  });

  it("are found by their name and by their audience, whatever the one of another looks like", () => {
    const { r, api } = openFarm();
    for (const text of ["farm/telemetry", "of farm/telemetry", "api farm/telemetry"]) {
      expect(findApi(r, text)).toBeUndefined();
      expect(findApiOf(r, "farm", "telemetry")).toEqual(api);
      expect(findApi(r, text)).toBeUndefined();
    }
    createProject(r, "zoo");
    const other = { project: "zoo", name: "a", kind: "http", scopes: ["x"], audience: "farm/telemetry" } as const;
    const made = createApi(r, other);
    expect(findApi(r, "farm/telemetry")).toEqual(made);
    expect(findApiOf(r, "farm", "telemetry")).toEqual(api);
  });

  it("are those of a client on which it holds a role, by name, and no others", () => {
    const { r, api } = openFarm();
    createProject(r, "zoo");
    for (const project of ["farm", "zoo"]) {
      createApi(r, { project, name: "a", kind: "http", scopes: ["x"] });
      createApi(r, { project, name: "b", kind: "http", scopes: ["x"] });
      for (const [name, on] of [
        ["one", "a"],
        ["more", "a"],
        ["b", "b"],
      ] as const) {
        createRole(r, { project, name, api: on, scopes: ["x"] });
      }
      clients.createClient(r, { project, name: "none", kind: "service" });
      clients.createClient(r, {
        project,
        name: "job",
        kind: "service",
        roles: project === "zoo" ? ["b"] : ["one", "more"],
      });
    }
    createRole(r, { project: "farm", name: "tele", api: "telemetry", permissions: [parsePermission("sub:sites/a")] });
    clients.setClientRoles(r, "farm.job", ["one", "more", "tele"]);
    expect(listHeldApis(r, { project: "farm", name: "job" })).toEqual([getApi(r, "farm", "a"), api]);
    expect(listHeldApis(r, { project: "zoo", name: "job" })).toEqual([getApi(r, "zoo", "b")]);
    expect(listHeldApis(r, { project: "farm", name: "none" })).toEqual([]);
  });

  const good: NewApi = { project: "farm", name: "a", kind: "mqtt", topics: ["a/#"] };
  it.each<[string, Partial<NewApi>, string]>([
    ["a bad name", { name: "a.b" }, "a name is"],
    ["no topics", { topics: [] }, "topics:"],
    ["scopes on mqtt", { scopes: ["a"] }, "scopes:"],
    ["topics on http", { kind: "http", scopes: ["a"] }, "topics:"],
    ["no scopes on http", { kind: "http", topics: [] }, "scopes:"],
    ["a scope with a space", { kind: "http", topics: [], scopes: ["a b"] }, "scopes.0"],
    ["a scope that reads as grants", { kind: "http", topics: [], scopes: ["W10"] }, "scopes.0"],
    ["an empty topic", { topics: [""] }, "topics.0"],
    ["a wildcard in a level", { topics: ["a", "a#"] }, "topics.1"],
    ["# before the end", { topics: ["#/a"] }, "topics.0"],
    ["NUL", { topics: ["a\0"] }, "topics.0"],
    ["$SYS", { topics: ["$SYS/#"] }, "closed"],
    ["a shared subscription", { topics: ["$share/g/a"] }, "closed"],
    ["a placeholder", { topics: ["a/${client}"] }, "placeholders"],
    ["authz-info", { topics: ["authz-info"] }, "authz-info"],
    ["below authz-info", { topics: ["authz-info/#"] }, "authz-info"],
    ["too many topics", { topics: Array.from({ length: 65 }, (_, i) => `t${i}`) }, "at most 64"],
    ["a ttl under 5 s", { ttlSeconds: 4 }, "ttl_seconds"],
    ["a ttl over 30 days", { ttlSeconds: 30 * 86_400 + 1 }, "ttl_seconds"],
    ["half a second", { ttlSeconds: 7.5 }, "ttl_seconds"],
    ["an empty audience", { audience: "" }, "audience"],
    ["a space in the audience", { audience: "a b" }, "audience"],
    ["the default audience of another project", { audience: "zoo.telemetry" }, "audience"],
  ])("refuse %s", (_, wrong, detail) => {
    const { r, told } = openFarm();
    expect(() => createApi(r, { ...good, ...wrong })).toThrow(refusal("registry.invalid", detail));
    expect(listApis(r, "farm")).toHaveLength(1);
    expect(told.apis.size).toBe(1);
  });

  it("refuse a name or an audience that is taken, and a project that is not there", () => {
    const { r } = openFarm();
    expect(() => createApi(r, { ...good, name: "telemetry" })).toThrow(refusal("registry.conflict"));
    expect(() => createApi(r, { ...good, audience: "farm.telemetry" })).toThrow(refusal("registry.conflict"));
    expect(() => createApi(r, { ...good, project: "zoo" })).toThrow(refusal("registry.not-found"));
  });
});

describe("roles", () => {
  const permissions = ["pub:sites/a"].map(parsePermission);

  it("give each client grants of its own, on one api and on all", () => {
    const { r, told, api } = openFarm();
    createApi(r, { project: "farm", name: "second", kind: "mqtt", topics: ["other/+"] });
    createRole(r, {
      project: "farm",
      name: "extra",
      api: "second",
      permissions: ["pubsub:other/${project}"].map(parsePermission),
    });
    clients.createClient(r, { project: "farm", name: "pi-1", kind: "device", roles: ["sensor", "extra"] });
    expect(asText(grantsFor(r, "farm.pi-1", api))).toEqual(["sub:sites/pi-1/down", "pub:sites/pi-1/up/#"]);
    expect(asText(grantsFor(r, "farm.pi-1", getApi(r, "farm", "second")))).toEqual(["pubsub:other/farm"]);
    expect(asText(told.clients.get("farm.pi-1")?.grants)).toEqual([
      "pubsub:other/farm",
      "sub:sites/pi-1/down",
      "pub:sites/pi-1/up/#",
    ]);
  });

  it("give nothing on the api of another project", () => {
    const { r } = openFarm();
    createProject(r, "zoo");
    const foreign = createApi(r, { project: "zoo", name: "telemetry", kind: "mqtt", topics: ["zoo/#"] });
    clients.createClient(r, { project: "farm", name: "pi-1", kind: "device", roles: ["sensor"] });
    expect(grantsFor(r, "farm.pi-1", foreign)).toEqual([]);
  });

  it("changed, change all who hold them and nobody else", () => {
    const { r, told, api } = openFarm();
    for (const name of ["pi-1", "pi-2"])
      clients.createClient(r, { project: "farm", name, kind: "device", roles: ["sensor"] });
    clients.createClient(r, { project: "farm", name: "other", kind: "device" });
    expect(grantsFor(r, "farm.pi-1", api)).toHaveLength(2);
    told.tellings = 0;
    updateRole(r, { project: "farm", name: "sensor", permissions: ["sub:sites/${client}"].map(parsePermission) });
    expect(told.tellings).toBe(2);
    expect(asText(told.clients.get("farm.pi-2")?.grants)).toEqual(["sub:sites/farm.pi-2"]);
    expect(asText(grantsFor(r, "farm.pi-1", api))).toEqual(["sub:sites/farm.pi-1"]);
    expect(asText(getRole(r, "farm", "sensor").permissions)).toEqual(["sub:sites/${client}"]);
    expect(listRoles(r, "farm")).toHaveLength(1);
    expect(listAudit(r, { project: "farm", limit: 1 })[0]).toMatchObject({
      event: "role.updated",
      subject: "farm.sensor",
      facts: { permissions: ["sub:sites/${client}"] },
    });
  });

  it.each<[string, string[], string]>([
    ["nothing", [], "permissions:"],
    ["more than the api", ["pub:#"], "permissions.0"],
    ["a sibling", ["pub:sites/a", "pub:site/a"], "permissions.1"],
    ["a placeholder where the api has a name", ["pub:${client}/a"], "permissions.0"],
    ["$SYS", ["sub:$SYS/#"], "permissions.0"],
  ])("refuse %s", (_, texts, detail) => {
    const { r } = openFarm();
    const wrong = { project: "farm", name: "bad", api: "telemetry", permissions: texts.map(parsePermission) };
    expect(() => createRole(r, wrong)).toThrow(refusal("registry.invalid", detail));
    expect(() => updateRole(r, { ...wrong, name: "sensor" })).toThrow(refusal("registry.invalid", detail));
    expect(asText(getRole(r, "farm", "sensor").permissions)).toHaveLength(2);
  });

  it.each<[string, string]>([
    ["an unknown placeholder", "sites/${secret}"],
    ["a placeholder within a level", "sites/x-${client}"],
    ["a bad filter", "sites/a#"],
    ["an empty filter", ""],
  ])("refuse %s that no parser has seen", (_, filter) => {
    const { r } = openFarm();
    const wrong = { project: "farm", name: "bad", api: "telemetry", permissions: [{ filter, pub: true, sub: false }] };
    expect(() => createRole(r, wrong)).toThrow(refusal("registry.invalid", "permissions.0"));
  });

  it("refuse a placeholder that only by chance lies within a literal topic", () => {
    const { r } = openFixture();
    createProject(r, "farm");
    createApi(r, { project: "farm", name: "narrow", kind: "mqtt", topics: ["sites/a", "lines/farm"] });
    const role = { project: "farm", name: "x", api: "narrow" };
    const byName = { ...role, permissions: ["pub:sites/${name}"].map(parsePermission) };
    expect(() => createRole(r, byName)).toThrow(refusal("registry.invalid", "permissions.0"));
    createRole(r, { ...role, permissions: ["pub:lines/${project}"].map(parsePermission) });
  });

  it("refuse authz-info also where the api covers it", () => {
    const { r } = openFixture();
    createProject(r, "farm");
    createApi(r, { project: "farm", name: "all", kind: "mqtt", topics: ["#"] });
    const wrong = { project: "farm", name: "x", api: "all", permissions: ["sub:authz-info"].map(parsePermission) };
    expect(() => createRole(r, wrong)).toThrow(refusal("registry.invalid", "authz-info"));
  });

  it("of kind http hold scopes of their api", () => {
    const { r } = openFarm();
    createApi(r, { project: "farm", name: "web", kind: "http", scopes: ["read", "write"] });
    const role = { project: "farm", name: "reader", api: "web" };
    expect(createRole(r, { ...role, scopes: ["read"] }).scopes).toEqual(["read"]);
    expect(() => createRole(r, { ...role, name: "x", scopes: ["admin"] })).toThrow(
      refusal("registry.invalid", "scopes.0"),
    );
    expect(() => createRole(r, { ...role, name: "x", scopes: ["read"], permissions })).toThrow(
      refusal("registry.invalid", "permissions:"),
    );
    expect(() => createRole(r, { ...role, name: "x", api: "telemetry", permissions, scopes: ["read"] })).toThrow(
      refusal("registry.invalid", "scopes:"),
    );
  });

  it("refuse an api of another project, a name that is taken, a role that is not there", () => {
    const { r } = openFarm();
    createProject(r, "zoo");
    expect(() => createRole(r, { project: "zoo", name: "x", api: "telemetry", permissions })).toThrow(
      refusal("registry.invalid", "api:"),
    );
    expect(() => createRole(r, { project: "farm", name: "sensor", api: "telemetry", permissions })).toThrow(
      refusal("registry.conflict"),
    );
    expect(() => updateRole(r, { project: "farm", name: "none", permissions })).toThrow(refusal("registry.not-found"));
  });
});

describe("clients", () => {
  it("of kind device have no secret, others have one that is not kept", () => {
    const { r } = openFarm();
    const device = clients.createClient(r, { project: "farm", name: "pi-1", kind: "device", roles: ["sensor"] });
    expect(device).toEqual({
      client: {
        id: "farm.pi-1",
        project: "farm",
        name: "pi-1",
        kind: "device",
        enabled: true,
        roles: ["sensor"],
        createdAt: NOW,
        tokensAfter: 0,
      },
    });
    const { secret } = clients.createClient(r, { project: "farm", name: "job", kind: "service" });
    expect(secret).toMatch(/^[A-Za-z0-9_-]{43}$/);
    expect(checkSecret(r, { project: "farm", client: "job" }, secret!)).toMatch(/^[0-9a-f]{12}$/);
    const rows = [...r.db.prepare("SELECT * FROM client").all(), ...r.db.prepare("SELECT * FROM secret").all()];
    expect(JSON.stringify(rows)).not.toContain(secret);
    expect(JSON.stringify(listAudit(r, { project: "farm", limit: 99 }))).not.toContain(secret);
  });

  it("disabled, are told to the sink and refused, until they are enabled again", () => {
    const { r, told } = openFarm();
    clients.createClient(r, { project: "farm", name: "pi-1", kind: "device", roles: ["sensor"] });
    expect(clients.getLiveClient(r, "farm.pi-1").enabled).toBe(true);
    expect(clients.setClientEnabled(r, "farm.pi-1", false).enabled).toBe(false);
    expect(told.clients.get("farm.pi-1")?.enabled).toBe(false);
    expect(() => clients.getLiveClient(r, "farm.pi-1")).toThrow(refusal("client.disabled"));
    expect(clients.setClientEnabled(r, "farm.pi-1", true).enabled).toBe(true);
    expect(told.clients.get("farm.pi-1")?.enabled).toBe(true);
    expect(clients.getLiveClient(r, "farm.pi-1").id).toBe("farm.pi-1");
    clients.setClientEnabled(r, "farm.pi-1", true);
    const events = listAudit(r, { project: "farm", limit: 99 }).map((row) => row.event);
    expect(events.slice(0, 3)).toEqual(["client.enabled", "client.disabled", "client.created"]);
  });

  it("hold the roles they are given, and lose those they are not", () => {
    const { r, told } = openFarm();
    clients.createClient(r, { project: "farm", name: "pi-1", kind: "device", roles: ["sensor"] });
    expect(clients.setClientRoles(r, "farm.pi-1", []).roles).toEqual([]);
    expect(told.clients.get("farm.pi-1")?.grants).toEqual([]);
    clients.setClientRoles(r, "farm.pi-1", ["sensor", "sensor"]);
    expect(asText(told.clients.get("farm.pi-1")?.grants)).toHaveLength(2);
    expect(() => clients.setClientRoles(r, "farm.pi-1", ["none"])).toThrow(refusal("registry.invalid", "roles.0"));
    expect(clients.getClient(r, "farm.pi-1").roles).toEqual(["sensor"]);
  });

  it("deleted, are gone with their certificates and secret, and leave their name taken", () => {
    const { r, told } = openFarm();
    const { secret } = clients.createClient(r, { project: "farm", name: "job", kind: "service", roles: ["sensor"] });
    const key = newKey();
    const dates = { notBefore: NOW, notAfter: NOW + 10 };
    recordCertificate(r, { serial: "01", clientId: "farm.job", key, ...dates, der: new Uint8Array([1]) });
    expect(liveCertificateKeys(r, "farm.job", NOW)).toHaveLength(1);
    clients.deleteClient(r, "farm.job");
    expect(told.clients.has("farm.job")).toBe(false);
    expect(clients.findClient(r, "farm.job")).toBeUndefined();
    expect(clients.listClients(r, "farm")).toEqual([]);
    expect(() => checkSecret(r, { project: "farm", client: "job" }, secret!)).toThrow(refusal("client.secret"));
    expect(r.db.prepare("SELECT count(*) FROM secret").pluck().get()).toBe(0);
    expect(liveCertificateKeys(r, "farm.job", NOW)).toEqual([]);
    expect(() => clients.getLiveClient(r, "farm.job")).toThrow(refusal("client.unknown"));
    expect(() => clients.getClient(r, "farm.job")).toThrow(refusal("registry.not-found"));
    expect(() => clients.setClientEnabled(r, "farm.job", true)).toThrow(refusal("registry.not-found"));
    expect(() => clients.deleteClient(r, "farm.job")).toThrow(refusal("registry.not-found"));
    expect(() => clients.createClient(r, { project: "farm", name: "job", kind: "service" })).toThrow(
      refusal("registry.conflict"),
    );
  });

  it("are refused a role of another project, by the check and by the schema", () => {
    const { r } = openFarm();
    createProject(r, "zoo");
    const foreign = { project: "zoo", name: "ape", kind: "device", roles: ["sensor"] } as const;
    expect(() => clients.createClient(r, foreign)).toThrow(refusal("registry.invalid", "roles.0"));
    expect(clients.findClient(r, "zoo.ape")).toBeUndefined();
    clients.createClient(r, { ...foreign, roles: [] });
    const smuggle = r.db.prepare("INSERT INTO client_role (project, client, role) VALUES (?, ?, ?)");
    expect(() => smuggle.run("zoo", "ape", "sensor")).toThrow("FOREIGN KEY");
    expect(() => smuggle.run("farm", "ape", "sensor")).toThrow("FOREIGN KEY");
  });

  it.each(["", "_a", "-a", "a.b", "a:b", "a/b", "a+", "a".repeat(64)])("refuse the name %j", (name) => {
    const { r } = openFarm();
    expect(() => clients.createClient(r, { project: "farm", name, kind: "device" })).toThrow(
      refusal("registry.invalid"),
    );
  });

  it("are listed by name, a page at a time", () => {
    const { r } = openFarm();
    for (const name of ["c", "a", "b"]) clients.createClient(r, { project: "farm", name, kind: "device" });
    expect(clients.listClients(r, "farm").map((c) => c.name)).toEqual(["a", "b", "c"]);
    expect(clients.listClients(r, "farm", { limit: 1, after: "a" }).map((c) => c.name)).toEqual(["b"]);
  });
});
