/** `/v1` over injected requests, with an error handler that shows what was thrown. */
import Fastify, { type FastifyInstance, type InjectOptions } from "fastify";
import { describe, expect, it } from "vitest";
import { pino } from "pino";
import { z } from "zod";
import { defaultLimits } from "../../broker/authority/context.ts";
import { answered } from "../../broker/authority/v1/registry-bodies.ts";
import { InvalidFields } from "../../broker/authority/v1/registry-fields.ts";
import { registerRegistryRoutes } from "../../broker/authority/v1/registry-routes.ts";
import { routes } from "../../broker/authority/v1/registry-table.ts";
import { recordCertificate } from "../../broker/registry/certificates.ts";
import { checkSecret } from "../../broker/registry/secrets.ts";
import { ensureSigningKey } from "../../broker/registry/signing-keys.ts";
import { redeemTicket } from "../../broker/registry/tickets.ts";
import { meaningOf, Refusal } from "../../shared/refusal.ts";
import { parseTicket } from "../../shared/ticket.ts";
import { newKey, NOW, openFixture, type Fixture } from "../registry/fixture.ts";

const adminKey = "the-admin-key";
const pin = "ab".repeat(32);
const issuer = "https://localhost:8443";

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  // oxlint-disable-next-line typescript/no-explicit-any
  readonly body: any;
}

interface Served extends Fixture {
  readonly app: FastifyInstance;
  readonly ask: (
    method: InjectOptions["method"],
    url: string,
    body?: unknown,
    authorization?: string | null,
  ) => Promise<Answer>;
}

function serve(): Served {
  const fixture = openFixture();
  const app = Fastify();
  app.setErrorHandler((error, _, reply) => {
    if (!(error instanceof Refusal)) return reply.code(500).send({ reason: "internal", detail: String(error) });
    const errors = error instanceof InvalidFields ? error.errors : undefined;
    return reply.code(meaningOf(error.reason).http).send({ reason: error.reason, detail: error.detail, errors });
  });
  registerRegistryRoutes(app, {
    registry: fixture.r,
    issuer,
    adminKey,
    ca: { pin },
    accounts: { registration: "invite", sendMail: () => undefined },
    limits: defaultLimits,
    log: pino({ level: "silent" }),
  });
  return {
    ...fixture,
    app,
    async ask(method, url, body, authorization = `Bearer ${adminKey}`) {
      const response = await app.inject({
        method,
        url,
        ...(body === undefined ? {} : { payload: body as object }),
        headers: authorization === null ? {} : { authorization },
      } as InjectOptions);
      const text = response.body;
      return {
        status: response.statusCode,
        headers: response.headers,
        body: text === "" ? undefined : JSON.parse(text),
      };
    },
  };
}

/** Project `farm` with api `telemetry`, role `sensor` and device `pi-1`. */
async function serveFarm(): Promise<Served> {
  const served = serve();
  const made = [
    await served.ask("POST", "/v1/projects", { slug: "farm" }),
    await served.ask("POST", "/v1/projects/farm/apis", { name: "telemetry", kind: "mqtt", topics: ["sites/#"] }),
    await served.ask("POST", "/v1/projects/farm/roles", {
      name: "sensor",
      api: "telemetry",
      permissions: ["pub:sites/${name}/#", "pubsub:sites/${client}"],
    }),
    await served.ask("POST", "/v1/projects/farm/clients", { name: "pi-1", kind: "device", roles: ["sensor"] }),
  ];
  expect(made.map(({ status }) => status)).toEqual([201, 201, 201, 201]);
  return served;
}

function expectShape(name: keyof typeof answered, body: unknown): void {
  const { shape } = answered[name] as z.ZodObject;
  expect(z.strictObject(shape).safeParse(body).error).toBeUndefined();
}

describe("the admin key", () => {
  it.each<[string, string | null]>([
    ["absent", null],
    ["empty", ""],
    ["another", "Bearer another-key"],
    ["a prefix", `Bearer ${adminKey.slice(0, -1)}`],
    ["longer", `Bearer ${adminKey}x`],
    ["in another scheme", `Basic ${adminKey}`],
    ["without a scheme", adminKey],
    ["followed by something", `Bearer ${adminKey} x`],
  ])("%s is refused, on every route that is not for anyone and before anything is read", async (_, authorization) => {
    const { ask, r } = serve();
    for (const { method, path, access } of routes) {
      if (access === "anyone") continue;
      const answer = await ask(method, path.replaceAll(/:[a-z]+/g, "x"), { slug: "farm" }, authorization);
      expect([path, answer.status, answer.body.reason]).toEqual([path, 401, "admin.key"]);
    }
    expect(r.db.prepare("SELECT count(*) FROM project").pluck().get()).toBe(0);
  });

  it("lets in whatever the case of the scheme", async () => {
    expect((await serve().ask("GET", "/v1/projects", undefined, `bearer ${adminKey}`)).status).toBe(200);
  });
});

