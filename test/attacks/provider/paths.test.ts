/**
 * Every name in every path of `/v1`, and every parameter of every query, with what is none: SQL, headers, other encodings, dots,
 * things of another project. Nothing changes, nothing that was sent comes back as a header, and each has its exact error.
 */
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import type { Route } from "../../../broker/authority/v1/registry-route.ts";
import { routes } from "../../../broker/authority/v1/registry-table.ts";
import { createClient } from "../../../broker/registry/clients.ts";
import { createSecret } from "../../../broker/registry/secrets.ts";
import type { Reason } from "../../../shared/refusal.ts";
import type { Answer } from "../../authority/fixture.ts";
import { readJson } from "../../authority/http-apis.ts";
import { fillPath, fillWith, openGround, type Ground } from "./ground.ts";
import { right } from "./right-bodies.ts";

vi.mock("node:crypto", async (original) => {
  const { cheapen } = await import("../../authority/cheap-scrypt.ts");
  return cheapen(await original());
});

let at: Ground;
beforeAll(async () => {
  at = await openGround();
});
afterAll(() => at.close());

const rows = routes.map((route) => [`${route.method} ${route.path}`, route] as const);

/** Asks with a body that the schema takes, so that the path is what is wrong. */
function ask(route: Route, path: string): Promise<Answer> {
  const body = route.sends === undefined ? undefined : JSON.stringify(bodyFor(route.sends));
  return at.ask(route, path, { type: body === undefined ? undefined : "application/json", body });
}

function bodyFor(name: keyof typeof right): object {
  // a ticket is for a client or for many, not for both
  return name === "NewTicket" ? { uses: 1 } : right[name].full;
}

/** What has to be so whatever was asked. */
function assertClean(answer: Answer): void {
  const known = new Set([
    "allow",
    "cache-control",
    "connection",
    "content-length",
    "content-type",
    "date",
    "keep-alive",
    "pragma",
    "retry-after",
    "www-authenticate",
  ]);
  expect(Object.keys(answer.headers).filter((name) => !known.has(name))).toEqual([]);
  expect(JSON.stringify(answer.headers)).not.toMatch(/injected|SELECT|DROP/);
}

describe("the table of headers", () => {
  it("is one that a good answer keeps to as well", async () => {
    const answer = await at.ask({ access: "admin", method: "GET" }, "/v1/projects/farm");
    expect(answer.status).toBe(200);
    assertClean(answer);
  });
});

const oddities: readonly (readonly [name: string, status: number, reason: Reason])[] = [
  ["'%20OR%20'1'='1", 404, "registry.not-found"],
  ["%27%20OR%201=1%20--", 404, "registry.not-found"],
  ["x';DROP%20TABLE%20audit;--", 404, "registry.not-found"],
  ["x%27%20UNION%20SELECT%20*%20FROM%20secret--", 404, "registry.not-found"],
  ["%25", 404, "registry.not-found"],
  ["_", 404, "registry.not-found"],
  ["*", 404, "registry.not-found"],
  ["%00", 404, "registry.not-found"],
  ["own-client%00", 404, "registry.not-found"],
  ["%0d%0aset-cookie:%20injected=1", 404, "registry.not-found"],
  ["%E5%98%8A%E5%98%8Dset-cookie:injected=1", 404, "registry.not-found"],
  ["%1b[2J", 404, "registry.not-found"],
  ["%7f", 404, "registry.not-found"],
  ["%252e%252e", 404, "registry.not-found"],
  ["%2e%2e%2ffarm", 404, "registry.not-found"],
  ["..%5cfarm", 404, "registry.not-found"],
  ["%EF%BC%87", 404, "registry.not-found"],
  ["f%D0%B0rm", 404, "registry.not-found"],
  ["constructor", 404, "registry.not-found"],
  ["__proto__", 404, "registry.not-found"],
  ["undefined", 404, "registry.not-found"],
  ["null", 404, "registry.not-found"],
  ["0", 404, "registry.not-found"],
  ["-1", 404, "registry.not-found"],
  ["farm%20", 404, "registry.not-found"],
  ["%09farm", 404, "registry.not-found"],
  ["FARM", 404, "registry.not-found"],
  ["OWN-CLIENT", 404, "registry.not-found"],
  ["x".repeat(256), 404, "registry.not-found"],
  ["x".repeat(257), 400, "request.malformed"],
  ["x".repeat(4_000), 400, "request.malformed"],
  ["%ff", 400, "request.malformed"],
  ["%c0%ae%c0%ae", 400, "request.malformed"],
  ["%ed%a0%80", 400, "request.malformed"],
  ["%", 400, "request.malformed"],
  ["%zz", 400, "request.malformed"],
  ["%u0027", 400, "request.malformed"],
];

