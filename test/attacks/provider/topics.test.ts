/** A developer with a project of their own who would like to hear and speak on the topics of others. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createApi, listApis } from "../../../broker/registry/apis.ts";
import { createApiKey } from "../../../broker/registry/api-keys.ts";
import { createLogin } from "../../../broker/registry/logins.ts";
import { createProject } from "../../../broker/registry/projects.ts";
import { ISSUER, type Answer } from "../../authority/fixture.ts";
import { readJson } from "../../authority/http-apis.ts";
import { openGround, type Ground } from "./ground.ts";

let at: Ground;
/** What the keeper of zoo may come with. */
let credentials: Readonly<Record<string, string>>;
beforeAll(async () => {
  at = await openGround();
  createApi(at.registry, {
    project: "farm",
    name: "mqtt",
    kind: "mqtt",
    topics: ["farm/#", "sites/+/up", "zoo/cage/1"],
  });
  createProject(at.registry, "quiet");
  credentials = {
    login: createLogin(at.registry, at.keeper.id).token,
    "api key": createApiKey(at.registry, at.keeper, { name: "key", scopes: ["manage"] }, "keeper").key,
  };
});
afterAll(() => at.close());

let names = 0;
async function add(topics: readonly string[], credential: string): Promise<Answer> {
  const json = { name: `m${names++}`, kind: "mqtt", topics };
  const headers = { authorization: `Bearer ${credential}`, "content-type": "application/json" };
  return at.call("/v1/projects/zoo/apis", { method: "POST", headers, body: JSON.stringify(json) });
}

describe.each(["login", "api key"])("with a %s", (name) => {
  test.each([
    ["everything", ["#"], 422],
    ["every first level", ["+/#"], 422],
    ["every topic of two levels, beside a good one", ["zoo/#", "+/temperature"], 422],
    ["what begins with an empty level", ["/#"], 422],
    ["the tree of another project", ["farm/#"], 422],
    ["one topic of it", ["farm/door/command"], 422],
    ["a wildcard across it", ["sites/+/+"], 422],
    ["what another project could want", ["quiet/#"], 422],
    ["what somebody could want some day", ["homes/#"], 422],
    ["what the administrator gave away of theirs", ["zoo/cage/#"], 409],
  ])("does not get %s", async (_, topics, status) => {
    const before = listApis(at.registry, "zoo").length;
    const answer = await add(topics, credentials[name]!);
    expect(answer.status).toBe(status);
    expect(listApis(at.registry, "zoo")).toHaveLength(before);
    // nothing of whose it is
    expect(answer.body.toString()).not.toMatch(/farm|sites|quiet/);
  });

  test("gets a tree of their own", async () => {
    const answer = await add(["zoo/up/#", "zoo/+"], credentials[name]!);
    expect([answer.status, readJson(answer)["topics"]]).toEqual([201, ["zoo/up/#", "zoo/+"]]);
  });
});

test("nobody has the audience that the authority itself is", async () => {
  for (const path of ["", "/", "/token"]) {
    const body = JSON.stringify({ name: `m${names++}`, kind: "http", scopes: ["read"], audience: `${ISSUER}${path}` });
    for (const credential of [...Object.values(credentials), "admin-key"]) {
      const headers = { authorization: `Bearer ${credential}`, "content-type": "application/json" };
      const answer = await at.call("/v1/projects/zoo/apis", { method: "POST", headers, body });
      expect([answer.status, answer.body.toString()]).toEqual([422, expect.stringContaining("audience")]);
    }
  }
});

test("the holder of the admin key gives nothing twice either, and is not bound to names", async () => {
  expect((await add(["farm/door"], "admin-key")).status).toBe(409);
  expect((await add(["#"], "admin-key")).status).toBe(409);
  expect((await add(["/hall/#"], "admin-key")).status).toBe(201);
});
