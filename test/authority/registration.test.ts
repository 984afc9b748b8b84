/** How somebody becomes a developer, and what a stranger can and cannot do about the account of another. */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { findAccount, unconfirmedSeconds } from "../../broker/registry/developers.ts";
import { createInvitation, invitationSeconds, revokeInvitation } from "../../broker/registry/invitations.ts";
import { createProject } from "../../broker/registry/projects.ts";
import { roleIn } from "../../broker/registry/members.ts";
import { openAccounts, PASSWORD, type Accounts, type Answer } from "./accounts-fixture.ts";
import { scryptCalls, standardCall } from "./cheap-scrypt.ts";

vi.mock("node:crypto", async (original) => {
  const { cheapen } = await import("./cheap-scrypt.ts");
  return cheapen(await original());
});

const email = "anna@example.com";
const other = "another horse battery";

let served: Accounts;
beforeEach(() => {
  served = openAccounts();
});
afterEach(() => served.r.close());

async function register(body: object, from?: string): Promise<Answer> {
  const answer = await served.ask("POST", "/v1/developers", { body, as: null, ...(from !== undefined && { from }) });
  await served.settle();
  return answer;
}

function confirm(code: string, password = PASSWORD, address = email): Promise<Answer> {
  return served.ask("POST", "/v1/developers/confirm", { body: { email: address, code, password }, as: null });
}

function logIn(password = PASSWORD, address = email): Promise<Answer> {
  return served.ask("POST", "/v1/login", { body: { email: address, password }, as: null });
}

/** An answer without what is another in each. */
function plain({ status, headers, body }: Answer): unknown {
  const { date: _, ...same } = headers;
  const { id: __, ...rest } = (body ?? {}) as Record<string, unknown>;
  return { status, same, rest };
}

function events(): unknown[] {
  return served.r.db
    .prepare("SELECT event, actor, subject FROM audit WHERE event LIKE 'developer.%' ORDER BY seq")
    .all();
}

describe("registration", () => {
  it("sends a code, and the account is good once it is confirmed", async () => {
    const answer = await register({ email: "Anna@Example.COM", password: PASSWORD, name: "Anna" });
    expect([answer.status, answer.body]).toEqual([202, { status: "mail-sent" }]);
    expect(answer.headers["cache-control"]).toBe("no-store");
    expect(served.mails.map(({ to }) => to)).toEqual([email]);
    expect([(await logIn()).status, served.reason()]).toEqual([401, "account.unconfirmed"]);
    const code = served.codeOf(email);
    expect(code).toMatch(/^[0-9A-HJKMNP-TV-Z]{10}$/);
    expect((await confirm(code)).status).toBe(204);
    const { status, body } = await logIn();
    expect([status, body.developer.email, body.developer.name]).toEqual([200, email, "Anna"]);
    // once is all
    expect([(await confirm(code)).status, served.reason()]).toEqual([400, "account.code"]);
    const { id } = body.developer as { id: string };
    expect(id).toMatch(/^dev_[0-9a-f]{16}$/);
    const actor = `developer:${id}`;
    expect(events()).toEqual(
      ["registered", "confirmed", "logged-in"].map((event) => ({ event: `developer.${event}`, actor, subject: id })),
    );
  });

  it("takes a code as people type it", async () => {
    await register({ email, password: PASSWORD });
    const typed = served.codeOf(email).toLowerCase().replaceAll("0", "o").replaceAll("1", "l");
    expect((await confirm(`${typed.slice(0, 5)}-${typed.slice(5)} `)).status).toBe(204);
  });

  it("leaves nothing secret in the database, the audit log and the log", async () => {
    await register({ email, password: PASSWORD });
    const code = served.codeOf(email);
    await confirm(code, other);
    await confirm(code);
    const { body } = await logIn();
    const all = Buffer.from(served.r.db.serialize()).toString("latin1") + JSON.stringify(served.lines);
    for (const secret of [code, PASSWORD, other, body.token as string]) expect(all).not.toContain(secret);
  });
});

