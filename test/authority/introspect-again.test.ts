/**
 * A token that was asked about before: what it says is remembered, and whether it is good is found out anew, whatever happened
 * to what it stands on in between.
 */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createClient, deleteClient, setClientEnabled, setClientRoles } from "../../broker/registry/clients.ts";
import { revokeAll, type Wish } from "../../broker/registry/revocations.ts";
import { activeSigner, ensureSigningKey } from "../../broker/registry/signing-keys.ts";
import { twinOf } from "../../shared/es256.ts";
import { ISSUER, makeDevice } from "./fixture.ts";
import { json, JSON_TYPE, openIntrospectFixture, type IntrospectFixture } from "./introspect-fixture.ts";

let at: IntrospectFixture;
beforeEach(async () => {
  at = await openIntrospectFixture();
  createClient(at.registry, { project: "plant", name: "own", kind: "service", roles: ["editor"] });
});
afterEach(() => at.close());

const sub = "plant.own";
const why = (): unknown => at.lines.findLast(({ msg }) => msg === "inactive")?.["reason"];
const takeBack = (wish: Wish): void => void revokeAll(at.registry, wish, { issuer: ISSUER });

async function ask(token: string, api = "web"): Promise<Record<string, unknown>> {
  const body = JSON.stringify({ token });
  return json(await at.call("/introspect", { headers: at.as(api), type: JSON_TYPE, body }));
}

function twin(jwt: string): string {
  const end = jwt.lastIndexOf(".") + 1;
  return jwt.slice(0, end) + Buffer.from(twinOf(Buffer.from(jwt.slice(end), "base64url"))).toString("base64url");
}

describe("is active no more when", () => {
  const rows: readonly (readonly [what: string, change: (token: string) => void, reason: string])[] = [
    ["its time is up", () => (at.clock.now += 600), "token.expired"],
    ["it is revoked", (token) => takeBack({ tokens: [token] }), "token.revoked"],
    [
      "it is revoked with the other form of its signature",
      (token) => takeBack({ tokens: [twin(token)] }),
      "token.revoked",
    ],
    ["its client is disabled", () => setClientEnabled(at.registry, sub, false), "client.disabled"],
    [
      "its client is disabled and enabled again",
      () => {
        setClientEnabled(at.registry, sub, false);
        setClientEnabled(at.registry, sub, true);
      },
      "token.revoked",
    ],
    ["its client is deleted", () => deleteClient(at.registry, sub), "client.unknown"],
    ["its client has no role on the api", () => setClientRoles(at.registry, sub, []), "client.grants"],
    [
      "the key that signed it is revoked",
      () => {
        takeBack({ keys: [activeSigner(at.registry).kid] });
        ensureSigningKey(at.registry);
      },
      "token.key-unknown",
    ],
    [
      "all of its project from before a time are taken back",
      () => {
        at.clock.now += 5;
        takeBack({ projects: [{ project: "plant", before: at.clock.now }] });
      },
      "token.revoked",
    ],
  ];
  test.each(rows)("%s", async (_, change, reason) => {
    const token = at.mint({ sub });
    for (let times = 0; times < 3; times++) expect((await ask(token))["active"]).toBe(true);
    change(token);
    expect([await ask(token), why()]).toEqual([{ active: false }, reason]);
  });

  test.each(rows)("%s, asked about with the other form of its signature", async (_, change, reason) => {
    const token = at.mint({ sub });
    for (let times = 0; times < 2; times++) expect((await ask(twin(token)))["active"]).toBe(true);
    change(token);
    expect([await ask(twin(token)), why()]).toEqual([{ active: false }, reason]);
  });

  test("a certificate with its key is revoked", async () => {
    const { key, serial } = await makeDevice(at, sub);
    const token = at.mint({ sub, cnf: { kind: "key", key } });
    for (let times = 0; times < 2; times++) expect((await ask(token))["active"]).toBe(true);
    takeBack({ certificates: [serial] });
    expect([await ask(token), why()]).toEqual([{ active: false }, "token.revoked"]);
  });
});

test("allows what the roles allow at each question", async () => {
  const token = at.mint({ sub });
  expect((await ask(token))["scope"]).toBe("read write");
  setClientRoles(at.registry, sub, ["visitor"]);
  expect((await ask(token))["scope"]).toBe("read");
  setClientRoles(at.registry, sub, ["editor"]);
  expect((await ask(token))["scope"]).toBe("read write");
});

test("is told to nobody else because somebody has asked before", async () => {
  const token = at.mint({ sub });
  expect((await ask(token))["active"]).toBe(true);
  expect([await ask(token, "open"), why()]).toEqual([{ active: false }, "token.audience"]);
});

test("is not taken for one that begins like it, or that was changed", async () => {
  const token = at.mint({ sub });
  expect((await ask(token))["active"]).toBe(true);
  const [head, payload, signature] = token.split(".") as [string, string, string];
  const claims = JSON.parse(Buffer.from(payload, "base64url").toString()) as object;
  const other = Buffer.from(JSON.stringify({ ...claims, scope: "W10" })).toString("base64url");
  expect([await ask(`${head}.${other}.${signature}`), why()]).toEqual([{ active: false }, "token.signature"]);
  expect([await ask(token.slice(0, -1)), why()]).toEqual([{ active: false }, "base64url.malformed"]);
});

test("is found again when very many others were asked about since", async () => {
  const token = at.mint({ sub, exp: at.clock.now + 600 });
  expect((await ask(token))["active"]).toBe(true);
  const scope = `read ${"x".repeat(2_500)}`;
  for (let count = 0; count < 700; count++) expect((await ask(at.mint({ sub, scope })))["scope"]).toBe("read");
  expect((await ask(token))["scope"]).toBe("read write");
  takeBack({ tokens: [token] });
  expect([await ask(token), why()]).toEqual([{ active: false }, "token.revoked"]);
});
