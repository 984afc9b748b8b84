/** Topics of one project, and what another may have beside them. */
import { describe, expect, it } from "vitest";
import { createApi, listApis, type Api } from "../../broker/registry/apis.ts";
import { createProject } from "../../broker/registry/projects.ts";
import type { Registry } from "../../broker/registry/registry.ts";
import type { Founder } from "../../broker/registry/topic-ground.ts";
import { openFixture, refusal } from "./fixture.ts";

/** Projects `farm` and `zoo`, and the topics of farm. */
function open(...topics: string[]): Registry {
  const { r } = openFixture();
  for (const project of ["farm", "zoo"]) createProject(r, project);
  if (topics.length > 0) createApi(r, { project: "farm", name: "api", kind: "mqtt", topics });
  return r;
}

function add(r: Registry, topics: string | string[], founder: Founder = "administrator", project = "zoo"): Api {
  const asked = { project, name: `api-${listApis(r, project).length}`, kind: "mqtt" as const, topics: [topics].flat() };
  return createApi(r, asked, "somebody", founder);
}

const taken = refusal("registry.conflict", "another project");

describe("filters that meet those of another project", () => {
  it.each([
    ["sites/#", "sites/#"],
    ["sites/#", "sites"],
    ["sites/#", "sites/a/b"],
    ["sites/#", "#"],
    ["sites/#", "+"],
    ["sites/#", "+/a"],
    ["sites/#", "+/#"],
    ["sites/a", "sites/+"],
    ["sites/+/up", "sites/a/+"],
    ["sites/+/up", "+/+/+"],
    ["sites/+/up", "sites/a/#"],
    ["#", "anything"],
    ["/", "+/+"],
    ["/sites", "/#"],
  ])("%s and %s, whoever asks and whoever was first", (one, other) => {
    for (const [there, asked] of [
      [one, other],
      [other, one],
    ] as const) {
      const r = open(there);
      expect(() => add(r, asked)).toThrow(taken);
      expect(listApis(r, "zoo")).toEqual([]);
    }
  });

  it.each([
    ["sites/#", "site/#"],
    ["sites/#", "Sites/#"],
    ["sites/a", "sites/a/b"],
    ["sites/+", "sites"],
    ["sites/+", "sites/a/b"],
    ["sites/+/up", "sites/+/down"],
    ["a/+/c/#", "a/b/d/#"],
    ["/sites", "sites"],
    ["+", "a/b"],
  ])("%s and %s do not", (one, other) => {
    expect(add(open(one), other).topics).toEqual([other]);
    expect(add(open(other), one).topics).toEqual([one]);
  });

  it("are free to the project that has them", () => {
    const r = open("sites/#");
    expect(add(r, "sites/+/up", "administrator", "farm").topics).toEqual(["sites/+/up"]);
  });

  it("are looked for in every api of every project", () => {
    const r = open("sites/#");
    createProject(r, "garden");
    add(r, ["beds/#", "paths/+"], "administrator", "garden");
    add(r, "roof/#", "administrator", "garden");
    for (const topic of ["sites/a", "beds/1", "paths/a", "roof"]) {
      expect(() => add(r, ["gate/#", topic])).toThrow(refusal("registry.conflict", "topics.1: "));
    }
    expect(add(r, "gate/#").topics).toEqual(["gate/#"]);
  });
});

describe("a developer", () => {
  it("has what begins with the name of the project", () => {
    const r = open();
    for (const topics of [["zoo/#"], ["zoo"], ["zoo/+/up", "zoo/down"]]) {
      expect(add(r, topics, "developer").topics).toEqual(topics);
    }
  });

  it.each(["farm/#", "nobody/#", "zoo2/#", "Zoo/#", "#", "+", "+/a", "+/#", "/", "/zoo", "/#"])(
    "has not %s",
    (topic) => {
      const r = open();
      expect(() => add(r, ["zoo/#", topic], "developer")).toThrow(refusal("registry.invalid", "topics.1: "));
      // who may give it to anybody
      expect(add(r, topic).topics).toEqual([topic]);
    },
  );

  it("has not what the administrator gave to another project, whatever its name", () => {
    for (const topic of ["zoo/a", "+/a", "#"]) {
      expect(() => add(open(topic), ["zoo/b", "zoo/#"], "developer")).toThrow(taken);
    }
    expect(add(open("zoo/a"), "zoo/b", "developer").topics).toEqual(["zoo/b"]);
  });
});
