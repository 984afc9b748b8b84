/** Members of projects and invitations to them, as somebody would go at them who wants more than they have. */
import { Readable } from "node:stream";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { invitationSeconds } from "../../broker/registry/invitations.ts";
import { MAX_OWNED_PROJECTS, roleIn } from "../../broker/registry/members.ts";
import type { MemberRole } from "../../broker/registry/member-roles.ts";
import { createProject } from "../../broker/registry/projects.ts";
import { openAccounts, type Accounts, type Answer, type Person } from "./accounts-fixture.ts";

let served: Accounts;
let owner: Person;
let admin: Person;
let auditor: Person;
beforeEach(() => {
  served = openAccounts();
  for (const slug of ["farm", "zoo"]) createProject(served.r, slug);
  owner = served.join("owner@example.com", { farm: "owner" });
  admin = served.join("admin@example.com", { farm: "admin" });
  auditor = served.join("auditor@example.com", { farm: "auditor" });
});
afterEach(() => served.r.close());

const members = "/v1/projects/farm/members";
const invitations = "/v1/projects/farm/invitations";

function setRole(who: Person, role: string, as: string): Promise<Answer> {
  return served.ask("PUT", `${members}/${who.id}`, { body: { role }, as });
}

function remove(who: Person, as: string): Promise<Answer> {
  return served.ask("DELETE", `${members}/${who.id}`, { as });
}

function invite(email: string, role: string, as?: string): Promise<Answer> {
  return served.ask("POST", invitations, { body: { email, role }, ...(as !== undefined && { as }) });
}

function accept(invitation: string, who: Person): Promise<Answer> {
  return served.ask("POST", "/v1/invitations/accept", { body: { invitation }, as: who.token });
}

/** The secret in the newest mail to an address. */
function mailed(email: string): string {
  return /pi1_[A-Za-z0-9_-]+/.exec(served.mails.findLast(({ to }) => to === email)?.text ?? "")?.[0] ?? "none";
}

const roleOf = (who: Person): MemberRole | undefined => roleIn(served.r, "farm", who.id);

describe("projects", () => {
  it("are listed to those who have a role in them, and to the administrator", async () => {
    const listed = async (as: string): Promise<unknown> =>
      (await served.ask("GET", "/v1/projects", { as })).body.items.map(({ slug }: { slug: string }) => slug);
    expect([await listed(auditor.token), await listed(served.join("new@example.com").token)]).toEqual([["farm"], []]);
    expect(await listed("the-admin-key")).toEqual(["farm", "zoo"]);
  });

  it("belong to whoever creates them", async () => {
    const made = await served.ask("POST", "/v1/projects", { body: { slug: "mine" }, as: auditor.token });
    expect([made.status, roleIn(served.r, "mine", auditor.id)]).toEqual([201, "owner"]);
    const taken = await served.ask("POST", "/v1/projects", { body: { slug: "zoo" }, as: auditor.token });
    expect([taken.status, roleIn(served.r, "zoo", auditor.id)]).toEqual([409, undefined]);
  });

  it(`are ${MAX_OWNED_PROJECTS} of one owner, and one more is not half made`, async () => {
    const make = (slug: string): Promise<Answer> =>
      served.ask("POST", "/v1/projects", { body: { slug }, as: auditor.token });
    for (let count = 0; count < MAX_OWNED_PROJECTS; count++) expect((await make(`p${count}`)).status).toBe(201);
    expect([(await make("more")).status, served.reason()]).toEqual([429, "limit.reached"]);
    expect((await served.ask("GET", "/v1/projects/more")).status).toBe(404);
  });
});

