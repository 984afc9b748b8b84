/** Personal keys: what they may, how they end, and what they never do. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { apiKeyTtl, MAX_API_KEYS } from "../../broker/registry/api-keys.ts";
import { addMember, removeMember, setMemberRole } from "../../broker/registry/members.ts";
import { createProject } from "../../broker/registry/projects.ts";
import { openAccounts, type Accounts, type Answer, type Person } from "./accounts-fixture.ts";

let served: Accounts;
let anna: Person;
beforeEach(() => {
  served = openAccounts();
  for (const slug of ["farm", "zoo", "lab"]) createProject(served.r, slug);
  anna = served.join("anna@example.com", { farm: "owner", zoo: "auditor" });
});
afterEach(() => served.r.close());

function create(body: object, as = anna.token): Promise<Answer> {
  return served.ask("POST", "/v1/me/api-keys", { body, as });
}

function newClient(as: string, project = "farm"): Promise<Answer> {
  return served.ask("POST", `/v1/projects/${project}/clients`, { body: { name: "pi", kind: "device" }, as });
}

describe("a key", () => {
  it("is told once, and listed without its secret", async () => {
    const { status, headers, body } = await create({ name: "ci", scopes: ["read", "manage"], project: "farm" });
    const expiresAt = served.clock.now + apiKeyTtl.default;
    expect([status, headers["location"]]).toEqual([201, `/v1/me/api-keys/${body.id}`]);
    expect(body.key).toMatch(new RegExp(`^pk1_${body.id}_[A-Za-z0-9_-]{43}$`));
    const { key, ...rest } = body;
    expect(rest).toEqual({
      id: body.id,
      name: "ci",
      scopes: ["read", "manage"],
      project: "farm",
      created_at: served.clock.now,
      expires: new Date(expiresAt * 1000).toISOString().replace(".000Z", "Z"),
      expires_at: expiresAt,
      last_used_at: null,
      status: "valid",
    });
    expect((await served.ask("GET", "/v1/me/api-keys", { as: anna.token })).body).toEqual({ items: [rest] });
    const secret = (key as string).split("_").slice(2).join("_");
    expect(Buffer.from(served.r.db.serialize()).toString("latin1")).not.toContain(secret);
  });

  it("may read and nothing else unless its scopes say so", async () => {
    const key = served.keyOf(anna);
    expect((await served.ask("GET", "/v1/projects/farm", { as: key })).status).toBe(200);
    const { status, body } = await newClient(key);
    expect([status, body.detail, served.reason()]).toEqual([403, "the key has no scope manage", "access.permission"]);
  });

  it("is named in the audit log by what it did", async () => {
    const key = served.keyOf(anna, { scopes: ["manage"] });
    expect((await newClient(key)).status).toBe(201);
    const actor = served.r.db.prepare("SELECT actor FROM audit WHERE event = 'client.created'").pluck().get();
    expect(actor).toBe(`developer:${anna.id}/${key.split("_")[1]}`);
  });

  it("has no more of its developer's rights than they have now", async () => {
    const key = served.keyOf(anna, { scopes: ["read", "audit", "enrol", "manage", "own"] });
    const { detail } = (await newClient(key, "zoo")).body;
    expect(detail).toBe("the role auditor does not permit manage");
    served.join("bo@example.com", { farm: "owner" });
    setMemberRole(served.r, "farm", anna.id, "auditor");
    expect((await newClient(key)).status).toBe(403);
    removeMember(served.r, "farm", anna.id);
    expect([(await newClient(key)).status, served.reason()]).toEqual([404, "registry.not-found"]);
  });

  it("for one project is for no other", async () => {
    const key = served.keyOf(anna, { scopes: ["read", "own"], project: "farm" });
    const missing = await served.ask("GET", "/v1/projects/none", { as: key });
    const elsewhere = await served.ask("GET", "/v1/projects/zoo", { as: key });
    expect([elsewhere.status, elsewhere.body.detail]).toEqual([404, "no project zoo"]);
    expect([missing.status, missing.body.detail]).toEqual([404, "no project none"]);
    const { items } = (await served.ask("GET", "/v1/projects", { as: key })).body;
    expect(items.map(({ slug }: { slug: string }) => slug)).toEqual(["farm"]);
    const me = await served.ask("GET", "/v1/me", { as: key });
    expect(me.body.projects).toEqual([{ project: "farm", role: "owner" }]);
    const founded = await served.ask("POST", "/v1/projects", { body: { slug: "new" }, as: key });
    expect([founded.status, served.reason()]).toEqual([403, "access.permission"]);
  });

  it("for one project ends with the membership, and is not back with the next one", async () => {
    served.join("bo@example.com", { farm: "owner" });
    const [bound, free] = [served.keyOf(anna, { project: "farm" }), served.keyOf(anna)];
    const read = async (as: string) => [(await served.ask("GET", "/v1/projects/farm", { as })).status, served.reason()];
    removeMember(served.r, "farm", anna.id);
    addMember(served.r, "farm", anna.id, "auditor", "admin");
    expect(await read(bound)).toEqual([401, "api-key.revoked"]);
    expect((await read(free))[0]).toBe(200);
    const rows = served.r.db.prepare("SELECT project, subject FROM audit WHERE event = 'api-key.revoked'").all();
    expect(rows).toEqual([{ project: "farm", subject: bound.split("_")[1] }]);
    // and what was taken away is not taken away again
    removeMember(served.r, "farm", anna.id);
    expect(served.r.db.prepare("SELECT count(*) FROM audit WHERE event = 'api-key.revoked'").pluck().get()).toBe(1);
  });

  it("is not made for a project that is none of one's own", async () => {
    for (const project of ["lab", "none"]) {
      const { status, body } = await create({ name: "ci", project });
      expect([status, body.detail]).toEqual([404, `no project ${project}`]);
    }
  });

  it("without the scope sees no projects, and founds none", async () => {
    const key = served.keyOf(anna, { scopes: ["enrol"] });
    expect((await served.ask("GET", "/v1/projects", { as: key })).status).toBe(403);
    const manage = served.keyOf(anna, { scopes: ["read", "audit", "enrol", "manage"] });
    expect((await served.ask("POST", "/v1/projects", { body: { slug: "new" }, as: manage })).status).toBe(403);
    const own = served.keyOf(anna, { scopes: ["own"] });
    expect((await served.ask("POST", "/v1/projects", { body: { slug: "new" }, as: own })).status).toBe(201);
  });
});

describe("its use", () => {
  const lastUse = async (): Promise<unknown> =>
    (await served.ask("GET", "/v1/me/api-keys", { as: anna.token })).body.items[0].last_used_at;

  it("is noted once a minute", async () => {
    const key = served.keyOf(anna);
    const began = served.clock.now;
    const use = async (at: number): Promise<unknown> => {
      served.clock.now = began + at;
      expect((await served.ask("GET", "/v1/me", { as: key })).status).toBe(200);
      return lastUse();
    };
    expect(await lastUse()).toBeNull();
    expect([await use(0), await use(59), await use(60), await use(61)]).toEqual([began, began, began + 60, began + 60]);
  });

  it("is not noted when it is refused", async () => {
    const key = served.keyOf(anna);
    await served.ask("GET", "/v1/me", { as: `${key.slice(0, -1)}${key.endsWith("A") ? "B" : "A"}` });
    expect([served.reason(), await lastUse()]).toEqual(["api-key.unknown", null]);
  });
});

describe("its end", () => {
  const isGood = async (key: string): Promise<boolean> =>
    (await served.ask("GET", "/v1/me", { as: key })).status === 200;

  it("comes by itself", async () => {
    const { body } = await create({ name: "short", ttl_seconds: 60 });
    served.clock.now += 59;
    expect(await isGood(body.key)).toBe(true);
    served.clock.now += 1;
    expect([await isGood(body.key), served.reason()]).toEqual([false, "api-key.expired"]);
  });

  it("comes by hand, of one and not of another", async () => {
    const [one, two] = [served.keyOf(anna), served.keyOf(anna)];
    const id = one.split("_")[1];
    expect([await isGood(one), await isGood(two)]).toEqual([true, true]);
    expect((await served.ask("DELETE", `/v1/me/api-keys/${id}`, { as: anna.token })).status).toBe(204);
    expect([await isGood(one), served.reason()]).toEqual([false, "api-key.revoked"]);
    expect(await isGood(two)).toBe(true);
    // and once more is done
    expect((await served.ask("DELETE", `/v1/me/api-keys/${id}`, { as: anna.token })).status).toBe(204);
  });

  it("is not for another developer to bring about", async () => {
    const key = served.keyOf(anna);
    const bo = served.join("bo@example.com", { farm: "owner" });
    const foreign = await served.ask("DELETE", `/v1/me/api-keys/${key.split("_")[1]}`, { as: bo.token });
    const missing = await served.ask("DELETE", "/v1/me/api-keys/000000000000", { as: bo.token });
    expect([foreign.status, missing.status, await isGood(key)]).toEqual([404, 404, true]);
    expect(foreign.body.detail.length).toBe(missing.body.detail.length);
  });

  it("makes room: twenty are good at a time", async () => {
    for (let count = 0; count < MAX_API_KEYS; count++) served.keyOf(anna);
    expect([(await create({ name: "one more" })).status, served.reason()]).toEqual([429, "limit.reached"]);
    const { items } = (await served.ask("GET", "/v1/me/api-keys", { as: anna.token })).body;
    await served.ask("DELETE", `/v1/me/api-keys/${items[0].id}`, { as: anna.token });
    expect((await create({ name: "one more" })).status).toBe(201);
  });
});

describe("a key is not", () => {
  it.each([
    ["one that was made up", "pk1_0123456789ab_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"],
    ["a prefix", "pk1_"],
    ["without a secret", "pk1_0123456789ab_"],
    ["of another form", "pk1_x_y_z"],
    ["a name that objects have", "pk1___proto___x"],
  ])("%s", async (_, key) => {
    const { status, body } = await served.ask("GET", "/v1/me", { as: key });
    expect([status, body.title, served.reason()]).toEqual([401, "the key is not accepted", "api-key.unknown"]);
  });

  it("a login: it makes no key, ends none, changes no password and accepts no invitation", async () => {
    const key = served.keyOf(anna, { scopes: ["read", "audit", "enrol", "manage", "own"] });
    for (const [method, url, body] of [
      ["POST", "/v1/me/api-keys", { name: "another", scopes: ["own"] }],
      ["GET", "/v1/me/api-keys", undefined],
      ["DELETE", `/v1/me/api-keys/${key.split("_")[1]}`, undefined],
      ["PUT", "/v1/me/password", { password: "x", new_password: "correct horse" }],
      ["POST", "/v1/me/delete", { password: "x" }],
      ["POST", "/v1/logout", undefined],
      ["POST", "/v1/invitations/accept", { invitation: "pi1_x" }],
    ] as const) {
      const answer = await served.ask(method, url, { body, as: key });
      expect([url, answer.status, served.reason()]).toEqual([url, 403, "access.permission"]);
    }
  });

  it.each([
    ["without a name", { scopes: ["read"] }, "#/name"],
    ["with an empty name", { name: "" }, "#/name"],
    ["with a line feed in the name", { name: "a\nb" }, "#/name"],
    ["without scopes", { name: "a", scopes: [] }, "#/scopes"],
    ["with a scope that is none", { name: "a", scopes: ["read", "admin"] }, "#/scopes/1"],
    ["with scopes of another type", { name: "a", scopes: "read" }, "#/scopes"],
    ["for a project that can be none", { name: "a", project: "Farm" }, "#/project"],
    ["for no time", { name: "a", ttl_seconds: 0 }, "#/ttl_seconds"],
    ["for ever", { name: "a", ttl_seconds: apiKeyTtl.max + 1 }, "#/ttl_seconds"],
    ["with a field that is not known", { name: "a", developer: "dev_1" }, "#/developer"],
  ])("made %s", async (_, body, pointer) => {
    const answer = await create(body);
    expect([answer.status, answer.body.errors[0].pointer]).toEqual([422, pointer]);
  });
});
