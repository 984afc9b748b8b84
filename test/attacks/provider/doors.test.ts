/**
 * What every path has in common: no cookies and no word to browsers of other sites, no other method by a header, no answer of
 * another type by `Accept`, no body of another type or encoding, and nothing done by `OPTIONS` and `HEAD`.
 */
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openApiDocument } from "../../../broker/authority/v1/openapi.ts";
import { routes } from "../../../broker/authority/v1/registry-table.ts";
import type { Answer } from "../../authority/fixture.ts";
import { fillPath, openGround, type Ground } from "./ground.ts";
import { right } from "./right-bodies.ts";

let at: Ground;
beforeAll(async () => {
  at = await openGround();
  // the list is written when it is asked for first
  await at.call("/crl");
});
afterAll(() => at.close());

const evil = "https://evil.test";
const rows = routes.map((route) => [`${route.method} ${route.path}`, route] as const);
/** Those that no table has. */
const others = [
  "/healthz",
  "/docs",
  "/openapi.json",
  "/crl",
  "/revoke/trl",
  "/metrics",
  "/v1/self",
  "/nonesuch",
  "/v1",
  "/v1/nonesuch",
  "/",
  "/.well-known/est/cacerts",
  "/.well-known/est/simpleenroll",
];
const described = Object.keys(openApiDocument()["paths"] as object).filter((path) => !path.includes("{"));
const paths = [...new Set([...described, ...others, ...routes.map(({ path }) => path)])];
/** There is nothing, here without metrics. */
const nowhere = new Set(["/nonesuch", "/v1", "/v1/nonesuch", "/", "/metrics"]);
const none = [404, "request.not-found"];
const wrongMethod = [405, "request.method"];
const preflight = {
  origin: evil,
  "access-control-request-method": "POST",
  "access-control-request-headers": "authorization,content-type",
  cookie: "session=ps1_x; token=x",
};

function assertQuiet(answer: Answer): void {
  for (const name of Object.keys(answer.headers)) {
    expect(name).not.toMatch(
      /^(?:set-cookie|access-control-|timing-allow-origin|x-powered-by|server$|location$|refresh)/,
    );
  }
  expect(JSON.stringify(answer.rawHeaders)).not.toContain("evil");
}

it("the paths are those of the document and more", () => {
  expect(paths).toEqual(expect.arrayContaining(["/token", "/introspect", "/revoke", "/revoke/trl", "/v1/login"]));
});

describe("no cookie and nothing for other sites", () => {
  it.each(paths)("%s", async (path) => {
    const before = at.picture();
    const filled = fillPath(at, path);
    for (const method of ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]) {
      const answer = await at.call(filled, { method, headers: preflight });
      assertQuiet(answer);
      if (method === "OPTIONS") expect([answer.status, at.reason()]).toEqual(nowhere.has(path) ? none : wrongMethod);
      if (method === "HEAD") expect(answer.body).toHaveLength(0);
    }
    expect(at.picture() === before).toBe(true);
  });

  it.each(rows)("nor with a key: %s", async (_title, route) => {
    const before = at.picture();
    const answer = await at.ask(route, fillPath(at, route.path), {
      // a method that the path has and this is not: what is asked is done elsewhere
      method: "OPTIONS",
      headers: { ...preflight, "content-type": "application/json" },
    });
    assertQuiet(answer);
    expect([answer.status, at.reason()]).toEqual(wrongMethod);
    expect(String(answer.headers["allow"]).split(", ")).toContain(route.method);
    expect(at.picture() === before).toBe(true);
  });

  it("a login in a cookie, or in a header of another name, is none", async () => {
    const tries: readonly Readonly<Record<string, string>>[] = [
      { cookie: `authorization=Bearer ${at.login}; session=${at.login}` },
      { "proxy-authorization": `Bearer ${at.login}` },
      { "x-authorization": `Bearer ${at.login}` },
      { "x-forwarded-user": at.owner.email, "x-real-ip": "127.0.0.1", forwarded: "for=127.0.0.1" },
      { "x-client-cert": "x", "x-ssl-client-verify": "SUCCESS", "x-forwarded-client-cert": "Subject=CN=farm.x" },
    ];
    for (const headers of tries) {
      const answer = await at.call("/v1/me", { headers });
      expect([answer.status, at.reason()]).toEqual([401, "admin.key"]);
    }
    expect((await at.call("/v1/me", { headers: { authorization: `Bearer ${at.login}` } })).status).toBe(200);
  });
});

describe("HEAD", () => {
  it.each(rows.filter(([, { method }]) => method === "GET"))(
    "says what %s says, without a body",
    async (_title, route) => {
      const path = fillPath(at, route.path);
      const [head, get] = [await at.ask({ ...route, method: "HEAD" as "GET" }, path), await at.ask(route, path)];
      expect([head.status, head.headers["content-type"], head.body.length]).toEqual([
        get.status,
        get.headers["content-type"],
        0,
      ]);
    },
  );

  it.each(rows.filter(([, { path }]) => !routes.some((route) => route.path === path && route.method === "GET")))(
    "is no %s",
    async (_title, route) => {
      const before = at.picture();
      const answer = await at.ask(route, fillPath(at, route.path), { method: "HEAD" });
      // a path of one row may be that of another with a name in it, which wants a key
      expect([route.path, answer.status]).toEqual([route.path, route.path === "/v1/developers/confirm" ? 401 : 405]);
      expect(at.picture() === before).toBe(true);
    },
  );
});

