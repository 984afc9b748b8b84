/**
 * Who may what, for every row of the table of routes: a row that is added is covered by being there. What a permitted request
 * then does is for other tests; here it only gets beyond the door.
 */
import { beforeAll, describe, expect, it } from "vitest";
import { routes } from "../../broker/authority/registry-table.ts";
import type { Route } from "../../broker/authority/registry-route.ts";
import { createProject } from "../../broker/registry/projects.ts";
import { allPermissions, permissionsOf, type MemberRole, type Permission } from "../../broker/registry/members.ts";
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
    if (!route.path.endsWith("/logout")) expect(isAtTheDoor(await ask(route, "farm", people.auditor.token))).toBe(false);
  });

  it.each(of("developer"))("every developer: %s", async (_, route) => {
    expect(isAtTheDoor(await ask(route, "farm", people.auditor.token))).toBe(false);
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
