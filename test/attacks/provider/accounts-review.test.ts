/**
 * What strangers may do to the accounts of others: keep them out, wear out their codes, and hold up everybody who logs in. And
 * what is left to whoever is attacked.
 */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { createClient } from "../../../broker/registry/clients.ts";
import { findAccount, maxUnconfirmed } from "../../../broker/registry/developers.ts";
import { createLogin } from "../../../broker/registry/logins.ts";
import { openHashing } from "../../../broker/registry/passwords.ts";
import { createProject } from "../../../broker/registry/projects.ts";
import { addPerson, openAccounts, PASSWORD, type Accounts, type Answer } from "../../authority/accounts-fixture.ts";
import { held } from "./held-scrypt.ts";

vi.mock("node:crypto", async (original) => {
  const { hold } = await import("./held-scrypt.ts");
  return hold(await original());
});

const email = "anna@example.com";
const wrong = "another horse battery";
const home = "203.0.113.7";
let served: Accounts;
beforeEach(() => void (served = openAccounts()));
afterEach(() => {
  held.together = 1;
  served.r.close();
});

const post = (path: string, body: object, from: string): Promise<Answer> =>
  served.ask("POST", path, { body, as: null, from });
const logIn = (password: string, from: string, address = email): Promise<Answer> =>
  post("/v1/login", { email: address, password }, from);
const somewhere = (index: number): string => `198.51.${100 + (index >> 8)}.${index & 255}`;
const askReset = async (from: string): Promise<void> => {
  await post("/v1/password-reset", { email }, from);
  await served.settle();
};
const reset = (code: string, password: string, from: string): Promise<Answer> =>
  post("/v1/password-reset/confirm", { email, code, password }, from);

describe("whoever has forgotten their password, while strangers try it and guess codes all the time,", () => {
  beforeEach(async () => {
    addPerson(served.r, email);
    for (let index = 0; index < 12; index++) await logIn(wrong, somewhere(index));
  });

  it("has one mailed, replaces it, and logs in", async () => {
    expect((await logIn(PASSWORD, home)).status).toBe(429);
    await askReset(home);
    for (let index = 0; index < 20; index++) await reset("ZZZZZZZZZZ", wrong, somewhere(index));
    expect((await reset(served.codeOf(email), "some other horse", home)).status).toBe(204);
    expect((await logIn("some other horse", home)).status).toBe(200);
    expect((await logIn("some other horse", somewhere(99))).status).toBe(429);
  });

  it("uses the code that a stranger had mailed, and strangers get no more tries by asking for it", async () => {
    for (let index = 0; index < 3; index++) await askReset(somewhere(index));
    await askReset(home);
    const code = served.codeOf(email);
    for (let index = 0; index < 3; index++) {
      const heard: number[] = [];
      for (let count = 0; count < 6; count++) heard.push((await reset("ZZZZZZZZZZ", wrong, somewhere(index))).status);
      expect(new Set(heard)).toEqual(new Set([400]));
      // five of one network's own, and no other's after that
      expect((await reset(code, wrong, somewhere(index))).status).toBe(400);
    }
    expect((await reset(code, "some other horse", home)).status).toBe(204);
  });

  it("has five tries of their own", async () => {
    await askReset(home);
    for (let count = 0; count < 4; count++) expect((await reset("ZZZZZZZZZZ", wrong, home)).status).toBe(400);
    expect((await reset(served.codeOf(email), "some other horse", home)).status).toBe(204);
    await askReset(home);
    for (let count = 0; count < 5; count++) expect((await reset("ZZZZZZZZZZ", wrong, home)).status).toBe(400);
    expect((await reset(served.codeOf(email), "some other horse", home)).status).toBe(400);
  });
});

it("whoever registers confirms and logs in, whatever is guessed elsewhere", async () => {
  await post("/v1/developers", { email, password: PASSWORD }, home);
  await served.settle();
  for (let index = 0; index < 20; index++) {
    await post("/v1/developers/confirm", { email, code: "ZZZZZZZZZZ", password: wrong }, somewhere(index));
    await logIn(wrong, somewhere(index));
  }
  const body = { email, code: served.codeOf(email), password: PASSWORD };
  expect((await post("/v1/developers/confirm", body, home)).status).toBe(204);
  expect((await logIn(PASSWORD, home)).status).toBe(200);
});