describe("a method is that of the first line", () => {
  const overrides = ["x-http-method-override", "x-http-method", "x-method-override", "x-original-method"];

  it.each(overrides)("and not of %s", async (name) => {
    const before = at.picture();
    const path = "/v1/projects/farm/clients/own-client";
    const row = { access: "admin", method: "GET" } as const;
    for (const method of ["DELETE", "PATCH"]) {
      const answer = await at.ask(row, `${path}?_method=${method}`, { headers: { [name]: method } });
      expect([answer.status, JSON.parse(answer.body.toString())]).toMatchObject([200, { name: "own-client" }]);
    }
    const posted = await at.ask({ access: "admin", method: "POST" }, path, {
      headers: { [name]: "DELETE" },
      type: "application/json",
      body: '{"_method":"DELETE"}',
    });
    expect([posted.status, at.reason()]).toEqual(wrongMethod);
    expect(at.picture() === before).toBe(true);
  });

  it.each(["x-original-url", "x-rewrite-url", "x-forwarded-path", "x-forwarded-prefix"])(
    "nor a path of %s",
    async (name) => {
      const answer = await at.call("/healthz", {
        headers: { [name]: "/v1/projects", authorization: "Bearer admin-key" },
      });
      expect(answer.body.toString()).toBe('{"status":"ok"}');
    },
  );

  it.each(["delete", "Get", "PROPFIND", "TRACE", "BREW"])("%s is none of ours", async (method) => {
    const before = at.picture();
    // what node's parser does not know it answers itself
    const answer = await at
      .call("/v1/projects/farm", { method, headers: { authorization: "Bearer admin-key" } })
      .catch(() => undefined);
    if (answer !== undefined) expect([200, 400, 404, 405]).toContain(answer.status);
    if (method !== "Get") expect(answer?.status).not.toBe(200);
    expect(at.picture() === before).toBe(true);
  });
});

describe("the type of an answer is not what the caller makes it", () => {
  it.each([
    "text/html",
    "application/xml",
    "text/html, */*;q=0",
    "application/json;q=0",
    "*/*;q=0",
    "x".repeat(3_000),
    "\u00ff",
    "",
  ])("with Accept: %s", async (accept) => {
    const headers = { accept, "accept-language": "<script>", "accept-encoding": "gzip, br" };
    const row = { access: "admin", method: "GET" } as const;
    for (const [path, status, type] of [
      ["/v1/projects/farm", 200, "application/json; charset=utf-8"],
      ["/v1/projects/%3Cscript%3Ealert(1)%3C%2Fscript%3E", 404, "application/problem+json"],
      ["/v1/%3Cscript%3E", 404, "application/problem+json"],
      ["/%3Cscript%3E", 404, "application/json"],
    ] as const) {
      const answer = await at.ask(row, path, { headers });
      expect([path, answer.status, answer.headers["content-type"]]).toEqual([path, status, type]);
      expect(answer.headers["content-encoding"]).toBeUndefined();
    }
  });
});

describe("a body is what its type says", () => {
  const body = JSON.stringify(right.NewProject.full);
  const row = { access: "admin", method: "POST" } as const;
  const login = { access: "anyone", method: "POST" } as const;

  it.each<[string, string, Uint8Array | string, Record<string, string>, number, string]>([
    ["gzip", "application/json", gzipSync(body), { "content-encoding": "gzip" }, 400, "request.malformed"],
    ["UTF-16", "application/json; charset=utf-16", Buffer.from(body, "utf16le"), {}, 400, "request.malformed"],
    ["a form", "application/x-www-form-urlencoded", "slug=barn", {}, 415, "request.media-type"],
    ["JSON that says it is text", "text/plain", body, {}, 415, "request.media-type"],
    ["JSON that says it is two things", "text/plain, application/json", body, {}, 415, "request.media-type"],
    ["JSON behind a parameter", "text/plain; application/json", body, {}, 415, "request.media-type"],
    ["JSON of a vendor", "application/vnd.x+json", body, {}, 415, "request.media-type"],
    ["problem details", "application/problem+json", body, {}, 415, "request.media-type"],
    ["CBOR", "application/ace+cbor", body, {}, 415, "request.media-type"],
    ["several parts", "multipart/form-data; boundary=x", `--x\r\n\r\n${body}\r\n--x--`, {}, 415, "request.media-type"],
    ["a NUL in the type", "application/json;\u00a0", "{", {}, 400, "request.malformed"],
  ])("%s is not taken", async (_how, type, bytes, headers, status, reason) => {
    const before = at.picture();
    for (const answer of [
      await at.ask(row, "/v1/projects", { type, body: bytes, headers }),
      await at.ask(login, "/v1/login", { type, body: bytes, headers }),
    ]) {
      expect([answer.status, at.reason()]).toEqual([status, reason]);
    }
    expect(at.picture() === before).toBe(true);
  });

  it("of a DELETE and a GET is not looked at, and has to be JSON all the same", async () => {
    const before = at.picture();
    const path = "/v1/projects/farm/clients/none";
    for (const [method, type, text, status] of [
      ["DELETE", "application/json", '{"name":"own-client"}', 404],
      ["DELETE", "application/json", "{", 400],
      ["DELETE", "text/plain", "own-client", 415],
    ] as const) {
      const answer = await at.ask({ access: "admin", method }, path, { type, body: text });
      expect([method, type, answer.status]).toEqual([method, type, status]);
    }
    expect(at.picture() === before).toBe(true);
  });
});
