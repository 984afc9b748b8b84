/** What a refusal meant: every reason has its check and its change, and what is worked out from the registry is right. */
import { describe, expect, it } from "vitest";
import { quote } from "../../broker/authority/v1/explain-case.ts";
import { explanations, type Row } from "../../broker/authority/v1/explain-table.ts";
import { explainRefusal } from "../../broker/authority/v1/explain.ts";
import { createApi } from "../../broker/registry/apis.ts";
import { findRefusal } from "../../broker/registry/audit.ts";
import { createClient } from "../../broker/registry/clients.ts";
import { createProject } from "../../broker/registry/projects.ts";
import { recordRefusal, type Refused } from "../../broker/registry/refusals.ts";
import type { Registry } from "../../broker/registry/registry.ts";
import { createRole } from "../../broker/registry/roles.ts";
import { meanings, Refusal, type Reason } from "../../shared/refusal.ts";
import { parsePermission } from "../../shared/scope.ts";
import { openFarm } from "../registry/fixture.ts";

/** What somebody is told who asks about a refusal of this kind. */
async function explain(r: Registry, reason: Reason, given: Partial<Refused> = {}) {
  const refusal = new Refusal(reason);
  await recordRefusal(r, { event: "token.refused", refusal, ...given });
  return explainRefusal(r, findRefusal(r, refusal.id)!);
}

/** Project `farm` with an api of each kind, and a client with a role on each. */
function openFields(): Registry {
  const { r } = openFarm();
  createApi(r, { project: "farm", name: "web", kind: "http", scopes: ["read", "write", "erase"] });
  createRole(r, { project: "farm", name: "reader", api: "web", scopes: ["read"] });
  createRole(r, { project: "farm", name: "keeper", api: "web", scopes: ["read", "write"] });
  createClient(r, { project: "farm", name: "pi", kind: "device", roles: ["sensor", "reader"] });
  createClient(r, { project: "farm", name: "bare", kind: "device" });
  return r;
}

const pi = { actor: "farm.pi", subject: "farm.pi" };
const bare = { actor: "farm.bare", subject: "farm.bare" };
const facts = (value: Record<string, unknown>) => ({ facts: () => value });

describe("every reason", () => {
  const reasons = Object.keys(meanings) as Reason[];

  it("has a row, and no row is of another", () => {
    expect(Object.keys(explanations).toSorted()).toEqual(reasons.toSorted());
  });

  it.each(reasons)("%s says what is checked and what would change it, whoever was refused", async (reason) => {
    const r = openFields();
    const parties: Partial<Refused>[] = [
      {},
      pi,
      { claimed: () => "farm.none" },
      { claimed: () => "farm/telemetry" },
      { actor: "developer:dev_0123456789abcdef", project: "farm" },
      { event: "publish.refused", ...pi, ...facts({ topic: "x/y" }) },
    ];
    for (const party of parties) {
      const { check, change, told } = await explain(r, reason, party);
      for (const says of [check, change.says, told]) {
        expect(says).toMatch(/^(?:[a-z]|CBOR|CONNECT|DPoP|MQTT|iat|typ|Content-Type|the JWT)/);
        expect(says).not.toMatch(/\.$|undefined|\n/);
      }
      if (change.command !== undefined) expect(change.command).toMatch(/^postern [a-z]+ [^\n]*$/);
      if (change.command !== undefined) expect(change.command).not.toMatch(/undefined/);
    }
  });

  it("is one that this version knows; another is a fault", async () => {
    const r = openFields();
    const { reason } = await explain(r, "was.known-once" as Reason);
    expect(reason).toBe("internal" satisfies Reason);
    const row: Row = explanations.internal;
    expect(row.check).toBe("the program has no fault");
  });
});

