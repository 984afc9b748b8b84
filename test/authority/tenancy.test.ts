/**
 * Who may what, for every row of the table of routes: a row that is added is covered by being there. What a permitted request
 * then does is for other tests; here it only gets beyond the door.
 */
import { beforeAll, describe, expect, it } from "vitest";
import { routes } from "../../broker/authority/v1/registry-table.ts";
import type { Route } from "../../broker/authority/v1/registry-route.ts";
import { createProject } from "../../broker/registry/projects.ts";
import { allPermissions, permissionsOf, type MemberRole, type Permission } from "../../broker/registry/member-roles.ts";
import { openAccounts, type Accounts, type Answer, type Person } from "./accounts-fixture.ts";

const rows = routes.map((route): [string, Route] => [`${route.method} ${route.path}`, route]);
const ofProjects = rows.filter(([, { path }]) => path.includes(":project"));
const roles = Object.keys(permissionsOf) as MemberRole[];

/** Rows that look at the request as well: what it names here wants more than the row does. */
const wantsMore: Readonly<Record<string, Permission>> = {
  "DELETE /v1/projects/:project/members/:id": "own",
};

let served: Accounts;
const people = {} as Record<MemberRole | "outsider", Person>;

beforeAll(() => {
  served = openAccounts({ limits: { hashesWaiting: 1000 } });
  for (const slug of ["farm", "zoo"]) createProject(served.r, slug);
  for (const role of roles) people[role] = served.join(`${role}@farm.test`, { farm: role });
  people.outsider = served.join("outsider@zoo.test", { zoo: "owner" });
});

/** The least that a row is asked with. A body of the wrong kind is refused after the door. */
function ask({ method, path, sends }: Route, project: string, as: string | null): Promise<Answer> {
  const url = path.replace(":project", project).replaceAll(/:[a-z]+/g, "x");
  return served.ask(method, url, { as, ...(sends !== undefined && { body: { nonsense: true } }) });
}

/** An answer without what is another in each. */
function plain({ status, headers, body }: Answer): unknown {
  const { date: _, "content-length": __, ...same } = headers;
  const { id: ___, ...rest } = body as Record<string, unknown>;
  return { status, same, rest };
}

function isAtTheDoor({ status, body }: Answer): boolean {
  if (status === 401) return true;
  return status === 403 && (body as { type: string }).type === "urn:postern:refusal:access.permission";
}

it("every row says who may, and a permission is of a project that the path names", () => {
  expect(rows.length).toBeGreaterThan(50);
  for (const [name, { access, path }] of rows) {
    const isOfProject = (allPermissions as readonly string[]).includes(access);
    expect([name, isOfProject]).toEqual([name, path.includes(":project")]);
  }
});

describe("without a credential", () => {
  it.each(rows)("%s", async (_, route) => {
    const answer = await ask(route, "farm", null);
    if (route.access === "anyone") expect(answer.status).not.toBe(401);
    else expect([answer.status, answer.headers["www-authenticate"]]).toEqual([401, 'Bearer realm="postern"']);
  });

  it.each(rows.filter(([, { method }]) => method === "GET"))("HEAD instead of %s", async (_, { path }) => {
    const url = path.replaceAll(/:[a-z]+/g, "x");
    expect((await served.ask("HEAD", url, { as: null })).status).toBe(401);
  });
});

describe("of another project everybody hears what they hear of one that is not there", () => {
  it.each(ofProjects)("%s", async (_, route) => {
    const person = people.outsider;
    const keys = [served.keyOf(person, { scopes: allPermissions }), served.keyOf(person, { project: "zoo" })];
    for (const as of [person.token, ...keys]) {
      const foreign = await ask(route, "farm", as);
      const missing = await ask(route, "none", as);
      expect([foreign.status, served.reason()]).toEqual([404, "registry.not-found"]);
      expect(foreign.text.replaceAll("farm", "none")).toHaveLength(missing.text.length);
      expect(JSON.stringify(plain(foreign)).replaceAll("farm", "none")).toBe(JSON.stringify(plain(missing)));
    }
    served.r.db.exec("DELETE FROM api_key");
  });
});