describe("nobody gets the account of another by registering first", () => {
  it("a code is good with the password of its registration alone", async () => {
    await register({ email, password: other }, "198.51.100.66");
    const stolen = served.codeOf(email);
    await register({ email, password: PASSWORD });
    const mine = served.codeOf(email);
    expect((await confirm(stolen, other)).status).toBe(400);
    expect((await confirm(stolen, PASSWORD)).status).toBe(400);
    expect((await confirm(mine, other)).status).toBe(400);
    expect((await confirm(mine, PASSWORD)).status).toBe(204);
    expect((await logIn(other)).status).toBe(401);
    expect((await logIn(PASSWORD)).status).toBe(200);
  });

  it("nothing of an account that was not confirmed is left to a later one", async () => {
    await register({ email, password: other, name: "Mallory" });
    const before = findAccount(served.r, email)!.developer.id;
    await register({ email, password: PASSWORD });
    const { developer } = findAccount(served.r, email)!;
    expect([developer.id === before, developer.name]).toEqual([false, ""]);
  });

  it("an account that exists is as it was, and its owner is told", async () => {
    const person = served.join(email);
    const answer = await register({ email, password: other, name: "Mallory" });
    expect(answer.status).toBe(202);
    expect(served.mails).toMatchObject([{ to: email, subject: "You have an account already" }]);
    expect(served.codeOf(email)).toBe("none");
    expect([(await logIn(other)).status, (await logIn()).status]).toEqual([401, 200]);
    expect(events()).toContainEqual({ event: "developer.registered-again", actor: "stranger", subject: person.id });
  });

  it("an account that was not confirmed goes after a day", async () => {
    await register({ email, password: PASSWORD });
    served.clock.now += unconfirmedSeconds;
    await register({ email: "somebody@example.com", password: PASSWORD });
    expect(findAccount(served.r, email)).toBeUndefined();
    expect(findAccount(served.r, "somebody@example.com")).toBeDefined();
  });
});

describe("an address is one address", () => {
  it.each([
    ["no @", "anna"],
    ["two", "anna@example.com@example.com"],
    ["a space", "anna @example.com"],
    ["a line feed and a header", "anna@example.com\nBcc: all@example.com"],
    ["a carriage return", "anna\r@example.com"],
    ["a zero byte", "anna\0@example.com"],
    ["brackets", "<anna@example.com>"],
    ["a name before it", "Anna <anna@example.com>"],
    ["a comma", "anna@example.com,mallory@example.com"],
    ["quotes", '"anna"@example.com'],
    ["a dot at the end", "anna.@example.com"],
    ["two dots", "an..na@example.com"],
    ["an address for a host", "anna@[192.0.2.1]"],
    ["a hyphen before a dot", "anna@example-.com"],
    ["a letter that becomes ASCII in lower case", "an\u212Aa@example.com"],
    ["another alphabet", "аnna@example.com"],
    ["65 characters before the @", `${"a".repeat(65)}@example.com`],
    ["255 characters", `${"a".repeat(60)}@${`${"b".repeat(47)}.`.repeat(4)}${"c".repeat(2)}`],
    ["SQL", "anna'--@example.com or 1=1"],
    ["a number", 7],
    ["nothing", undefined],
    ["a list", ["anna@example.com"]],
  ])("not with %s", async (_, address) => {
    const answer = await register({ email: address, password: PASSWORD });
    expect([answer.status, served.reason(), answer.body.errors[0].pointer]).toEqual([
      422,
      "registry.invalid",
      "#/email",
    ]);
    expect(served.mails).toEqual([]);
  });

  it.each([
    ["a password that is too short", { password: "short" }, "#/password"],
    [
      "a password that is the address",
      { email: "anna.lindqvist@a.test", password: "anna.lindqvist@a.test" },
      "#/password",
    ],
    ["a password of another type", { password: 7 }, "#/password"],
    ["a password of two thousand characters", { password: "k7#mW".repeat(400) }, "#/password"],
    ["a name with a line feed", { name: "Anna\nadmin" }, "#/name"],
    ["a name that turns the text around", { name: "Anna\u202E" }, "#/name"],
    ["a name of 101 characters", { name: "a".repeat(101) }, "#/name"],
    ["a field that is not known", { role: "admin" }, "#/role"],
    ["an invitation of another type", { invitation: 1 }, "#/invitation"],
  ])("and %s is refused by name", async (_, changed, pointer) => {
    const answer = await register({ email, password: PASSWORD, ...changed });
    expect([answer.status, answer.body.errors[0].pointer]).toEqual([422, pointer]);
    expect(findAccount(served.r, email)).toBeUndefined();
  });
});