it("somebody behind the same address who fails as others does not keep those out who are known there", async () => {
  addPerson(served.r, email);
  expect((await logIn(PASSWORD, home)).status).toBe(200);
  for (let index = 0; index < 60; index++) await logIn(wrong, home, `a${index}@example.com`);
  expect((await logIn(wrong, home, "b@example.com")).status).toBe(429);
  expect((await logIn(PASSWORD, home)).status).toBe(200);
});

it("ten thousand accounts that nobody confirms keep nobody from registering: the oldest goes", async () => {
  const { r, clock } = served;
  r.change(() => {
    for (let index = 0; index < maxUnconfirmed; index++) {
      addUnconfirmedRow(`dev_${index.toString(16).padStart(16, "0")}`, `a${index}@example.com`, clock.now + index);
    }
  });
  await post("/v1/developers", { email, password: PASSWORD }, home);
  await served.settle();
  const count = r.db.prepare("SELECT count(*) FROM developer").pluck().get();
  expect([count, findAccount(r, "a0@example.com"), served.mails.map(({ to }) => to)]).toEqual([
    maxUnconfirmed,
    undefined,
    [email],
  ]);
  expect(findAccount(r, "a1@example.com")).toBeDefined();

  function addUnconfirmedRow(id: string, address: string, at: number): void {
    const insert = r.db.prepare(
      "INSERT INTO developer (id, email, name, password, created_at) VALUES (?, ?, '', '', ?)",
    );
    insert.run(id, address, at);
  }
});

it("an enroller makes no ticket by which they would act as a service", async () => {
  createProject(served.r, "farm");
  const anna = served.join(email, { farm: "enroller" });
  const owner = served.join("owner@example.com", { farm: "owner" });
  createClient(served.r, { project: "farm", name: "billing", kind: "service" });
  createClient(served.r, { project: "farm", name: "pump", kind: "device" });
  const ask = (client: string, as: string): Promise<Answer> =>
    served.ask("POST", "/v1/projects/farm/tickets", { body: { client }, as });
  expect([(await ask("billing", anna.token)).status, served.reason()]).toEqual([403, "access.permission"]);
  expect((await ask("billing", served.keyOf(owner, { scopes: ["enrol"] }))).status).toBe(403);
  expect([(await ask("nobody", anna.token)).status, served.reason()]).toEqual([422, "registry.invalid"]);
  expect((await ask("pump", anna.token)).status).toBe(201);
  expect((await ask("billing", owner.token)).status).toBe(201);
  expect((await served.ask("POST", "/v1/projects/farm/tickets", { body: { client: "billing" } })).status).toBe(201);
});

describe("strangers who try passwords from everywhere at one moment", () => {
  const flood = (count: number, networks: (index: number) => string): Promise<Answer>[] =>
    Array.from({ length: count }, (_, index) => logIn(wrong, networks(index), `a${index}@example.com`));

  it("fill their own line, and not that of those who are known or logged in", async () => {
    const anna = addPerson(served.r, email);
    const { token } = createLogin(served.r, anna.id);
    expect((await logIn(PASSWORD, home)).status).toBe(200);
    held.together = 2;
    const answers = flood(40, somewhere);
    const mine = logIn(PASSWORD, home);
    const changed = served.ask("POST", "/v1/me/delete", { body: { password: wrong }, as: token, from: home });
    expect([(await mine).status, (await changed).status]).toEqual([200, 401]);
    held.together = 1;
    const statuses = (await Promise.all(answers)).map(({ status }) => status);
    expect(statuses.filter((status) => status === 429)).toHaveLength(40 - 2 - 32);
  });

  it("are eight from one network", async () => {
    const statuses = (await Promise.all(flood(12, () => home))).map(({ status }) => status);
    expect(statuses.filter((status) => status === 401)).toHaveLength(8);
    expect(statuses.filter((status) => status === 429)).toHaveLength(4);
  });
});

it("of two lines of hashes each has its turn", async () => {
  const hashing = openHashing({ atOnce: 1, waiting: 10 });
  const ended: string[] = [];
  const make = async (name: string, isKnown: boolean): Promise<void> => {
    await hashing.hash("x", { isKnown });
    ended.push(name);
  };
  const strangers = ["s1", "s2", "s3", "s4"].map((name) => make(name, false));
  const known = ["k1", "k2"].map((name) => make(name, true));
  await Promise.all([...strangers, ...known]);
  expect(ended).toEqual(["s1", "k1", "s2", "k2", "s3", "s4"]);
});
