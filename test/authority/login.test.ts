/** Logging in and out, passwords that are changed, reset or lost, and the end of an account. */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { findAccount, findDeveloper } from "../../broker/registry/developers.ts";
import { createInvitation } from "../../broker/registry/invitations.ts";
import { loginLife } from "../../broker/registry/logins.ts";
import { listMembers, roleIn } from "../../broker/registry/members.ts";
import { createProject } from "../../broker/registry/projects.ts";
import { openAccounts, PASSWORD, type Accounts, type Answer, type Person } from "./accounts-fixture.ts";
import { holdNext } from "./cheap-scrypt.ts";

vi.mock("node:crypto", async (original) => {
  const { cheapen } = await import("./cheap-scrypt.ts");
  return cheapen(await original());
});

const email = "anna@example.com";
const other = "another horse battery";

let served: Accounts;
let anna: Person;
beforeEach(() => {
  served = openAccounts();
  createProject(served.r, "farm");
  anna = served.join(email, { farm: "owner" });
});
afterEach(() => served.r.close());

function post(url: string, body: unknown, as: string | null = null, from?: string): Promise<Answer> {
  return served.ask("POST", url, { body, as, ...(from !== undefined && { from }) });
}

function logIn(password = PASSWORD, from?: string, address = email): Promise<Answer> {
  return post("/v1/login", { email: address, password }, null, from);
}

async function isIn(token: string): Promise<boolean> {
  const { status } = await served.ask("GET", "/v1/me", { as: token });
  expect([200, 401]).toContain(status);
  return status === 200;
}

describe("a login", () => {
  it("is a token, with its end and who it is", async () => {
    const { status, body, headers } = await logIn();
    const expiresAt = served.clock.now + loginLife.idle;
    expect([status, headers["cache-control"]]).toEqual([200, "no-store"]);
    expect(body).toEqual({
      token: expect.stringMatching(/^ps1_[A-Za-z0-9_-]{43}$/) as string,
      expires: new Date(expiresAt * 1000).toISOString().replace(".000Z", "Z"),
      expires_at: expiresAt,
      developer: { id: anna.id, email, name: "", created_at: served.clock.now, confirmed: true },
    });
    expect((await served.ask("GET", "/v1/me", { as: body.token })).body).toEqual({
      id: anna.id,
      email,
      name: "",
      created_at: served.clock.now,
      projects: [{ project: "farm", role: "owner" }],
    });
  });

  it("takes the address in any case", async () => {
    expect((await logIn(PASSWORD, undefined, "ANNA@example.com")).status).toBe(200);
  });

  it.each([
    ["another password", other, "account.password"],
    ["the password in capitals", PASSWORD.toUpperCase(), "account.password"],
    ["the password and more", `${PASSWORD} `, "account.password"],
    ["a password of a thousand characters", "x".repeat(1024), "account.password"],
  ])("is not for %s", async (_, password, reason) => {
    const { status, body } = await logIn(password);
    expect([status, body.title, served.reason()]).toEqual([401, "address or password is wrong", reason]);
  });

  it("is not for an address without an account", async () => {
    const { status, body } = await logIn(PASSWORD, undefined, "bo@example.com");
    expect([status, body.title, served.reason()]).toEqual([401, "address or password is wrong", "account.unknown"]);
  });

  it.each([
    ["made up", "ps1_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"],
    ["empty", "ps1_"],
    ["with SQL", "ps1_' OR 1=1 --"],
  ])("%s is none", async (_, token) => {
    const { status, body } = await served.ask("GET", "/v1/me", { as: token.replaceAll(" ", "") });
    expect([status, body.title, served.reason()]).toEqual([401, "the key is not accepted", "account.login"]);
  });

  it("ends twelve hours after its last use", async () => {
    served.clock.now += loginLife.idle - 1;
    expect(await isIn(anna.token)).toBe(true);
    served.clock.now += loginLife.idle - 1;
    expect(await isIn(anna.token)).toBe(true);
    served.clock.now += loginLife.idle;
    expect(await isIn(anna.token)).toBe(false);
  });

  it("ends seven days after it was made, whatever its use", async () => {
    const end = served.clock.now + loginLife.most;
    while (served.clock.now < end - 3600) {
      served.clock.now += 3600;
      expect(await isIn(anna.token)).toBe(true);
    }
    served.clock.now += 3600;
    expect(await isIn(anna.token)).toBe(false);
  });

  it("is one of twenty; the next ends the first", async () => {
    const tokens: string[] = [];
    for (let count = 0; count < 20; count++) {
      served.clock.now++;
      tokens.push((await logIn()).body.token as string);
    }
    expect([await isIn(anna.token), await isIn(tokens[0]!), await isIn(tokens[19]!)]).toEqual([false, true, true]);
  });

  it("ends by logging out, and no other does", async () => {
    const { token } = (await logIn()).body as { token: string };
    expect((await served.ask("POST", "/v1/logout", { as: token })).status).toBe(204);
    expect([await isIn(token), await isIn(anna.token)]).toEqual([false, true]);
    expect((await served.ask("POST", "/v1/logout", { as: token })).status).toBe(401);
  });
});