it("a member that stands there twice is no member", async () => {
  const body = `{"email":"${email}","email":"bo@example.com","password":"${PASSWORD}"}`;
  const answer = await served.ask("POST", "/v1/developers", { body, as: null });
  expect([answer.status, served.reason()]).toEqual([400, "request.malformed"]);
});

describe("whether an address has an account", () => {
  const unknown = "nobody@example.com";

  beforeEach(async () => {
    await register({ email, password: PASSWORD }, "192.0.2.99");
    await confirm(served.codeOf(email));
    await register({ email: "waiting@example.com", password: PASSWORD }, "192.0.2.99");
    served.mails.length = 0;
  });

  const addresses = [email, "waiting@example.com", unknown];
  it.each([
    ["registering", "/v1/developers", (address: string) => ({ email: address, password: other }), 202],
    [
      "confirming",
      "/v1/developers/confirm",
      (address: string) => ({ email: address, code: "0".repeat(10), password: other }),
      400,
    ],
    ["logging in", "/v1/login", (address: string) => ({ email: address, password: other }), 401],
    ["asking for a new password", "/v1/password-reset", (address: string) => ({ email: address }), 202],
    [
      "setting a new password",
      "/v1/password-reset/confirm",
      (address: string) => ({ email: address, code: "0".repeat(10), password: other }),
      400,
    ],
  ])("is not told by %s: the same answer after the same hashes", async (name, path, bodyOf, status) => {
    const seen: unknown[] = [];
    for (const address of addresses) {
      scryptCalls.length = 0;
      const answer = await served.ask("POST", path, { body: bodyOf(address), as: null });
      const mailsBefore = served.mails.length;
      seen.push({ answer: plain(answer), calls: [...scryptCalls], mailsBefore });
      await served.settle();
      served.mails.length = 0;
    }
    const calls = name.startsWith("asking") ? [] : [standardCall];
    expect(seen[0]).toMatchObject({ answer: { status }, calls, mailsBefore: 0 });
    expect(seen[1]).toEqual(seen[0]);
    expect(seen[2]).toEqual(seen[0]);
  });

  it.each([
    ["registering", "/v1/developers", (address: string) => ({ email: address, password: other })],
    ["asking for a new password", "/v1/password-reset", (address: string) => ({ email: address })],
  ])("is not told by %s where nothing can be written: nobody is promised a mail", async (_, path, bodyOf) => {
    served.r.db.pragma("query_only = ON");
    const seen: unknown[] = [];
    for (const address of addresses) {
      const answer = await served.ask("POST", path, { body: bodyOf(address), as: null });
      await served.settle();
      seen.push(plain(answer));
      expect([answer.status, served.reason()]).toEqual([507, "storage.failed"]);
    }
    expect(new Set(seen.map((one) => JSON.stringify(one))).size).toBe(1);
    expect(served.mails).toEqual([]);
    served.r.db.pragma("query_only = OFF");
  });

  it("is not told where writing fails once the answer is on its way, which the log says with what was asked", async () => {
    served.lines.length = 0;
    const body = { email, password: other };
    expect((await served.ask("POST", "/v1/developers", { body, as: null })).status).toBe(202);
    served.r.db.pragma("query_only = ON");
    await served.settle();
    served.r.db.pragma("query_only = OFF");
    const line = served.lines.find(({ msg }) => msg === "failed");
    expect(line).toMatchObject({ reason: "storage.failed", method: "POST", path: "/v1/developers", level: 50 });
    expect(line).not.toHaveProperty("err");
    expect(JSON.stringify(served.lines)).not.toContain(email);
  });

  it("is not told by how often it may be tried", async () => {
    for (const address of addresses) {
      const statuses: number[] = [];
      const last: unknown[] = [];
      for (let count = 0; count < 12; count++) {
        const answer = await served.ask("POST", "/v1/login", {
          body: { email: address, password: other },
          as: null,
          from: `192.0.2.${count}`,
        });
        statuses.push(answer.status);
        last[0] = plain(answer);
      }
      expect(statuses).toEqual([...Array<number>(10).fill(401), 429, 429]);
      expect(last).toMatchObject([{ same: { "retry-after": "900" } }]);
    }
  });
});

