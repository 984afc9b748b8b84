import { createConfig, lintFromString } from "@redocly/openapi-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { routes } from "../../broker/authority/v1/registry-table.ts";
import { openFixture, type Fixture } from "./fixture.ts";

interface Operation {
  readonly operationId: string;
  readonly security: readonly Record<string, unknown>[];
  readonly responses: Record<string, unknown>;
  readonly requestBody?: { readonly content: Record<string, unknown> };
}

interface Document {
  readonly paths: Record<string, Record<string, Operation>>;
  readonly components: { readonly schemas: Record<string, unknown>; readonly responses: Record<string, unknown> };
}

let at: Fixture;
let text: string;
let document: Document;
beforeAll(async () => {
  at = await openFixture();
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

  it("has every row of the table of routes, and the OAuth endpoints", () => {
    const described = operations().map(([path, method]) => `${method.toUpperCase()} ${path}`);
    const rows = routes.map(({ method, path }) => `${method} ${path.replaceAll(/:(\w+)/g, "{$1}")}`);
    const oauth = ["POST /token", "POST /get-access-token", "POST /introspect", "POST /verify-token", "POST /revoke"];
    expect(described).toEqual(expect.arrayContaining([...rows, ...oauth]));
    expect(new Set(operations().map(([, , { operationId }]) => operationId)).size).toBe(described.length);
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
});