describe("what is made", () => {
  it("is answered with its place, and found there and in its list", async () => {
    const { ask } = await serveFarm();
    const cases = [
      ["Project", "/v1/projects", { slug: "zoo" }, "/v1/projects/zoo"],
      [
        "Api",
        "/v1/projects/farm/apis",
        {
          name: "web",
          kind: "http",
          scopes: ["read"],
          ttl_seconds: 60,
          format: "jwt",
          bearer: true,
          audience: "https://web",
        },
        "/v1/projects/farm/apis/web",
      ],
      [
        "Role",
        "/v1/projects/farm/roles",
        { name: "reader", api: "web", scopes: ["read"] },
        "/v1/projects/farm/roles/reader",
      ],
      [
        "Client",
        "/v1/projects/farm/clients",
        { name: "pi-2", kind: "device", roles: ["reader"] },
        "/v1/projects/farm/clients/pi-2",
      ],
    ] as const;
    for (const [name, list, body, place] of cases) {
      const made = await ask("POST", list, body);
      expect([made.status, made.headers["location"]]).toEqual([201, place]);
      expect(made.body).toMatchObject(body);
      expectShape(name, made.body);
      expect((await ask("GET", place)).body).toEqual(made.body);
      expect((await ask("GET", list)).body.items).toContainEqual(made.body);
      expect((await ask("POST", list, body)).body.reason).toBe("registry.conflict");
    }
  });

  it("has a secret when it is a service or an app, in that answer alone", async () => {
    const { ask, r } = await serveFarm();
    for (const kind of ["service", "app"]) {
      const { body, headers } = await ask("POST", "/v1/projects/farm/clients", { name: kind, kind });
      expectShape("Client", body);
      expect(checkSecret(r, { project: "farm", client: kind }, body.client_secret)).toMatch(/^[0-9a-f]{12}$/);
      expect(headers["cache-control"]).toBe("no-store");
      expect((await ask("GET", `/v1/projects/farm/clients/${kind}`)).body.client_secret).toBeUndefined();
    }
  });

  it("keeps permissions as they were written", async () => {
    const { ask } = await serveFarm();
    const role = "/v1/projects/farm/roles/sensor";
    expect((await ask("GET", role)).body.permissions).toEqual(["pub:sites/${name}/#", "pubsub:sites/${client}"]);
    const put = await ask("PUT", role, { permissions: ["sub:sites/a"] });
    expect([put.status, put.body.permissions, put.body.api]).toEqual([200, ["sub:sites/a"], "telemetry"]);
    expect((await ask("GET", role)).body).toEqual(put.body);
  });
});

describe("clients", () => {
  it("are disabled, given roles, and deleted", async () => {
    const { ask, told } = await serveFarm();
    const pi = "/v1/projects/farm/clients/pi-1";
    expect((await ask("PATCH", pi, { enabled: false })).body).toMatchObject({ enabled: false, roles: ["sensor"] });
    expect(told.clients.get("farm.pi-1")?.enabled).toBe(false);
    expect((await ask("PATCH", pi, { enabled: true, roles: [] })).body).toMatchObject({ enabled: true, roles: [] });
    const gone = await ask("DELETE", pi);
    expect([gone.status, gone.body]).toEqual([204, undefined]);
    expect((await ask("GET", pi)).status).toBe(404);
    expect((await ask("DELETE", pi)).status).toBe(404);
    expect((await ask("POST", "/v1/projects/farm/clients", { name: "pi-1", kind: "device" })).status).toBe(409);
  });

  it("are changed wholly or not at all", async () => {
    const { ask } = await serveFarm();
    const pi = "/v1/projects/farm/clients/pi-1";
    expect((await ask("PATCH", pi, { enabled: false, roles: ["none"] })).body.reason).toBe("registry.invalid");
    expect((await ask("GET", pi)).body).toMatchObject({ enabled: true, roles: ["sensor"] });
  });
});