describe("members", () => {
  it("are listed to every member", async () => {
    const { items } = (await served.ask("GET", members, { as: auditor.token })).body;
    expect(items).toHaveLength(3);
    expect(items).toContainEqual({
      id: owner.id,
      email: "owner@example.com",
      name: "",
      role: "owner",
      created_at: served.clock.now,
    });
  });

  it("get another role from an owner, and have it at once", async () => {
    expect((await setRole(auditor, "admin", owner.token)).body).toMatchObject({ id: auditor.id, role: "admin" });
    const made = await served.ask("POST", "/v1/projects/farm/clients", {
      body: { name: "pi", kind: "device" },
      as: auditor.token,
    });
    expect(made.status).toBe(201);
  });

  it.each<[string, () => [who: Person, role: string, as: string]]>([
    ["an admin makes themselves owner", () => [admin, "owner", admin.token]],
    ["an admin makes another owner", () => [auditor, "owner", admin.token]],
    ["an admin takes the owner's place away", () => [owner, "auditor", admin.token]],
    ["an auditor makes themselves admin", () => [auditor, "admin", auditor.token]],
    ["an auditor does with a key of all scopes", () => [auditor, "owner", served.keyOf(auditor, { scopes: ["own"] })]],
  ])("do not when %s", async (_, of) => {
    const [who, role, as] = of();
    const before = roleOf(who);
    expect([(await setRole(who, role, as)).status, served.reason()]).toEqual([403, "access.permission"]);
    expect(roleOf(who)).toBe(before);
  });

  it("are not made by giving a role to somebody else", async () => {
    const stranger = served.join("stranger@example.com");
    expect([(await setRole(stranger, "admin", owner.token)).status, served.reason()]).toEqual([
      404,
      "registry.not-found",
    ]);
    expect([(await setRole(stranger, "admin", "the-admin-key")).status, roleOf(stranger)]).toEqual([404, undefined]);
  });

  it.each(["root", "", 7, null, undefined, ["owner"]])("have no role %j", async (role) => {
    const { status, body } = await served.ask("PUT", `${members}/${auditor.id}`, { body: { role }, as: owner.token });
    expect([status, body.errors[0].pointer]).toEqual([422, "#/role"]);
  });

  it("leave when they want to, and are in no more at once", async () => {
    expect((await remove(auditor, auditor.token)).status).toBe(204);
    expect((await served.ask("GET", "/v1/projects/farm", { as: auditor.token })).status).toBe(404);
  });

  it("are taken out by owners alone", async () => {
    expect([(await remove(auditor, admin.token)).status, served.reason()]).toEqual([403, "access.permission"]);
    expect((await remove(auditor, owner.token)).status).toBe(204);
    expect((await served.ask("GET", members, { as: auditor.token })).status).toBe(404);
  });

  it("may nothing any more once they are out, also with a request that began before", async () => {
    const slow = async function* (): AsyncGenerator<string> {
      yield '{"name":"pi",';
      // the request is in: who asks was checked
      await new Promise((resolve) => void setImmediate(resolve));
      await remove(admin, owner.token);
      yield '"kind":"device"}';
    };
    const body = Readable.from(slow());
    const answer = await served.ask("POST", "/v1/projects/farm/clients", { body, as: admin.token });
    expect([answer.status, served.reason(), roleOf(admin)]).toEqual([404, "registry.not-found", undefined]);
  });

  it("do not leave by a key that may only read", async () => {
    expect((await remove(auditor, served.keyOf(auditor))).status).toBe(403);
    expect(roleOf(auditor)).toBe("auditor");
  });
});

describe("a project that has an owner keeps one", () => {
  it.each<[string, () => Promise<Answer>]>([
    ["when the owner leaves", () => remove(owner, owner.token)],
    ["when the owner wants to be less", () => setRole(owner, "admin", owner.token)],
    ["when the administrator takes the owner out", () => remove(owner, "the-admin-key")],
    ["when the administrator makes the owner less", () => setRole(owner, "enroller", "the-admin-key")],
  ])("%s", async (_, act) => {
    const { status, body } = await act();
    expect([status, body.title, served.reason()]).toEqual([409, "a project would have no owner", "account.last-owner"]);
    expect(roleOf(owner)).toBe("owner");
  });

  it("and may have another first", async () => {
    expect((await setRole(admin, "owner", owner.token)).status).toBe(200);
    expect((await setRole(owner, "auditor", admin.token)).status).toBe(200);
    expect((await remove(admin, admin.token)).status).toBe(409);
  });
});

