import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { createConfig, lintFromString } from "@redocly/openapi-core";
import type { FastifyInstance } from "fastify";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { routes } from "../../broker/authority/v1/registry-table.ts";
import { openFixture, type Fixture } from "./fixture.ts";

interface Operation {
  readonly operationId: string;
  readonly security: readonly Record<string, unknown>[];
  readonly responses: Record<string, unknown>;
  readonly parameters?: readonly { readonly name: string }[];
  readonly requestBody?: { readonly content: Record<string, unknown> };
}

interface Document {
  readonly paths: Record<string, Record<string, Operation>>;
  readonly components: { readonly schemas: Record<string, unknown>; readonly responses: Record<string, unknown> };
}

let at: Fixture;
let text: string;
let document: Document;
/** What the server has, as it was registered. */
const registered: string[] = [];
const created = "fastify.initialization";
function noteRoutes(message: unknown): void {
  const { fastify } = message as { readonly fastify: FastifyInstance };
  fastify.addHook("onRoute", ({ method, url }) => {
    for (const one of [method].flat()) registered.push(`${one} ${url.replaceAll(/:(\w+)/g, "{$1}")}`);
  });
}

beforeAll(async () => {
  subscribe(created, noteRoutes);
  at = await openFixture({}, async () => ({ contentType: "text/plain", text: "" }));
  unsubscribe(created, noteRoutes);
  text = (await at.call("/openapi.json")).body.toString("utf8");
  document = JSON.parse(text) as Document;
});
afterAll(() => at.close());

function operations(): [path: string, method: string, operation: Operation][] {
  return Object.entries(document.paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, operation]) => [path, method, operation] as [string, string, Operation]),
  );
}

describe("GET /openapi.json", () => {
  it("passes a linter", async () => {
    const config = await createConfig({ extends: ["recommended-strict"] });
    const problems = await lintFromString({ source: text, config });
    expect(problems.map(({ ruleId, message, location }) => [ruleId, message, location[0]?.pointer])).toEqual([]);
  });

  it("makes the linter complain when something is wrong in it", async () => {
    const config = await createConfig({ extends: ["recommended-strict"] });
    const source = text.replaceAll("#/components/schemas/NewApi", "#/components/schemas/Nothing");
    const problems = await lintFromString({ source, config });
    expect(problems.map(({ ruleId }) => ruleId)).toContain("no-unresolved-refs");
  });

  it("has what the server has, and nothing else", () => {
    const described = operations().map(([path, method]) => `${method.toUpperCase()} ${path}`);
    // the head of whatever there is to GET is there too (RFC 9110, section 9.3.2)
    const heads = described.filter((one) => one.startsWith("GET ")).map((one) => one.replace("GET", "HEAD"));
    expect(registered.length).toBeGreaterThan(100);
    expect(registered.toSorted()).toEqual([...described, ...heads].toSorted());
    expect(new Set(operations().map(([, , { operationId }]) => operationId)).size).toBe(described.length);
  });

  it.each([
    ["POST /token", ["client", "certificate", undefined]],
    ["POST /introspect", ["client", "certificate", "admin", undefined]],
    ["POST /revoke", ["client", "certificate", "admin", undefined]],
    ["GET /revoke/trl", ["client", "certificate", "admin"]],
    ["GET /v1/self", ["client", "certificate"]],
    ["POST /.well-known/est/simpleenroll", ["ticket"]],
    ["POST /.well-known/est/simplereenroll", ["certificate"]],
    ["GET /metrics", ["admin", undefined]],
    ["GET /crl", []],
  ])("says of %s who may", (name, credentials) => {
    const [method, path] = name.split(" ");
    const { security } = document.paths[path!]![method!.toLowerCase()]!;
    expect(security.map((one) => Object.keys(one)[0])).toEqual(credentials);
  });

  it.each([
    ["POST /token", ["DPoP"]],
    ["GET /revoke/trl", ["diff", "cursor", "trust", "Prefer", "If-None-Match"]],
    ["GET /crl", ["If-None-Match"]],
  ])("says of %s what may be sent besides a body", (name, expected) => {
    const [method, path] = name.split(" ");
    const { parameters } = document.paths[path!]![method!.toLowerCase()]!;
    expect(parameters?.map((one) => one.name)).toEqual(expected);
  });

  it("says of the OAuth endpoints what they take", () => {
    for (const path of ["/token", "/get-access-token", "/introspect", "/verify-token", "/revoke"]) {
      expect(Object.keys(document.paths[path]!["post"]!.requestBody!.content)).toEqual([
        "application/x-www-form-urlencoded",
        "application/json",
        "application/ace+json",
        "application/ace+cbor",
      ]);
    }
  });

  it("says of each row who may", () => {
    for (const route of routes) {
      const { security } = document.paths[route.path.replaceAll(/:(\w+)/g, "{$1}")]![route.method.toLowerCase()]!;
      const names = security.flatMap((one) => Object.keys(one));
      const expected =
        route.access === "anyone"
          ? []
          : route.access === "login" || route.access === "admin"
            ? [route.access]
            : ["admin", "login", "apiKey"];
      expect([route.path, names]).toEqual([route.path, expected]);
    }
  });
});