describe("a member may what the role permits, and nothing else", () => {
  const cases = ofProjects.flatMap(([name, route]) =>
    roles.map((role): [string, MemberRole, Route] => [name, role, route]),
  );

  it.each(cases)("%s as %s", async (name, role, route) => {
    const { token } = people[role];
    const isPermitted = permissionsOf[role].includes(wantsMore[name] ?? (route.access as Permission));
    const answer = await ask(route, "farm", token);
    expect([answer.body, isAtTheDoor(answer)]).toEqual([answer.body, !isPermitted]);
    if (!isPermitted) expect(answer.status).toBe(403);
  });

  it.each(cases)("%s by a key of an %s, as far as its scopes go", async (name, role, route) => {
    const wanted = wantsMore[name] ?? (route.access as Permission);
    const others = allPermissions.filter((one) => one !== route.access && one !== wanted);
    const tries: [scopes: readonly Permission[], isPermitted: boolean][] = [
      [others, false],
      [allPermissions, permissionsOf[role].includes(wanted)],
    ];
    for (const [scopes, isPermitted] of tries) {
      const answer = await ask(route, "farm", served.keyOf(people[role], { scopes }));
      expect([scopes, answer.body, isAtTheDoor(answer)]).toEqual([scopes, answer.body, !isPermitted]);
    }
    served.r.db.exec("DELETE FROM api_key");
  });
});

describe("a row for", () => {
  const of = (access: Route["access"]): [string, Route][] => rows.filter(([, route]) => route.access === access);

  it.each(of("admin"))("the administrator: %s", async (_, route) => {
    const key = served.keyOf(people.owner, { scopes: allPermissions });
    for (const as of [people.owner.token, key]) {
      expect([(await ask(route, "farm", as)).status, served.reason()]).toEqual([403, "access.permission"]);
    }
    served.r.db.exec("DELETE FROM api_key");
  });

  it.each(of("login"))("a developer who has logged in: %s", async (_, route) => {
    const key = served.keyOf(people.owner, { scopes: allPermissions });
    for (const as of [key, "the-admin-key"]) {
      expect([(await ask(route, "farm", as)).status, served.reason()]).toEqual([403, "access.permission"]);
    }
    served.r.db.exec("DELETE FROM api_key");
    if (!route.path.endsWith("/logout"))
      expect(isAtTheDoor(await ask(route, "farm", people.auditor.token))).toBe(false);
  });

  it.each(of("developer"))("every developer: %s", async (_, route) => {
    expect(isAtTheDoor(await ask(route, "farm", people.auditor.token))).toBe(false);
  });
});