describe("who may register", () => {
  const invite = (address = email): string =>
    createInvitation(served.r, { email: address }, { inviter: "admin", actor: "admin" }).secret;

  it("anybody, where registration is open", async () => {
    expect((await register({ email, password: PASSWORD })).status).toBe(202);
  });

  it("whoever was invited, by default: the account is good at once", async () => {
    served = openAccounts({ registration: "invite" });
    const answer = await register({ email, password: PASSWORD, invitation: invite() });
    expect([answer.status, answer.headers["location"]]).toEqual([201, `/v1/developers/${answer.body.id}`]);
    expect(answer.body).toMatchObject({ email, confirmed: true });
    expect((await logIn()).status).toBe(200);
  });

  it("with the role that the invitation is for", async () => {
    served = openAccounts({ registration: "invite" });
    createProject(served.r, "farm");
    const place = { project: "farm", role: "owner" } as const;
    const { secret } = createInvitation(served.r, { email, place }, { inviter: "admin", actor: "admin" });
    const { body } = await register({ email, password: PASSWORD, invitation: secret });
    expect(roleIn(served.r, "farm", body.id)).toBe("owner");
    const again = await register({ email: "mallory@example.com", password: PASSWORD, invitation: secret });
    expect([again.status, served.reason()]).toEqual([403, "registration.invitation"]);
  });

  it("nobody where it is closed, invited or not", async () => {
    served = openAccounts({ registration: "closed" });
    for (const invitation of [undefined, invite()]) {
      const answer = await register({ email, password: PASSWORD, invitation });
      expect([answer.status, answer.body.title, served.reason()]).toEqual([
        403,
        "registration is closed",
        "registration.closed",
      ]);
    }
  });

  it("nobody is invited where it is closed, but to a project", async () => {
    served = openAccounts({ registration: "closed" });
    createProject(served.r, "farm");
    const answer = await served.ask("POST", "/v1/invitations", { body: { email } });
    expect([answer.status, answer.body.type, served.reason()]).toEqual([
      403,
      "urn:postern:refusal:registration.closed",
      "registration.closed",
    ]);
    expect([served.mails, (await served.ask("GET", "/v1/invitations")).body.items]).toEqual([[], []]);
    const body = { email, role: "auditor" };
    expect((await served.ask("POST", "/v1/projects/farm/invitations", { body })).status).toBe(201);
  });

  it.each<[string, () => string | undefined]>([
    ["without one", () => undefined],
    ["with one that was made up", () => "pi1_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"],
    ["with one for another address", () => invite("bo@example.com")],
    [
      "with one that was used",
      () => {
        const secret = invite();
        served.r.db.exec("UPDATE invitation SET accepted_at = 1");
        return secret;
      },
    ],
    [
      "with one that was revoked",
      () => {
        const { record, secret } = createInvitation(served.r, { email }, { inviter: "admin", actor: "admin" });
        revokeInvitation(served.r, null, record.id);
        return secret;
      },
    ],
    [
      "with one that was replaced",
      () => {
        const secret = invite();
        invite();
        return secret;
      },
    ],
    [
      "with one that is over",
      () => {
        const secret = invite();
        served.clock.now += invitationSeconds;
        return secret;
      },
    ],
  ])("not %s", async (_, makeInvitation) => {
    served = openAccounts({ registration: "invite" });
    for (const address of [email, "known@example.com"]) {
      if (address !== email) served.join(address);
      scryptCalls.length = 0;
      const answer = await register({ email, password: PASSWORD, invitation: makeInvitation() });
      expect([answer.status, answer.body.type, served.reason()]).toEqual([
        403,
        "about:blank",
        "registration.invitation",
      ]);
      expect([findAccount(served.r, email), scryptCalls]).toEqual([undefined, []]);
    }
  });

  it("twice with one invitation at one moment makes one account", async () => {
    served = openAccounts({ registration: "invite" });
    const invitation = invite();
    const answers = await Promise.all([1, 2].map(() => register({ email, password: PASSWORD, invitation })));
    expect(answers.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([201, 403]);
  });

  it("not a second time with an address that has an account, of which whoever was invited there is told", async () => {
    served.join(email);
    const answer = await register({ email, password: other, invitation: invite() });
    expect([answer.status, served.reason()]).toEqual([409, "registry.conflict"]);
    expect((await logIn()).status).toBe(200);
  });
});

describe("a code", () => {
  beforeEach(() => register({ email, password: PASSWORD }));

  it("is good for five tries, those with a wrong password among them", async () => {
    const code = served.codeOf(email);
    for (let count = 0; count < 4; count++) expect((await confirm("0000000000")).status).toBe(400);
    expect((await confirm(code, other)).status).toBe(400);
    expect([(await confirm(code)).status, served.reason()]).toEqual([400, "account.code"]);
  });

  it("is good for five tries at one moment as well", async () => {
    const code = served.codeOf(email);
    const tries = [...Array<string>(5).fill("0000000000"), code].map((one) => confirm(one));
    expect((await Promise.all(tries)).map(({ status }) => status)).toEqual(Array<number>(6).fill(400));
  });

  it("is good for fifteen minutes", async () => {
    const code = served.codeOf(email);
    served.clock.now += 15 * 60;
    expect((await confirm(code)).status).toBe(400);
  });

  it("for one purpose is not for another", async () => {
    const code = served.codeOf(email);
    const body = { email, code, password: other };
    expect((await served.ask("POST", "/v1/password-reset/confirm", { body, as: null })).status).toBe(400);
  });
});

describe("what a stranger may cost", () => {
  it("is three mails an hour to one address; who asks for more is not told", async () => {
    for (let count = 0; count < 5; count++) {
      expect((await register({ email, password: PASSWORD }, `192.0.2.${count}`)).status).toBe(202);
    }
    expect(served.mails).toHaveLength(3);
    // and the code of the last mail is still good
    expect((await confirm(served.codeOf(email))).status).toBe(204);
    for (let count = 0; count < 5; count++) {
      const answer = await served.ask("POST", "/v1/password-reset", {
        body: { email },
        as: null,
        from: `192.0.2.${count}`,
      });
      expect(answer.status).toBe(202);
      await served.settle();
    }
    expect(served.mails).toHaveLength(6);
    served.clock.now += 3600;
    await register({ email, password: PASSWORD });
    expect(served.mails).toHaveLength(7);
  });

  it("is twenty accounts and codes an hour from one address, or one network of IPv6", async () => {
    const from = (host: number): string => `2001:db8:1:2::${host.toString(16)}`;
    for (let count = 0; count < 20; count++) {
      await register({ email: `a${count}@example.com`, password: PASSWORD }, from(count));
    }
    const { status, headers } = await register({ email: "last@example.com", password: PASSWORD }, from(100));
    expect([status, served.reason(), headers["retry-after"]]).toEqual([429, "rate.limited", "3600"]);
    const asked = { body: { email }, as: null, from: from(101) };
    expect((await served.ask("POST", "/v1/password-reset", asked)).status).toBe(429);
    expect((await register({ email: "last@example.com", password: PASSWORD }, "2001:db8:1:3::1")).status).toBe(202);
    served.clock.now += 3600;
    expect((await register({ email: "last@example.com", password: PASSWORD }, from(100))).status).toBe(202);
  });

  it("is few hashes at a time; further ones are refused", async () => {
    served = openAccounts({ limits: { hashesWaiting: 1 } });
    const answers = await Promise.all(
      ["a", "b", "c", "d"].map((name) => register({ email: `${name}@example.com`, password: PASSWORD })),
    );
    expect(answers.map(({ status }) => status)).toEqual([202, 202, 202, 429]);
    expect(served.reason()).toBe("limit.reached");
    expect(served.mails.map(({ to }) => to)).not.toContain("d@example.com");
  });
});