describe("tickets", () => {
  it("are answered once in full: the string, its parts and its end", async () => {
    const { ask, r } = await serveFarm();
    const { body, status, headers } = await ask("POST", "/v1/projects/farm/tickets", {
      client: "pi-1",
      ttl_seconds: 60,
    });
    expectShape("IssuedTicket", body);
    expect([status, headers["location"]]).toEqual([201, `/v1/projects/farm/tickets/${body.id}`]);
    expect(parseTicket(body.ticket)).toEqual({ authority: issuer, pin, secret: body.secret });
    expect(body).toMatchObject({ authority: issuer, pin, expires_at: NOW + 60, expires: "2027-01-15T08:01:00Z" });
    const found = await ask("GET", `/v1/projects/farm/tickets/${body.id}`);
    expectShape("Ticket", found.body);
    expect(found.body).toMatchObject({ client: "farm.pi-1", uses: 1, used: 0, revoked: false });
    expect(JSON.stringify(found.body)).not.toContain(body.secret);
    expect(redeemTicket(r, body.secret, newKey()).client.id).toBe("farm.pi-1");
  });

  it("are revoked, in their own project", async () => {
    const { ask, r } = await serveFarm();
    await ask("POST", "/v1/projects", { slug: "zoo" });
    const { body } = await ask("POST", "/v1/projects/farm/tickets", { uses: 5, roles: ["sensor"] });
    expect((await ask("DELETE", `/v1/projects/zoo/tickets/${body.id}`)).status).toBe(404);
    expect((await ask("GET", `/v1/projects/zoo/tickets/${body.id}`)).status).toBe(404);
    expect((await ask("DELETE", `/v1/projects/farm/tickets/${body.id}`)).status).toBe(204);
    expect((await ask("GET", `/v1/projects/farm/tickets`)).body.items).toMatchObject([{ id: body.id, revoked: true }]);
    expect(() => redeemTicket(r, body.secret, newKey())).toThrow("ticket.revoked");
  });
});

describe("lists", () => {
  it("come a page at a time and say where to go on", async () => {
    const { ask } = await serveFarm();
    for (const name of ["b", "a", "c"]) await ask("POST", "/v1/projects/farm/clients", { name, kind: "device" });
    const names: string[] = [];
    let after: string | undefined = "";
    while (after !== undefined) {
      const { body }: Answer = await ask("GET", `/v1/projects/farm/clients?limit=3${after}`);
      names.push(...body.items.map((client: { name: string }) => client.name));
      after = body.next === undefined ? undefined : `&after=${body.next}`;
    }
    expect(names).toEqual(["a", "b", "c", "pi-1"]);
  });

  it("tell the audit newest first, certificates by client, and public keys without private ones", async () => {
    const { ask, r } = await serveFarm();
    const audit = await ask("GET", "/v1/projects/farm/audit?limit=2");
    audit.body.items.forEach((entry: unknown) => expectShape("AuditEntry", entry));
    expect(audit.body.items.map((e: { event: string }) => e.event)).toEqual(["client.created", "role.created"]);
    const older = await ask("GET", `/v1/projects/farm/audit?before=${audit.body.next}`);
    expect(older.body.items.map((e: { event: string }) => e.event)).toEqual(["api.created", "project.created"]);

    const dates = { notBefore: NOW, notAfter: NOW + 10 };
    recordCertificate(r, { serial: "0A", clientId: "farm.pi-1", key: newKey(), ...dates, der: new Uint8Array([1]) });
    const held = await ask("GET", "/v1/certificates?client=farm.pi-1");
    expectShape("Certificate", held.body.items[0]);
    expect(held.body.items).toMatchObject([{ serial: "a", client: "farm.pi-1", not_after: NOW + 10 }]);
    expect((await ask("GET", "/v1/certificates?client=farm.pi-2")).body.items).toEqual([]);

    ensureSigningKey(r);
    const keys = await ask("GET", "/v1/keys");
    expectShape("SigningKey", keys.body.items[0]);
    expect(Object.keys(keys.body.items[0].jwk).sort()).toEqual(["crv", "kty", "x", "y"]);
  });
});