describe("a thing of another project, under one's own project, is one that is not there", () => {
  /** Bodies that say nothing wrong, for rows that take one. */
  const bodies: Readonly<Record<string, unknown>> = {
    RoleContents: { scopes: ["read"] },
    ClientChange: { enabled: false },
    MemberChange: { role: "admin" },
    NewSecret: {},
    PublicKeys: { keys: [] },
  };
  const withNames = ofProjects.filter(([, { path }]) => /:(?!project)/.test(path));
  let things: Awaited<ReturnType<typeof furnishBoth>>;

  beforeAll(async () => {
    things = await furnishBoth();
  });

  /** The same kinds of things in both projects, under other names. */
  async function furnishBoth() {
    const make = async (project: string, name: string) => {
      const made = async (path: string, body: unknown): Promise<Record<string, string>> => {
        const answer = await served.ask("POST", `/v1/projects/${project}${path}`, { body });
        expect([path, answer.status]).toEqual([path, 201]);
        return answer.body as Record<string, string>;
      };
      await made("/apis", { name: `${name}-api`, kind: "http", scopes: ["read"] });
      await made("/roles", { name: `${name}-role`, api: `${name}-api`, scopes: ["read"] });
      await made("/clients", { name: `${name}-client`, kind: "service" });
      return {
        "apis/:api": `${name}-api`,
        "roles/:role": `${name}-role`,
        "clients/:name": `${name}-client`,
        "tickets/:id": (await made("/tickets", { client: `${name}-client` }))["id"]!,
        "clients/:name/secrets/:id": (await made(`/clients/${name}-client/secrets`, {}))["id"]!,
        "apis/:api/secrets/:id": (await made(`/apis/${name}-api/secrets`, {}))["id"]!,
        "invitations/:id": (await made("/invitations", { email: `${name}@new.test`, role: "auditor" }))["id"]!,
        "members/:id": (project === "farm" ? people.owner : people.outsider).id,
      } as Readonly<Record<string, string>>;
    };
    return { farm: await make("farm", "own"), zoo: await make("zoo", "their") };
  }

  /** Fills what a path names: all but the last from one's own project. */
  function fill(path: string, last: (place: string) => string | undefined): string {
    const parts = path.replace("/v1/projects/:project/", "").split("/");
    const end = parts.findLastIndex((part) => part.startsWith(":"));
    const filled = parts.map((part, at) => {
      if (!part.startsWith(":")) return part;
      const place = parts.slice(0, at + 1).join("/");
      const name = at === end ? last(place) : things.farm[place];
      expect([place, typeof name]).toEqual([place, "string"]);
      return name!;
    });
    return `/v1/projects/farm/${filled.join("/")}`;
  }

  /** Rows of what was done: refusals are others, and so is the count of those that were left out, which comes by a timer. */
  function countChanges(): unknown {
    const sql = "SELECT count(*) FROM audit WHERE event NOT IN ('request.refused', 'refusals.left-out')";
    return served.r.db.prepare(sql).pluck().get();
  }

  it.each(withNames)("%s", async (_, { method, path, sends }) => {
    const asked = { as: people.owner.token, ...(sends !== undefined && { body: bodies[sends] }) };
    const before = countChanges();
    let name = "";
    const foreign = await served.ask(
      method,
      fill(path, (place) => (name = things.zoo[place]!)),
      asked,
    );
    const missing = await served.ask(
      method,
      fill(path, () => "x".repeat(name.length)),
      asked,
    );
    expect([foreign.status, served.reason()]).toEqual([404, "registry.not-found"]);
    const words = JSON.stringify(plain(foreign)).replaceAll(name, "x".repeat(name.length));
    expect(words).toBe(JSON.stringify(plain(missing)));
    expect(countChanges()).toBe(before);
  });

  it("and in the body of a wish to revoke", async () => {
    const url = "/v1/projects/farm/revocations";
    for (const [body, says] of [
      [{ clients: ["zoo.their-client"] }, "no client zoo.their-client"],
      [{ clients: ["zoo.none"] }, "no client zoo.none"],
      [{ certificates: ["0b"] }, "no certificate 0b"],
    ] as const) {
      const answer = await served.ask("POST", url, { as: people.owner.token, body });
      expect([answer.status, answer.body.detail]).toEqual([404, says]);
    }
  });

  it("and one's own is found by the same requests", async () => {
    for (const [, { method, path }] of withNames) {
      if (method !== "GET") continue;
      const url = fill(path, (place) => things.farm[place]);
      expect([path, (await served.ask("GET", url, { as: people.auditor.token })).status]).toEqual([path, 200]);
    }
  });
});

it("the holder of the admin key may everything in every project", async () => {
  for (const [name, route] of ofProjects) {
    expect([name, isAtTheDoor(await ask(route, "farm", "the-admin-key"))]).toEqual([name, false]);
  }
});

it("whoever may not is refused before the body is read", async () => {
  for (const [, { method, path, sends }] of ofProjects) {
    if (sends === undefined) continue;
    const url = path.replace(":project", "farm").replaceAll(/:[a-z]+/g, "x");
    const body = { padding: "x".repeat(2 * 1024 * 1024) };
    expect((await served.ask(method, url, { as: people.outsider.token, body })).status).toBe(404);
  }
});
