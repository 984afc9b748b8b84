/**
 * Accounts over TLS: what is told of an address, of a key and of another developer; codes that are guessed from everywhere; and two
 * of the same at one moment, of which one wins. `registration.test.ts`, `login.test.ts` and `members.test.ts` have the rest.
 */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { createCode } from "../../../broker/registry/account-codes.ts";
import { createApiKey, revokeApiKey } from "../../../broker/registry/api-keys.ts";
import type { Mail } from "../../../broker/authority/context.ts";
import { setPasswordHash } from "../../../broker/registry/developers.ts";
import { createInvitation } from "../../../broker/registry/invitations.ts";
import { createLogin, endLogin, useLogin } from "../../../broker/registry/logins.ts";
import { addMember } from "../../../broker/registry/members.ts";
import { addPerson, cheapHash, openAccounts, PASSWORD, type Accounts } from "../../authority/accounts-fixture.ts";
import { scryptCalls, standardCall } from "../../authority/cheap-scrypt.ts";
import type { Answer } from "../../authority/fixture.ts";
import { openGround, type Ground } from "./ground.ts";
import { held } from "./held-scrypt.ts";

vi.mock("node:crypto", async (original) => {
  const { hold } = await import("./held-scrypt.ts");
  return hold(await original());
});

const other = "another horse battery";
const code = "0000000000";

let at: Ground;
let mails: Mail[];
beforeEach(async () => {
  mails = [];
  at = await openGround({}, { registration: "open", sendMail: (mail) => void mails.push(mail) });
});
afterEach(() => at.close());

function post(path: string, body: object, as?: string, method = "POST"): Promise<Answer> {
  const headers: Record<string, string> = as === undefined ? {} : { authorization: `Bearer ${as}` };
  return at.call(path, { method, type: "application/json", body: JSON.stringify(body), headers });
}

const statuses = (answers: readonly Answer[]): number[] =>
  answers.map(({ status }) => status).toSorted((a, b) => a - b);