describe("GET /docs", () => {
  it("is one page that loads nothing and runs nothing", async () => {
    const { status, headers, body } = await at.call("/docs");
    const html = body.toString("utf8");
    expect([status, headers["content-type"], headers["x-content-type-options"]]).toEqual([
      200,
      "text/html; charset=utf-8",
      "nosniff",
    ]);
    expect(headers["content-security-policy"]).toMatch(/^default-src 'none'; style-src 'sha256-[A-Za-z0-9+/=]+';/);
    const loading =
      /<(script|link|img|iframe|object|form)\b|<[^>]* on[a-z]+=|@import|(src|href)="(?!#|openapi\.json")/gi;
    expect(/<style>(.*?)<\/style>/s.exec(html)?.[1]).not.toMatch(/url\(/);
    expect([...html.matchAll(loading)].map(([found]) => found)).toEqual([]);
  });

  it("names every operation and every shape", async () => {
    const html = (await at.call("/docs")).body.toString("utf8");
    for (const [path] of operations()) expect(html).toContain(`<span class="path">${path}</span>`);
    for (const name of Object.keys(document.components.schemas)) expect(html).toContain(`id="shape-${name}"`);
  });

  it("says what any request may be answered with once, before the operations", async () => {
    const html = (await at.call("/docs")).body.toString("utf8");
    for (const name of ["TookTooLong", "HeadersTooLarge"]) {
      const { description } = document.components.responses[name] as { readonly description: string };
      expect([name, html.split(description).length - 1, html.includes(`<td>${name}</td>`)]).toEqual([name, 1, false]);
    }
    expect(html.indexOf('id="answers"')).toBeLessThan(html.indexOf("<details>"));
  });

  it("says of an operation which header it takes, in which media types, and what comes with an answer", async () => {
    const html = (await at.call("/docs")).body.toString("utf8");
    const [, of = ""] = /<span class="path">\/token<\/span>([^]*?)<\/details>/.exec(html) ?? [];
    for (const part of [
      "<td><code>DPoP</code></td><td>header</td><td>a proof to bind the token",
      "<code>application/x-www-form-urlencoded</code>, <code>application/json</code>, <code>application/ace+json</code>",
      '<a href="#shape-TokenAnswerCbor">TokenAnswerCbor</a> as <code>application/ace+cbor</code>',
      "with <code>Retry-After</code>, <code>RateLimit-Policy</code>, <code>RateLimit</code>",
    ]) {
      expect(of).toContain(part);
    }
    expect(html).toContain("says in <code>Allow</code> which it has");
  });
});