describe("the change is worked out", () => {
  it.each<[what: string, reason: Reason, given: Partial<Refused>, says: string, command: string | undefined]>([
    [
      "a scope that a role lacks",
      "request.scope",
      { ...pi, ...facts({ audience: "farm.web", asked: ["erase"] }) },
      "role reader, which farm.pi has, lacks erase: add it",
      "postern role update reader --project farm --scope read --scope erase",
    ],
    [
      "a scope that the api has not",
      "request.scope",
      { ...pi, ...facts({ audience: "farm.web", asked: ["fly"] }) },
      "api web has no scope fly: ask for one of read, write, erase",
      undefined,
    ],
    [
      "a role that the client has not, where one would do",
      "request.scope",
      { ...bare, ...facts({ audience: "farm.web", asked: ["write"] }) },
      "farm.bare has no role on api web: give it keeper",
      "postern client update bare --project farm --role keeper",
    ],
    [
      "any role, where nothing was asked for",
      "request.scope",
      { ...bare, ...facts({ audience: "farm.web" }) },
      "farm.bare has no role on api web: give it keeper",
      "postern client update bare --project farm --role keeper",
    ],
    [
      "a role that nobody has",
      "request.scope",
      { ...bare, ...facts({ audience: "farm.web", asked: ["erase"] }) },
      "no role on api web allows erase: create one, and give it to farm.bare with postern client update",
      "postern role create <name> --project farm --api web --scope erase",
    ],
    [
      "what is allowed by now",
      "request.scope",
      { ...pi, ...facts({ audience: "farm.web", asked: ["read"] }) },
      "nothing to change: the roles allow it by now; get a new token",
      undefined,
    ],
    [
      "a permission that a role lacks, for all who hold it",
      "request.scope",
      { ...pi, ...facts({ audience: "farm.telemetry", asked: ["pub:sites/pi/down"] }) },
      "role sensor, which farm.pi has, lacks pub:sites/${name}/down: add it",
      "postern role update sensor --project farm --allow 'pub:sites/${name}/up/#' --allow 'sub:sites/${name}/down' --allow 'pub:sites/${name}/down'",
    ],
    [
      "a topic at the broker",
      "publish.topic",
      { event: "publish.refused", ...pi, ...facts({ topic: "sites/all" }) },
      "role sensor, which farm.pi has, lacks pub:sites/all: add it",
      "postern role update sensor --project farm --allow 'pub:sites/${name}/up/#' --allow 'sub:sites/${name}/down' --allow pub:sites/all",
    ],
    [
      "a will",
      "will.topic",
      { event: "will.refused", ...pi, ...facts({ topic: "sites/farm.pi/will" }) },
      "role sensor, which farm.pi has, lacks pub:sites/${client}/will: add it",
      "postern role update sensor --project farm --allow 'pub:sites/${name}/up/#' --allow 'sub:sites/${name}/down' --allow 'pub:sites/${client}/will'",
    ],
    [
      "a filter",
      "subscribe.filter",
      { event: "subscribe.refused", ...pi, ...facts({ topic: "sites/+/up" }) },
      "role sensor, which farm.pi has, lacks sub:sites/+/up: add it",
      "postern role update sensor --project farm --allow 'pub:sites/${name}/up/#' --allow 'sub:sites/${name}/down' --allow sub:sites/+/up",
    ],
    [
      "a topic of no api",
      "publish.topic",
      { event: "publish.refused", ...pi, ...facts({ topic: "roads/1" }) },
      "no api of project farm has this topic: create one",
      "postern api create <name> --project farm --kind mqtt --topics roads/1",
    ],
    [
      "a topic of somebody who writes for shells",
      "publish.topic",
      { event: "publish.refused", ...pi, ...facts({ topic: "x'; rm -rf $(HOME)" }) },
      "no api of project farm has this topic: create one",
      `postern api create <name> --project farm --kind mqtt --topics 'x'\\''; rm -rf $(HOME)'`,
    ],
    [
      "a topic that looks like a placeholder",
      "publish.topic",
      { event: "publish.refused", ...pi, ...facts({ topic: "<name>" }) },
      "no api of project farm has this topic: create one",
      "postern api create <name> --project farm --kind mqtt --topics '<name>'",
    ],
    [
      "topics that no one api has",
      "subscribe.filter",
      { event: "subscribe.refused", ...pi, ...facts({ asked: ["sub:sites/pi", "sub:roads/1"] }) },
      "no api of project farm has this topic: create one",
      "postern api create <name> --project farm --kind mqtt --topics sites/pi --topics roads/1",
    ],
    [
      "a role that the client has not, beside those that it has",
      "request.scope",
      { actor: "farm.cam", subject: "farm.cam", ...facts({ audience: "farm.web", asked: ["write"] }) },
      "farm.cam has no role on api web: give it keeper",
      "postern client update cam --project farm --role sensor --role keeper",
    ],
    [
      "an api without roles",
      "request.scope",
      { ...pi, ...facts({ audience: "farm.lone" }) },
      "no role on api lone allows anything: create one, and give it to farm.pi with postern client update",
      "postern role create <name> --project farm --api lone --scope <what>",
    ],
    [
      "an audience in a project, by a stranger",
      "request.audience",
      { project: "zoo", ...facts({ audience: "zoo.cam" }) },
      "correct the audience, or create the api",
      "postern api create cam --project zoo --kind <mqtt|http>",
    ],
    [
      "an audience of which no more is known",
      "request.audience",
      facts({ audience: "cam" }),
      "correct the audience, or create the api with this --audience",
      "postern api create <name> --project <project> --kind <mqtt|http>",
    ],
    [
      "an audience that nobody has",
      "request.audience",
      { ...pi, ...facts({ audience: "farm.cam" }) },
      "correct the audience, or create the api",
      "postern api create cam --project farm --kind <mqtt|http>",
    ],
    [
      "an audience of another project, as if nobody had it",
      "request.audience",
      { ...pi, ...facts({ audience: "zoo.apes" }) },
      "correct the audience, or create the api with this --audience",
      "postern api create <name> --project farm --kind <mqtt|http>",
    ],
    [
      "an audience that there is by now",
      "request.audience",
      { ...pi, ...facts({ audience: "farm.web" }) },
      "nothing to change: there is one by now",
      undefined,
    ],
    [
      "no audience",
      "request.audience",
      { ...pi, ...facts({}) },
      "name the audience in the request; without it the client needs roles on exactly one api",
      undefined,
    ],
    [
      "a token for an api that wants it bound",
      "request.unbound",
      { ...pi, ...facts({ audience: "farm.web" }) },
      "bind it to a key: token get with --dpop-key (for an api of kind http), with --cert and --key-file, or with a registered --key-file; or create the api with --bearer",
      undefined,
    ],
    ...(["api-key.unknown", "api-key.expired", "api-key.revoked"] as const).map(
      (reason): [string, Reason, Partial<Refused>, string, string] => [
        `an API key (${reason})`,
        reason,
        {},
        reason === "api-key.unknown" ? "make one" : "make another",
        "postern apikey create <name>",
      ],
    ),
    ["a login that is over", "account.login", {}, "log in again", "postern login <email>"],
    [
      "a client that is disabled",
      "client.disabled",
      pi,
      "enable it; it needs new tokens",
      "postern client enable farm.pi",
    ],
    [
      "a client that is the subject, and did nothing itself",
      "client.disabled",
      { subject: "farm.pi", actor: "admin" },
      "enable it; it needs new tokens",
      "postern client enable farm.pi",
    ],
    [
      "a client that claims to be another",
      "client.disabled",
      { ...pi, claimed: () => "farm.bare" },
      "enable it; it needs new tokens",
      "postern client enable farm.pi",
    ],
    [
      "a client that is claimed and not there",
      "client.unknown",
      { claimed: () => "farm.job" },
      "create it, or correct the id",
      "postern client create job --project farm --kind <device|service|app>",
    ],
    [
      "a client where an api was claimed",
      "client.unknown",
      { claimed: () => "farm/web" },
      "create it, or correct the id",
      "postern client create <name> --project farm --kind <device|service|app>",
    ],
    [
      "a secret of a client",
      "secret.expired",
      { claimed: () => "farm.pi" },
      "make another",
      "postern secret create --client farm.pi",
    ],
    [
      "a secret of an api",
      "secret.expired",
      { claimed: () => "farm/web" },
      "make another",
      "postern secret create --api web --project farm",
    ],
    [
      "an api that is not there",
      "resource-server.unknown",
      { claimed: () => "farm/cam" },
      "create the api, or correct <project>/<api>",
      "postern api create cam --project farm --kind http --scopes <scope>",
    ],
    ["a token that has expired", "token.expired", pi, "nothing to change: get a new token", undefined],
    [
      "a developer's role",
      "access.permission",
      {
        actor: "developer:dev_0123456789abcdef/0a",
        project: "farm",
        ...facts({ detail: "the role auditor does not permit manage" }),
      },
      "have an owner of the project give a role that permits it",
      "postern member set dev_0123456789abcdef --project farm --role <role>",
    ],
    [
      "an API key's scopes",
      "access.permission",
      {
        actor: "developer:dev_0123456789abcdef/0a",
        project: "farm",
        ...facts({ detail: "the key has no scope manage" }),
      },
      "use a key with the scope manage",
      "postern apikey create <name> --project farm --scope read --scope manage",
    ],
    [
      "an API key that may not even read",
      "access.permission",
      {
        actor: "developer:dev_0123456789abcdef/0a",
        project: "farm",
        ...facts({ detail: "the key has no scope read" }),
      },
      "use a key with the scope read",
      "postern apikey create <name> --project farm --scope read",
    ],
    [
      "an API key, in no project",
      "access.permission",
      { actor: "developer:dev_0123456789abcdef/0a", ...facts({ detail: "the key has no scope audit" }) },
      "use a key with the scope audit",
      "postern apikey create <name> --scope read --scope audit",
    ],
    [
      "a key that is not registered",
      "assertion.signature",
      { claimed: () => "farm.pi" },
      "sign with a key that is registered for the client, or register the one that was used beside it",
      "postern client keys farm.pi",
    ],
  ])("of %s", async (_, reason, given, says, command) => {
    const r = openFields();
    createProject(r, "zoo");
    createApi(r, { project: "zoo", name: "apes", kind: "http", scopes: ["feed"] });
    createApi(r, { project: "farm", name: "lone", kind: "http", scopes: ["read"] });
    createClient(r, { project: "farm", name: "cam", kind: "device", roles: ["sensor"] });
    const { change } = await explain(r, reason, given);
    expect(change).toEqual({ says, ...(command !== undefined && { command }) });
  });

  it("of nothing that was asked for, where no api is of topics", async () => {
    const r = openFields();
    createProject(r, "zoo");
    createApi(r, { project: "zoo", name: "apes", kind: "http", scopes: ["feed"] });
    createClient(r, { project: "zoo", name: "ape", kind: "device" });
    const { change } = await explain(r, "client.grants", { actor: "zoo.ape", subject: "zoo.ape" });
    expect(change).toEqual({
      says: "name the audience in the request; without it the client needs roles on exactly one api",
    });
  });

  it("with the permissions that other clients' names do not fill", async () => {
    const { r } = openFarm();
    createApi(r, { project: "farm", name: "own", kind: "mqtt", topics: ["cab/pi/#"] });
    createRole(r, { project: "farm", name: "cab", api: "own", permissions: [parsePermission("sub:cab/pi/a")] });
    createClient(r, { project: "farm", name: "pi", kind: "device", roles: ["cab"] });
    const { change } = await explain(r, "publish.topic", {
      event: "publish.refused",
      ...pi,
      ...facts({ topic: "cab/pi/b" }),
    });
    // where the api names it there is no room for a placeholder
    expect(change.command).toBe("postern role update cab --project farm --allow sub:cab/pi/a --allow pub:cab/pi/b");
  });
});

describe("a word for a shell", () => {
  it.each([
    ["plain/topic-1", "plain/topic-1"],
    ["<name>", "'<name>'"],
    ["", "''"],
    ["a b", "'a b'"],
    ["$(x)", "'$(x)'"],
    ["it's", `'it'\\''s'`],
    ["a\nb", "'a\nb'"],
  ])("%j is %s", (word, quoted) => {
    expect(quote(word)).toBe(quoted);
  });
});