/** All that is heard, to the order of the headers, but for the time and the id. */
function heard({ status, rawHeaders, body }: Answer): unknown {
  const date = rawHeaders.findIndex((text) => text.toLowerCase() === "date") + 1;
  const headers = rawHeaders.filter((_, index) => index !== date);
  return { status, headers, body: body.toString().replace(/"id":"[^"]*"/, "") };
}

describe("whether an address has an account", () => {
  it.each<[string, string, (email: string) => object, number, boolean]>([
    ["registering", "/v1/developers", (email) => ({ email, password: other }), 202, true],
    ["confirming", "/v1/developers/confirm", (email) => ({ email, code, password: other }), 400, true],
    ["logging in", "/v1/login", (email) => ({ email, password: other }), 401, true],
    ["asking for a password", "/v1/password-reset", (email) => ({ email }), 202, false],
    ["setting a password", "/v1/password-reset/confirm", (email) => ({ email, code, password: other }), 400, true],
  ])("is not heard by %s", async (_how, path, bodyOf, status, isHashed) => {
    const seen: unknown[] = [];
    for (const email of ["owner@farm.test", "keeper@zoo.test", "nobody@farm.test", "OWNER@FARM.TEST"]) {
      scryptCalls.length = 0;
      seen.push({ ...(heard(await post(path, bodyOf(email))) as object), calls: [...scryptCalls] });
    }
    expect(seen[0]).toMatchObject({ status });
    // a hash that is on record costs what it was made with; here it is cheap
    const counts = seen.map((one) => (one as { calls: unknown[] }).calls.length);
    expect(counts).toEqual(counts.map(() => (isHashed ? 1 : 0)));
    const words = seen.map((one) => JSON.stringify({ ...(one as object), calls: null }));
    expect(new Set(words).size).toBe(1);
    expect((seen[2] as { calls: unknown[] }).calls).toEqual(isHashed ? [standardCall] : []);
  });

  it("is not heard by an owner who invites it", async () => {
    const answers = [];
    for (const email of ["keeper@zoo.test", "nobody@zoo.test"]) {
      const answer = await post("/v1/projects/farm/invitations", { email, role: "auditor" }, at.login);
      answers.push(
        answer.body
          .toString()
          .replace(/"id":"[^"]*"/, "")
          .replace(email, "…"),
      );
    }
    expect(answers[0]).toBe(answers[1]);
  });

  it("nor is the id of a developer who is none of the project's", async () => {
    const answers = [];
    for (const id of [at.keeper.id, "dev_0000000000000000"]) {
      for (const method of ["PUT", "DELETE"]) {
        const answer = await post(`/v1/projects/farm/members/${id}`, { role: "owner" }, at.login, method);
        expect([answer.status, at.reason()]).toEqual([404, "registry.not-found"]);
        answers.push(JSON.stringify(heard(answer)).replaceAll(id, "…"));
      }
    }
    expect(new Set(answers).size).toBe(1);
  });
});

describe("a key that is not good", () => {
  it("says nothing of whether there is such a one", async () => {
    const { record, key } = createApiKey(at.registry, at.owner, { name: "ci" }, "admin");
    const wrong = `pk1_${record.id}_${"A".repeat(43)}`;
    const ended = createLogin(at.registry, at.owner.id).token;
    endLogin(at.registry, useLogin(at.registry, ended), "admin");
    const seen: unknown[] = [];
    for (const [text, reason] of [
      [wrong, "api-key.unknown"],
      [`pk1_${"0".repeat(12)}_${"A".repeat(43)}`, "api-key.unknown"],
      [`${key}A`, "api-key.unknown"],
      [key.replace("pk1_", "pk1_'"), "api-key.unknown"],
      ["pk1_", "api-key.unknown"],
      [`pk1_${"x".repeat(3_000)}`, "api-key.unknown"],
      [ended, "account.login"],
      [`${at.login}A`, "account.login"],
      [at.login.toUpperCase().replace("PS1_", "ps1_"), "account.login"],
      ["ps1_", "account.login"],
      ["ps1_' OR ''='", "admin.key"],
    ] as const) {
      const answer = await at.call("/v1/me", { headers: { authorization: `Bearer ${text}` } });
      expect([text, answer.status, at.reason()]).toEqual([text, 401, reason]);
      seen.push(JSON.stringify(heard(answer)));
    }
    expect(new Set(seen).size).toBe(1);
    // only who has all of it hears that it has ended, and in the same words
    revokeApiKey(at.registry, at.owner.id, record.id, "admin");
    const answer = await at.call("/v1/me", { headers: { authorization: `Bearer ${key}` } });
    expect([JSON.stringify(heard(answer)), at.reason()]).toEqual([seen[0], "api-key.revoked"]);
    const log = JSON.stringify(at.lines);
    for (const secret of [key.slice(-43), ended, at.login]) expect(log).not.toContain(secret);
  });
});

describe("of two at one moment one wins:", () => {
  beforeEach(() => {
    held.together = 2;
  });
  afterEach(() => {
    held.together = 1;
  });

  it("codes that confirm", async () => {
    const email = "new@farm.test";
    held.together = 1;
    await post("/v1/developers", { email, password: PASSWORD });
    await vi.waitFor(() => expect(mails).toHaveLength(1), 20_000);
    held.together = 2;
    const [, sent] = /code is (\w{10})/.exec(mails[0]!.text)!;
    const confirm = () => post("/v1/developers/confirm", { email, code: sent, password: PASSWORD });
    expect(statuses(await Promise.all([confirm(), confirm()]))).toEqual([204, 400]);
    expect(at.reason()).toBe("account.code");
  });

  it("codes for a new password", async () => {
    const { email, id } = at.keeper;
    const sent = at.registry.append(() => createCode(at.registry, id, "reset"));
    const choices = ["first horse battery", "second horse battery"];
    const answers = await Promise.all(
      choices.map((password) => post("/v1/password-reset/confirm", { email, code: sent, password })),
    );
    expect(statuses(answers)).toEqual([204, 400]);
    held.together = 1;
    for (const [index, password] of choices.entries()) {
      const won = answers[index]!.status === 204;
      expect((await post("/v1/login", { email, password })).status).toBe(won ? 200 : 401);
    }
    expect((await post("/v1/login", { email, password: PASSWORD })).status).toBe(401);
  });

  it("changes of a password", async () => {
    const choices = ["first horse battery", "second horse battery"];
    const change = (next: string) =>
      post("/v1/me/password", { password: PASSWORD, new_password: next }, at.login, "PUT");
    expect(statuses(await Promise.all(choices.map(change)))).toEqual([204, 401]);
    expect(at.reason()).toBe("account.password");
  });

  it("a login and a new password, and the login is none", async () => {
    const { email, id } = at.keeper;
    const answer = post("/v1/login", { email, password: PASSWORD });
    await vi.waitFor(() => expect(held.waiting()).toBe(1), 20_000);
    at.registry.change(() => setPasswordHash(at.registry, id, cheapHash(other)));
    await post("/v1/login", { email: "nobody@zoo.test", password: PASSWORD });
    expect(statuses([await answer])).toEqual([401]);
    expect(at.registry.db.prepare("SELECT count(*) FROM login WHERE developer = ?").pluck().get(id)).toBe(0);
  });

  it("invitations that are accepted", async () => {
    const place = { project: "zoo", role: "auditor" } as const;
    const { secret } = createInvitation(
      at.registry,
      { email: at.owner.email, place },
      { inviter: "admin", actor: "admin" },
    );
    const answers = await Promise.all(
      [1, 2, 3].map(() => post("/v1/invitations/accept", { invitation: secret }, at.login)),
    );
    expect(statuses(answers)).toEqual([200, 403, 403]);
    expect(at.reason()).toBe("registration.invitation");
  });

  it("owners who leave, so that one is left", async () => {
    addMember(at.registry, "farm", at.keeper.id, "owner", "admin");
    const second = createLogin(at.registry, at.keeper.id).token;
    const leave = (id: string, as: string) =>
      at.call(`/v1/projects/farm/members/${id}`, { method: "DELETE", headers: { authorization: `Bearer ${as}` } });
    const answers = await Promise.all([leave(at.owner.id, at.login), leave(at.keeper.id, second)]);
    expect(statuses(answers)).toEqual([204, 409]);
    expect(at.reason()).toBe("account.last-owner");
  });

  it("owners who delete their accounts, so that one is left", async () => {
    addMember(at.registry, "zoo", at.owner.id, "owner", "admin");
    addMember(at.registry, "farm", at.keeper.id, "owner", "admin");
    const second = createLogin(at.registry, at.keeper.id).token;
    const answers = await Promise.all(
      [at.login, second].map((as) => post("/v1/me/delete", { password: PASSWORD }, as)),
    );
    expect(statuses(answers)).toEqual([204, 409]);
    expect(at.reason()).toBe("account.last-owner");
  });

  it("projects of one name", async () => {
    const second = createLogin(at.registry, at.keeper.id).token;
    const answers = await Promise.all([at.login, second].map((as) => post("/v1/projects", { slug: "barn" }, as)));
    expect(statuses(answers)).toEqual([201, 409]);
    const owners = at.registry.db.prepare("SELECT count(*) FROM member WHERE project = 'barn'").pluck().get();
    expect(owners).toBe(1);
  });
});

describe("a code that is guessed from everywhere", () => {
  let served: Accounts;
  beforeEach(() => {
    served = openAccounts({ limits: { hashesWaiting: 1_000 } });
  });
  afterEach(() => served.r.close());

  const email = "anna@example.com";
  const guess = (path: string, index: number, given: string) =>
    served.ask("POST", path, {
      body: { email, code: given, password: other },
      as: null,
      from: `198.51.${index >> 8}.${index & 255}`,
    });

  it.each([4, 5])("is good for five tries, whoever makes them: after %i wrong ones", async (wrong) => {
    served.r.close();
    served = openAccounts({ limits: { accountFailures: 1_000 } });
    const { id } = addPerson(served.r, email);
    const sent = served.r.append(() => createCode(served.r, id, "reset"));
    const path = "/v1/password-reset/confirm";
    for (let index = 0; index < wrong; index++) expect((await guess(path, index, "ZZZZZZZZZZ")).status).toBe(400);
    expect((await guess(path, 200, sent)).status).toBe(wrong < 5 ? 204 : 400);
  });

  it.each(["/v1/password-reset/confirm", "/v1/developers/confirm"])(
    "%s: ten tries in a quarter of an hour",
    async (path) => {
      const { id } = addPerson(served.r, email);
      const sent = served.r.append(() => createCode(served.r, id, path.includes("reset") ? "reset" : "confirm"));
      const heardOf: number[] = [];
      for (let index = 0; index < 100; index++)
        heardOf.push((await guess(path, index, `${index}`.padStart(10, "Z"))).status);
      expect(heardOf).toEqual([...Array<number>(10).fill(400), ...Array<number>(90).fill(429)]);
      // the right one waits as well, and is good no more when it may be tried again
      expect((await guess(path, 200, sent)).status).toBe(429);
      served.clock.now += 15 * 60;
      expect([(await guess(path, 201, sent)).status, served.reason()]).toEqual([400, "account.code"]);
    },
  );

  it("a day of asking for codes and guessing is some hundred guesses of 32 to the tenth", async () => {
    addPerson(served.r, email);
    let tried = 0;
    for (let quarter = 0; quarter < 96; quarter++) {
      for (let wish = 0; wish < 4; wish++) {
        await served.ask("POST", "/v1/password-reset", {
          body: { email },
          as: null,
          from: `203.0.113.${(quarter * 4 + wish) % 250}`,
        });
        await served.settle();
        for (let index = 0; index < 6; index++) {
          const answer = await guess("/v1/password-reset/confirm", quarter * 100 + wish * 10 + index, "ZZZZZZZZZZ");
          if (answer.status === 400) tried++;
        }
      }
      served.clock.now += 15 * 60;
    }
    expect(tried).toBe(96 * 10);
    expect(served.mails.filter(({ to }) => to === email)).toHaveLength(24 * 3);
  });
});