describe.each(rows.filter(([, { path }]) => path.includes(":")))("a name in %s", (_title, route) => {
  const places = [...route.path.matchAll(/:[a-z]+/g)].map(({ index }) => index);
  const cases = places
    .flatMap((place) => oddities.map((odd) => [odd[0].slice(0, 48), place, odd] as const))
    .filter(([, , [name]]) => route.sends !== "NewBrokerTicket" || !isName(name));

  it.each(cases)("that is %s, at %i", async (_name, place, [name, status, reason]) => {
    const isNew = route.sends === "NewBrokerTicket" && reason === "registry.not-found";
    const path = fillPath(at, route.path.slice(0, place)) + name + restOf(route.path.slice(place));
    const before = at.picture();
    const answer = await ask(route, path);
    // a broker comes about by its first ticket, and what is no name is a field that is wrong
    expect([answer.status, at.reason()]).toEqual(isNew ? [422, "registry.invalid"] : [status, reason]);
    assertClean(answer);
    expect(at.picture() === before).toBe(true);
  });

  it.each(["..", ".", "%2e%2e", "%2E"])("that is %s leads nowhere else", async (name) => {
    for (const place of places) {
      const path = fillPath(at, route.path.slice(0, place)) + name + restOf(route.path.slice(place));
      const before = at.picture();
      const answer = await ask(route, path);
      expect([path, answer.status === 404 || answer.status === 422]).toEqual([path, true]);
      expect(at.picture() === before).toBe(true);
    }
  });

  it("that is empty is another path", async () => {
    for (const place of places) {
      const path = fillPath(at, route.path.slice(0, place)) + restOf(route.path.slice(place));
      const before = at.picture();
      const { status } = await ask(route, path);
      expect([path, [404, 405, 422].includes(status)]).toEqual([path, true]);
      expect(at.picture() === before).toBe(true);
    }
  });

  function restOf(path: string): string {
    return path.replace(/^:[a-z]+/, "").replaceAll(/:[a-z]+/g, "x");
  }
});

function isName(text: string): boolean {
  return /^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/.test(text);
}

/** Their real ids; `tenancy.test.ts` has the same for those who own one of the projects, and for what stands last alone. */
describe("what is another project's is not there, for the holder of the admin key as well", () => {
  const withNames = rows.filter(([, { path }]) => /^\/v1\/projects\/:project\/.*:/.test(path));

  it.each(withNames)("%s", async (_title, route) => {
    const names = [...route.path.matchAll(/:(?!project)[a-z]+/g)].length;
    // every mixture of one's own and theirs, but all one's own
    for (let mixture = 1; mixture < 2 ** names; mixture++) {
      const seen: unknown[] = [];
      for (const find of [(place: string) => at.zoo[place]!, (place: string) => "y".repeat(at.zoo[place]!.length)]) {
        let index = 0;
        const theirs: string[] = [];
        const path = fillWith(route.path, (place) => {
          if (((mixture >> index++) & 1) === 0) return at.farm[place];
          theirs.push(find(place));
          return theirs.at(-1);
        });
        const before = at.picture();
        const answer = await ask(route, path);
        expect([path, answer.status, at.reason()]).toEqual([path, 404, "registry.not-found"]);
        expect(at.picture() === before).toBe(true);
        seen.push(alike(answer, theirs));
      }
      expect(seen[0]).toEqual(seen[1]);
    }
  });

  it("and one's own is, by the same requests", async () => {
    for (const [title, route] of withNames) {
      if (route.method !== "GET") continue;
      expect([title, (await ask(route, fillPath(at, route.path))).status]).toEqual([title, 200]);
    }
  });

  it("nor is what another client or api of the same project has", async () => {
    createClient(at.registry, { project: "farm", name: "second", kind: "service" });
    const second = createSecret(at.registry, { project: "farm", client: "second" }).record.id;
    const row = { access: "manage", method: "DELETE" } as const;
    const before = at.picture();
    for (const path of [
      `clients/own-client/secrets/${second}`,
      `apis/own-api/secrets/${second}`,
      `clients/second/secrets/${at.farm["apis/:api/secrets/:id"]!}`,
      `apis/own-api/secrets/${at.farm["clients/:name/secrets/:id"]!}`,
    ]) {
      const answer = await at.ask(row, `/v1/projects/farm/${path}`);
      expect([path, answer.status, at.reason()]).toEqual([path, 404, "registry.not-found"]);
    }
    for (const path of [
      `/v1/invitations/${at.farm["invitations/:id"]!}`,
      `/v1/projects/farm/invitations/${at.common["invitations/:id"]!}`,
      `/v1/projects/farm/tickets/${at.common["brokers/:name/tickets/:id"]!}`,
      `/v1/brokers/edge/tickets/${at.farm["tickets/:id"]!}`,
      `/v1/me/api-keys/${at.farm["members/:id"]!}`,
    ]) {
      const access = path.startsWith("/v1/me/") ? "login" : "admin";
      const answer = await at.ask({ access, method: "DELETE" }, path);
      expect([path, answer.status, at.reason()]).toEqual([path, 404, "registry.not-found"]);
    }
    expect(at.picture() === before).toBe(true);
  });

  /** An answer without what is another in each. */
  function alike({ status, headers, body }: Answer, names: readonly string[]): unknown {
    const { date: _, ...same } = headers;
    const { id: __, ...problem } = readJson({ body } as Answer);
    const text = names.reduce((words, name) => words.replaceAll(name, "…"), JSON.stringify(problem));
    return { status, same, text };
  }
});