describe("a login that takes its time", () => {
  async function logInSlowly(): Promise<() => Promise<Answer>> {
    let answer: Promise<Answer> | undefined;
    const goOn = await holdNext(() => {
      answer = logIn();
    });
    return () => {
      goOn();
      return answer!;
    };
  }

  it("is none by a password that was replaced meanwhile", async () => {
    const finish = await logInSlowly();
    const body = { password: PASSWORD, new_password: other };
    expect((await served.ask("PUT", "/v1/me/password", { body, as: anna.token })).status).toBe(204);
    expect([(await finish()).status, served.reason()]).toEqual([401, "account.password"]);
  });

  it("is none to an account that has gone meanwhile, nor to another that has its address", async () => {
    served.join("bo@example.com", { farm: "owner" });
    let finish = await logInSlowly();
    expect((await served.ask("DELETE", `/v1/developers/${anna.id}`)).status).toBe(204);
    expect([(await finish()).status, served.reason()]).toEqual([401, "account.unknown"]);
    const second = served.join(email);
    finish = await logInSlowly();
    expect((await served.ask("DELETE", `/v1/developers/${second.id}`)).status).toBe(204);
    served.join(email);
    expect([(await finish()).status, served.reason()]).toEqual([401, "account.password"]);
  });
});

describe("wrong passwords", () => {
  it("are ten in a quarter of an hour, from wherever, and the right one waits as well", async () => {
    for (let count = 0; count < 10; count++) expect((await logIn(other, `192.0.2.${count}`)).status).toBe(401);
    served.clock.now += 60;
    const { status, headers } = await logIn(PASSWORD, "198.51.100.1");
    expect([status, served.reason(), headers["retry-after"]]).toEqual([429, "rate.limited", "840"]);
    served.clock.now += 840;
    expect((await logIn()).status).toBe(200);
  });

  it("elsewhere do not keep out who has logged in from here", async () => {
    expect((await logIn(PASSWORD, "198.51.100.1")).status).toBe(200);
    for (let count = 0; count < 10; count++) expect((await logIn(other, `192.0.2.${count}`)).status).toBe(401);
    expect((await logIn(PASSWORD, "192.0.2.100")).status).toBe(429);
    expect((await logIn(PASSWORD, "198.51.100.1")).status).toBe(200);
    // who is known there still has no more than ten tries
    for (let count = 0; count < 10; count++) expect((await logIn(other, "198.51.100.1")).status).toBe(401);
    expect((await logIn(PASSWORD, "198.51.100.1")).status).toBe(429);
  });

  it("are as many of an account that is known there as of one that there is not", async () => {
    expect((await logIn()).status).toBe(200);
    const answers = async (address: string): Promise<(readonly [number, ...unknown[]])[]> => {
      const seen: (readonly [number, ...unknown[]])[] = [];
      for (let count = 0; count < 13; count++) {
        const { status, headers, text } = await logIn(other, undefined, address);
        seen.push([status, headers["retry-after"], text.replace(/"id":"[^"]*"/, "")]);
      }
      return seen;
    };
    const known = await answers(email);
    expect(known.filter(([status]) => status === 429)).toHaveLength(3);
    expect(await answers("nobody@example.com")).toEqual(known);
    // and they count from there as all others do: fifty with these twenty
    for (let count = 0; count < 30; count++)
      expect((await logIn(other, undefined, `a${count}@example.com`)).status).toBe(401);
    expect((await logIn(other, undefined, "b@example.com")).status).toBe(429);
  });

  it("are ten at one moment as well", async () => {
    const tries = Array.from({ length: 14 }, (_, count) => logIn(other, `192.0.2.${count}`));
    const statuses = (await Promise.all(tries)).map(({ status }) => status);
    expect(statuses.filter((status) => status === 401)).toHaveLength(10);
    expect(statuses.filter((status) => status === 429)).toHaveLength(4);
  });

  it("of many accounts are fifty from one address", async () => {
    for (let count = 0; count < 50; count++) {
      expect((await logIn(other, undefined, `a${count}@example.com`)).status).toBe(401);
    }
    expect([(await logIn()).status, served.reason()]).toEqual([429, "rate.limited"]);
    expect((await logIn(PASSWORD, "192.0.2.200")).status).toBe(200);
  });

  it("right ones are not counted", async () => {
    for (let count = 0; count < 15; count++) expect((await logIn()).status).toBe(200);
  });

  it("do not lock the owner out who has forgotten theirs", async () => {
    for (let count = 0; count < 11; count++) await logIn(other);
    await post("/v1/password-reset", { email });
    await served.settle();
    const body = { email, code: served.codeOf(email), password: other };
    expect((await post("/v1/password-reset/confirm", body)).status).toBe(204);
  });
});

describe("a password that is changed", () => {
  const change = (password: string, next: string, as = anna.token): Promise<Answer> =>
    served.ask("PUT", "/v1/me/password", { body: { password, new_password: next }, as });

  it("ends the other logins and not the one that asks; keys stay, and the owner is told", async () => {
    const { token } = (await logIn()).body as { token: string };
    const key = served.keyOf(anna);
    expect((await change(PASSWORD, other)).status).toBe(204);
    expect([await isIn(token), await isIn(anna.token), await isIn(key)]).toEqual([false, true, true]);
    expect([(await logIn()).status, (await logIn(other)).status]).toEqual([401, 200]);
    expect(served.mails).toMatchObject([{ to: email, subject: "Your password was changed" }]);
  });

  it("is proven by the one before, and that is tried ten times", async () => {
    for (let count = 0; count < 10; count++) {
      expect([(await change(other, "some other horse")).status, served.reason()]).toEqual([401, "account.password"]);
    }
    expect((await change(PASSWORD, other)).status).toBe(429);
    // whoever found a login does not keep the owner from logging in by that
    expect((await logIn()).status).toBe(200);
  });

  it.each([
    ["too short", "short"],
    ["the address", email],
  ])("is not %s", async (_, next) => {
    const { status, body } = await change(PASSWORD, next);
    expect([status, body.errors[0].pointer]).toEqual([422, "#/new_password"]);
  });

  it("by whoever found a login comes after a reset that is under way", async () => {
    await post("/v1/password-reset", { email });
    await served.settle();
    const reset = { email, code: served.codeOf(email), password: "the word of the owner" };
    let changed: Promise<Answer> | undefined;
    const verified = await holdNext(() => {
      changed = change(PASSWORD, other);
    });
    // the password of before was right; the hash of the next one is still being made
    const hashed = await holdNext(verified);
    expect((await post("/v1/password-reset/confirm", reset)).status).toBe(204);
    hashed();
    expect([(await changed!).status, served.reason()]).toEqual([401, "account.password"]);
    expect([(await logIn(other)).status, (await logIn(reset.password)).status]).toEqual([401, 200]);
  });
});

describe("a password that is forgotten", () => {
  const reset = (code: string, password = other): Promise<Answer> =>
    post("/v1/password-reset/confirm", { email, code, password });

  beforeEach(async () => {
    await post("/v1/password-reset", { email });
    await served.settle();
  });

  it("is replaced by the code that was sent, once, and all logins end", async () => {
    const code = served.codeOf(email);
    expect((await reset(code)).status).toBe(204);
    expect(await isIn(anna.token)).toBe(false);
    expect([(await logIn()).status, (await logIn(other)).status]).toEqual([401, 200]);
    expect([(await reset(code)).status, served.reason()]).toEqual([400, "account.code"]);
    expect(served.mails.map(({ subject }) => subject)).toEqual([
      "Your code for a new password",
      "Your password was changed",
    ]);
  });

  it("is replaced once by a code that is used twice at one moment", async () => {
    const code = served.codeOf(email);
    const answers = await Promise.all([reset(code, other), reset(code, "some other horse")]);
    expect(answers.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([204, 400]);
    expect(served.reason()).toBe("account.code");
  });

  it("is replaced by the newest code alone", async () => {
    const code = served.codeOf(email);
    await post("/v1/password-reset", { email });
    await served.settle();
    expect((await reset(code)).status).toBe(400);
    expect((await reset(served.codeOf(email))).status).toBe(204);
  });

  it("is not replaced by one that may not be chosen, which costs no try", async () => {
    const code = served.codeOf(email);
    for (let count = 0; count < 6; count++) expect((await reset(code, "short")).status).toBe(422);
    expect((await reset(code)).status).toBe(204);
  });

  it("is not replaced after five tries", async () => {
    const code = served.codeOf(email);
    for (let count = 0; count < 5; count++) expect((await reset("0000000000")).status).toBe(400);
    expect((await reset(code)).status).toBe(400);
  });

  it("of another is not replaced", async () => {
    served.join("bo@example.com");
    const body = { email: "bo@example.com", code: served.codeOf(email), password: other };
    expect((await post("/v1/password-reset/confirm", body)).status).toBe(400);
  });
});

describe("an account that is deleted", () => {
  const remove = (password = PASSWORD, as = anna.token): Promise<Answer> => post("/v1/me/delete", { password }, as);

  it("is not, as long as a project would have no owner", async () => {
    const { status, body } = await remove();
    expect([status, body.detail, served.reason()]).toEqual([409, "of project farm", "account.last-owner"]);
    const byAdmin = await served.ask("DELETE", `/v1/developers/${anna.id}`);
    expect([byAdmin.status, served.reason()]).toEqual([409, "account.last-owner"]);
    expect([await isIn(anna.token), roleIn(served.r, "farm", anna.id)]).toEqual([true, "owner"]);
  });

  it("is not with another password", async () => {
    served.join("bo@example.com", { farm: "owner" });
    expect([(await remove(other)).status, served.reason()]).toEqual([401, "account.password"]);
    expect(await isIn(anna.token)).toBe(true);
  });

  it.each(["by its owner", "by the administrator"])("is gone with all that it could do, %s", async (how) => {
    served.join("bo@example.com", { farm: "owner" });
    const key = served.keyOf(anna);
    const by = { inviter: `developer:${anna.id}`, actor: "x" };
    const place = { project: "farm", role: "owner" } as const;
    const { secret } = createInvitation(served.r, { email: "mallory@example.com", place }, by);
    const gone = how === "by its owner" ? await remove() : await served.ask("DELETE", `/v1/developers/${anna.id}`);
    expect(gone.status).toBe(204);
    expect([await isIn(anna.token), await isIn(key), served.reason()]).toEqual([false, false, "api-key.unknown"]);
    expect([findDeveloper(served.r, anna.id), findAccount(served.r, email)]).toEqual([undefined, undefined]);
    expect(listMembers(served.r, "farm").map((one) => one.email)).toEqual(["bo@example.com"]);
    expect((await logIn()).status).toBe(401);
    const mallory = served.join("mallory@example.com");
    expect((await post("/v1/invitations/accept", { invitation: secret }, mallory.token)).status).toBe(403);
    expect(served.r.db.prepare("SELECT email, name, password FROM developer WHERE id = ?").get(anna.id)).toEqual({
      email: null,
      name: "",
      password: null,
    });
  });

  it("leaves its address to whoever has it later, and nothing else", async () => {
    served.join("bo@example.com", { farm: "owner" });
    const place = { project: "farm", role: "admin" } as const;
    createProject(served.r, "zoo");
    const { secret } = createInvitation(
      served.r,
      { email, place: { ...place, project: "zoo" } },
      { inviter: "admin", actor: "admin" },
    );
    expect((await remove()).status).toBe(204);
    const later = served.join(email);
    expect(later.id).not.toBe(anna.id);
    const me = await served.ask("GET", "/v1/me", { as: later.token });
    expect([me.body.projects, await isIn(anna.token)]).toEqual([[], false]);
    expect((await served.ask("GET", "/v1/me/api-keys", { as: later.token })).body.items).toEqual([]);
    expect((await served.ask("GET", "/v1/projects/farm", { as: later.token })).status).toBe(404);
    expect((await post("/v1/invitations/accept", { invitation: secret }, later.token)).status).toBe(403);
  });
});

describe("for the administrator", () => {
  it("developers are listed a page at a time, and found", async () => {
    served.join("bo@example.com");
    const first = await served.ask("GET", "/v1/developers?limit=1");
    expect(first.body.items).toHaveLength(1);
    const rest = await served.ask("GET", `/v1/developers?after=${first.body.next}`);
    const all = [...first.body.items, ...rest.body.items] as { id: string; email: string }[];
    expect(all.map((one) => one.email).toSorted()).toEqual([email, "bo@example.com"]);
    expect((await served.ask("GET", `/v1/developers/${anna.id}`)).body).toMatchObject({ email, confirmed: true });
    expect((await served.ask("GET", "/v1/developers/dev_0000000000000000")).status).toBe(404);
    expect((await served.ask("DELETE", "/v1/developers/dev_0000000000000000")).status).toBe(404);
  });

  it("there is no account to act as", async () => {
    expect([(await served.ask("GET", "/v1/me")).status, served.reason()]).toEqual([403, "access.permission"]);
  });
});