describe("an invitation", () => {
  it("goes by mail alone, and its secret is told to the holder of the admin key", async () => {
    const made = await invite("new@example.com", "auditor", admin.token);
    expect(made.status).toBe(201);
    expect(made.body).toMatchObject({ email: "new@example.com", project: "farm", role: "auditor", status: "pending" });
    expect([made.body.invited_by, made.text.includes("pi1_")]).toEqual([`developer:${admin.id}`, false]);
    const listed = await served.ask("GET", invitations, { as: owner.token });
    expect(listed.body.items).toEqual([made.body]);
    expect(mailed("new@example.com")).toMatch(/^pi1_[A-Za-z0-9_-]{32}$/);

    const byAdmin = await invite("other@example.com", "owner");
    expect(byAdmin.body.invitation).toBe(mailed("other@example.com"));
    expect((await served.ask("GET", invitations)).text).not.toContain("pi1_");
    const all = Buffer.from(served.r.db.serialize()).toString("latin1") + JSON.stringify(served.lines);
    expect(all).not.toContain(mailed("new@example.com"));
  });

  it("is accepted by whoever has the address, once", async () => {
    await invite("new@example.com", "enroller", admin.token);
    const person = served.join("new@example.com");
    const { status, body } = await accept(mailed("new@example.com"), person);
    expect([status, body, roleOf(person)]).toEqual([200, { project: "farm", role: "enroller" }, "enroller"]);
    const again = await accept(mailed("new@example.com"), person);
    expect([again.status, served.reason()]).toEqual([403, "registration.invitation"]);
    await remove(person, person.token);
    expect((await accept(mailed("new@example.com"), person)).status).toBe(403);
    const events = served.r.db.prepare("SELECT event FROM audit WHERE project = 'farm' ORDER BY seq").pluck().all();
    expect(events).toEqual(expect.arrayContaining(["invitation.created", "member.added", "invitation.accepted"]));
  });

  it("is not accepted twice at one moment", async () => {
    await invite("new@example.com", "enroller", admin.token);
    const person = served.join("new@example.com");
    const answers = await Promise.all([1, 2].map(() => accept(mailed("new@example.com"), person)));
    expect(answers.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([200, 403]);
  });

  it.each<[string, (secret: string, id: string) => unknown]>([
    ["that is over", () => (served.clock.now += invitationSeconds)],
    ["that was revoked", (_, id) => served.ask("DELETE", `${invitations}/${id}`, { as: admin.token })],
    ["that was replaced by another", () => invite("new@example.com", "auditor", admin.token)],
    ["of somebody who is no member any more", () => remove(admin, owner.token)],
    ["of somebody who may invite no more", () => setRole(admin, "auditor", owner.token)],
  ])("is not accepted %s", async (_, end) => {
    const { id } = (await invite("new@example.com", "enroller", admin.token)).body as { id: string };
    const secret = mailed("new@example.com");
    await end(secret, id);
    const person = served.join("new@example.com");
    expect([(await accept(secret, person)).status, served.reason()]).toEqual([403, "registration.invitation"]);
    expect(roleOf(person)).toBeUndefined();
  });

  it("is not accepted by another, nor is one that was made up or is only to register", async () => {
    await invite("new@example.com", "owner", owner.token);
    const thief = served.join("thief@example.com");
    const onlyRegister = await served.ask("POST", "/v1/invitations", { body: { email: "thief@example.com" } });
    for (const secret of [mailed("new@example.com"), "pi1_AAAA", "'OR'1'='1'--", onlyRegister.body.invitation]) {
      expect([(await accept(secret, thief)).status, served.reason()]).toEqual([403, "registration.invitation"]);
    }
    expect(roleOf(thief)).toBeUndefined();
  });

  it("does not make a member less than they are", async () => {
    const { invitation } = (await invite("late@example.com", "auditor")).body as { invitation: string };
    const late = served.join("late@example.com", { farm: "owner" });
    expect([(await accept(invitation, late)).status, served.reason()]).toEqual([409, "registry.conflict"]);
    expect(roleOf(late)).toBe("owner");
    expect([(await invite("late@example.com", "auditor", owner.token)).status, served.reason()]).toEqual([
      409,
      "registry.conflict",
    ]);
  });

  it.each(["owner", "admin"])("of an admin makes no %s", async (role) => {
    expect([(await invite("new@example.com", role, admin.token)).status, served.reason()]).toEqual([
      403,
      "access.permission",
    ]);
    const key = served.keyOf(owner, { scopes: ["read", "manage"] });
    expect((await invite("new@example.com", role, key)).status).toBe(403);
    expect(served.mails).toEqual([]);
    expect((await invite("new@example.com", role, owner.token)).status).toBe(201);
  });

  it("is taken back by those who may make one", async () => {
    const { id } = (await invite("new@example.com", "auditor", owner.token)).body as { id: string };
    expect((await served.ask("DELETE", `${invitations}/${id}`, { as: auditor.token })).status).toBe(403);
    expect((await served.ask("DELETE", `/v1/invitations/${id}`)).status).toBe(404);
    expect((await served.ask("DELETE", `${invitations}/${id}`, { as: admin.token })).status).toBe(204);
    expect((await served.ask("DELETE", `${invitations}/${id}`, { as: admin.token })).status).toBe(204);
    expect((await served.ask("GET", invitations, { as: admin.token })).body.items).toMatchObject([
      { status: "revoked" },
    ]);
  });

  it("that was accepted is not taken back, and the member stays", async () => {
    const { id, invitation } = (await invite("late@example.com", "auditor")).body as Record<string, string>;
    const late = served.join("late@example.com");
    expect((await accept(invitation!, late)).status).toBe(200);
    const answer = await served.ask("DELETE", `${invitations}/${id}`, { as: owner.token });
    expect([answer.status, served.reason()]).toEqual([409, "registry.conflict"]);
    expect((await served.ask("GET", invitations, { as: admin.token })).body.items).toMatchObject([
      { status: "accepted" },
    ]);
  });

  it("to register is the administrator's", async () => {
    const made = await served.ask("POST", "/v1/invitations", { body: { email: "New@Example.com" } });
    expect(made.body).toMatchObject({ email: "new@example.com", project: null, role: null, invited_by: "admin" });
    expect((await served.ask("GET", "/v1/invitations")).body.items).toMatchObject([{ id: made.body.id }]);
    expect((await served.ask("DELETE", `${invitations}/${made.body.id}`)).status).toBe(404);
    expect((await served.ask("DELETE", `/v1/invitations/${made.body.id}`)).status).toBe(204);
    expect((await served.ask("GET", "/v1/invitations")).body.items).toMatchObject([{ status: "revoked" }]);
  });

  it("by a developer is three an hour to one address, and twenty to all", async () => {
    for (let count = 0; count < 3; count++) {
      expect((await invite("new@example.com", "auditor", owner.token)).status).toBe(201);
    }
    const one = await invite("new@example.com", "auditor", owner.token);
    expect([one.status, one.headers["retry-after"], served.reason()]).toEqual([429, "3600", "rate.limited"]);
    // the one before is still good
    const pending = (await served.ask("GET", invitations)).body.items.filter(
      ({ status }: { status: string }) => status === "pending",
    );
    expect(pending).toHaveLength(1);
    for (let count = 4; count < 20; count++) await invite(`a${count}@example.com`, "auditor", owner.token);
    expect((await invite("last@example.com", "auditor", owner.token)).status).toBe(429);
    expect((await invite("last@example.com", "auditor", admin.token)).status).toBe(201);
  });

  it("is counted for each project, so that nobody keeps another from inviting, or hears that somebody did", async () => {
    const eve = served.join("eve@example.com", { zoo: "owner" });
    const to = (project: string, as: string): Promise<Answer> =>
      served.ask("POST", `/v1/projects/${project}/invitations`, {
        body: { email: "carol@example.com", role: "auditor" },
        as,
      });
    const byEve = [];
    for (let count = 0; count < 4; count++) byEve.push((await to("zoo", eve.token)).status);
    expect(byEve).toEqual([201, 201, 201, 429]);
    const byOwner = [];
    for (let count = 0; count < 4; count++) byOwner.push((await to("farm", owner.token)).status);
    expect([byOwner, served.mails.length]).toEqual([[201, 201, 201, 429], 6]);
    // her own count is where it was
    expect((await to("zoo", eve.token)).status).toBe(429);
  });

  it("beyond three times as many to one address of all projects is made and answered alike, and no mail is sent", async () => {
    const projects = ["farm", "zoo", "mill", "dam"];
    for (const slug of projects.slice(2)) createProject(served.r, slug);
    const rich = served.join("rich@example.com", Object.fromEntries(projects.map((slug) => [slug, "owner"])));
    const answers: Answer[] = [];
    for (const slug of projects) {
      for (let count = 0; count < 3; count++) {
        answers.push(
          await served.ask("POST", `/v1/projects/${slug}/invitations`, {
            body: { email: "carol@example.com", role: "auditor" },
            as: rich.token,
          }),
        );
      }
    }
    expect([answers.map(({ status }) => status), served.mails.length]).toEqual([Array(12).fill(201), 9]);
    const shape = ({ status, headers, body }: Answer): unknown => [
      status,
      Object.keys(headers),
      Object.entries(body as object).map(([name, value]) => [name, typeof value]),
    ];
    expect(shape(answers[11]!)).toEqual(shape(answers[0]!));
    const { items } = (await served.ask("GET", "/v1/projects/dam/invitations")).body;
    expect(items.filter(({ status }: { status: string }) => status === "pending")).toHaveLength(1);
    // the administrator is not counted
    await invite("carol@example.com", "auditor");
    expect(served.mails).toHaveLength(10);
  });

  it.each([
    ["no address", { role: "auditor" }, "#/email"],
    ["an address with a header", { email: "a@b.test\r\nBcc: c@d.test", role: "auditor" }, "#/email"],
    ["no role", { email: "a@b.test" }, "#/role"],
    ["a role that is none", { email: "a@b.test", role: "root" }, "#/role"],
    ["another project", { email: "a@b.test", role: "owner", project: "zoo" }, "#/project"],
  ])("has not %s", async (_, body, pointer) => {
    const answer = await served.ask("POST", invitations, { body, as: owner.token });
    expect([answer.status, answer.body.errors[0].pointer]).toEqual([422, pointer]);
  });
});