describe("a parameter of a query", () => {
  const wrong: readonly (readonly [how: string, text: (name: string) => string])[] = [
    ["twice", (name) => `${name}=1&${name}=1`],
    ["twice, spelled in two ways", (name) => `${name}=1&%${name.charCodeAt(0).toString(16)}${name.slice(1)}=1`],
    ["with brackets", (name) => `${name}[]=1`],
    ["with a member", (name) => `${name}[x]=1`],
    ["empty", (name) => `${name}=`],
    ["without a value", (name) => name],
    ["with a NUL", (name) => `${name}=1%00`],
    ["with a line break", (name) => `${name}=1%0d%0aset-cookie:injected=1`],
    ["with a terminal's words", (name) => `${name}=%1b[2J`],
    ["with a space", (name) => `${name}=1%20`],
    ["with another alphabet's digit", (name) => `${name}=%D9%A1`],
    ["that is not UTF-8", (name) => `${name}=%ff`],
    ["that is not encoded", (name) => `${name}=%zz`],
    ["with SQL", (name) => `${name}=1%27%20OR%20%271%27=%271`],
    ["too long", (name) => `${name}=${"1".repeat(300)}`],
  ];
  const wrongNumbers: readonly string[] = ["-1", "1.5", "1e3", "0x10", "NaN", "+1", "1'--", "1;DROP"];
  const wrongLimits: readonly string[] = ["0", "00001", "100000"];

  const withQuery = rows.filter(([, { query }]) => query !== undefined);
  const cases = withQuery.flatMap(([title, route]) =>
    Object.keys(route.query!.shape).flatMap((name) => {
      const isNumber = name === "limit" || name === "before";
      const more = [...(isNumber ? wrongNumbers : []), ...(name === "limit" ? wrongLimits : [])];
      const queries = [
        ...wrong.map(([how, text]) => [how, text(name)] as const),
        ...more.map((text) => [text, `${name}=${encodeURIComponent(text)}`] as const),
      ];
      return queries.map(([how, query]) => [title, name, how, route, query] as const);
    }),
  );

  it("there are some", () => {
    expect(new Set(cases.map(([, name]) => name))).toEqual(new Set(["limit", "after", "before", "client"]));
  });

  it.each(cases)("of %s: %s %s", async (_title, name, _how, route, query) => {
    const answer = await ask(route, `${fillPath(at, route.path)}?${query}`);
    const problem = readJson(answer) as { errors?: readonly { pointer: string }[] };
    expect([answer.status, at.reason()]).toEqual([422, "registry.invalid"]);
    const [pointer, ...others] = (problem.errors ?? []).map((error) => error.pointer);
    expect([pointer?.startsWith(`#/${name}`), others]).toEqual([true, []]);
    assertClean(answer);
  });

  it.each(withQuery)("that %s does not know", async (_title, route) => {
    for (const [query, pointer] of [
      ["nonesuch=1", "#/nonesuch"],
      ["__proto__=1", "#/__proto__"],
      ["constructor=1", "#/constructor"],
      ["LIMIT=1", "#/LIMIT"],
      ["limit=1&access_token=admin-key", "#/access_token"],
    ] as const) {
      const answer = await ask(route, `${fillPath(at, route.path)}?${query}`);
      const problem = readJson(answer) as { errors: readonly { pointer: string }[] };
      expect([answer.status, problem.errors]).toEqual([422, [{ detail: "not a known field", pointer }]]);
    }
  });

  it("that is right is taken", async () => {
    const row = { access: "read", method: "GET" } as const;
    const items = async (query: string): Promise<unknown> =>
      readJson(await at.ask(row, `/v1/projects/farm/clients?${query}`))["items"];
    expect(await items("limit=1&after=a")).toHaveLength(1);
    expect(await items("after=z")).toEqual([]);
  });

  it("proves nobody: a key there is no key", async () => {
    for (const [title, { access, method, path }] of rows) {
      if (access === "anyone") continue;
      const answer = await at.call(`${fillPath(at, path)}?access_token=admin-key&key=admin-key`, { method });
      expect([title, answer.status, at.reason()]).toEqual([title, 401, "admin.key"]);
    }
  });
});