describe("a bad request changes nothing and names the field", () => {
  const rows: [InjectOptions["method"], string, unknown, string][] = [
    ["POST", "/v1/projects", undefined, ""],
    ["POST", "/v1/projects", [], ""],
    ["POST", "/v1/projects", {}, "slug"],
    ["POST", "/v1/projects", { slug: 1 }, "slug"],
    ["POST", "/v1/projects", { slug: "A" }, "slug"],
    ["POST", "/v1/projects", { slug: "zoo", owner: "me" }, "owner"],
    ["POST", "/v1/projects/farm/apis", { name: "a", kind: "coap", topics: ["a"] }, "kind"],
    ["POST", "/v1/projects/farm/apis", { name: "a", kind: "mqtt", topics: "a" }, "topics"],
    ["POST", "/v1/projects/farm/apis", { name: "a", kind: "mqtt", topics: ["a", 1] }, "topics.1"],
    ["POST", "/v1/projects/farm/apis", { name: "a", kind: "mqtt", topics: ["a"], ttl_seconds: "1h" }, "ttl_seconds"],
    ["POST", "/v1/projects/farm/apis", { name: "a", kind: "mqtt", topics: ["a"], ttl_seconds: 4 }, "ttl_seconds"],
    ["POST", "/v1/projects/farm/apis", { name: "a", kind: "mqtt", topics: ["a"], bearer: "yes" }, "bearer"],
    ["POST", "/v1/projects/farm/roles", { name: "a", api: "telemetry", permissions: ["all:sites/a"] }, "permissions.0"],
    [
      "POST",
      "/v1/projects/farm/roles",
      { name: "a", api: "telemetry", permissions: ["pub:sites/${x}"] },
      "permissions.0",
    ],
    ["PUT", "/v1/projects/farm/roles/sensor", { name: "b", permissions: ["pub:sites/a"] }, "name"],
    ["POST", "/v1/projects/farm/clients", { name: "a.b", kind: "device" }, "name"],
    ["POST", "/v1/projects/farm/clients", { name: "a", kind: "robot" }, "kind"],
    ["POST", "/v1/projects/farm/clients", { name: "a", kind: "device", client_secret: "x" }, "client_secret"],
    ["PATCH", "/v1/projects/farm/clients/pi-1", {}, ""],
    ["PATCH", "/v1/projects/farm/clients/pi-1", { enabled: 0 }, "enabled"],
    ["PATCH", "/v1/projects/farm/clients/pi-1", { kind: "app" }, "kind"],
    ["POST", "/v1/projects/farm/tickets", { uses: 0 }, "uses"],
    ["POST", "/v1/projects/farm/tickets", { uses: 1, ttl: 5 }, "ttl"],
    ["GET", "/v1/projects/farm/clients?limit=0", undefined, "limit"],
    ["GET", "/v1/projects/farm/clients?offset=1", undefined, "offset"],
    ["GET", "/v1/projects/farm/clients?after=a&after=b", undefined, "after"],
    ["GET", "/v1/projects/farm/audit?before=x", undefined, "before"],
  ];

  it.each(rows)("%s %s %j", async (method, url, body, path) => {
    const { ask, r } = await serveFarm();
    const before = r.db.prepare("SELECT count(*) FROM audit").pluck().get();
    const answer = await ask(method, url, body);
    expect([answer.status, answer.body.reason]).toEqual([422, "registry.invalid"]);
    expect(answer.body.errors).toEqual([
      { pointer: `#/${path.replace(".", "/")}`, detail: expect.any(String) as string },
    ]);
    expect(answer.body.detail).toContain(path);
    expect(r.db.prepare("SELECT count(*) FROM audit").pluck().get()).toBe(before);
  });

  it.each([
    ["GET", "/v1/projects/none"],
    ["GET", "/v1/projects/none/apis"],
    ["GET", "/v1/projects/none/audit"],
    ["GET", "/v1/projects/farm/apis/none"],
    ["GET", "/v1/projects/farm/roles/none"],
    ["GET", "/v1/projects/farm/clients/none"],
    ["GET", "/v1/projects/farm/clients/%00"],
    ["DELETE", "/v1/projects/farm/clients/none"],
    ["DELETE", "/v1/projects/farm/tickets/none"],
  ] as const)("%s %s is not found", async (method, url) => {
    const { ask } = await serveFarm();
    const answer = await ask(method, url);
    expect([answer.status, answer.body.reason]).toEqual([404, "registry.not-found"]);
  });
});

describe("the OpenAPI document", () => {
  it("is given to anybody and has every route, with schemas that exist", async () => {
    const { ask } = serve();
    const { body, status } = await ask("GET", "/openapi.json", undefined, null);
    expect([status, body.openapi, body.servers[0].url]).toEqual([200, "3.1.0", issuer]);
    const described = Object.entries(body.paths as Record<string, object>).flatMap(([path, operations]) =>
      Object.keys(operations).map((method) => `${method.toUpperCase()} ${path}`),
    );
    expect(described).toEqual(
      expect.arrayContaining(routes.map((r) => `${r.method} ${r.path.replaceAll(/:(\w+)/g, "{$1}")}`)),
    );
    expect(new Set(described).size).toBe(described.length);
    for (const [, name] of JSON.stringify(body).matchAll(/#\/components\/schemas\/(\w+)/g)) {
      expect(body.components.schemas).toHaveProperty(name!);
    }
    const ids = [...JSON.stringify(body).matchAll(/"operationId":"([^"]+)"/g)].map(([, id]) => id);
    expect(new Set(ids).size).toBe(described.length);
  });

  it("says what the routes ask for", async () => {
    const { body } = await serve().ask("GET", "/openapi.json");
    const { NewApi, NewProject } = body.components.schemas;
    expect(NewApi.required).toEqual(["name", "kind"]);
    expect(NewApi.additionalProperties).toBe(false);
    expect(NewApi.properties.ttl_seconds).toMatchObject({ minimum: 5, maximum: 2_592_000 });
    expect(new RegExp(NewProject.properties.slug.pattern).test("farm")).toBe(true);
    const { parameters } = body.paths["/v1/projects/{project}/clients"].get;
    expect(parameters.map((p: { name: string; in: string }) => `${p.in} ${p.name}`)).toEqual([
      "path project",
      "query limit",
      "query after",
    ]);
  });
});
