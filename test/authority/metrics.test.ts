/** `GET /metrics`: who may read the figures, and what of the text reaches them. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openFixture, type Fixture } from "./fixture.ts";

const text = "# HELP sheep Sheep.\nsheep 3\n";
const contentType = "text/plain; version=0.0.4; charset=utf-8";

let at: Fixture;
let scrapes = 0;
beforeAll(async () => {
  at = await openFixture({}, async () => {
    scrapes++;
    return { contentType, text };
  });
});
afterAll(() => at.close());

it("gives the text to whoever asks on this machine", async () => {
  const answer = await at.call("/metrics");
  expect([answer.status, answer.body.toString()]).toEqual([200, text]);
});

it("gives the text to the holder of the admin key, for no cache to keep", async () => {
  const answer = await at.call("/metrics", { headers: { authorization: "Bearer admin-key" } });
  expect([answer.status, answer.body.toString()]).toEqual([200, text]);
  expect(answer.headers).toMatchObject({ "content-type": contentType, "cache-control": "no-store" });
});

it.each<[who: string, headers: Record<string, string>, reason: string]>([
  ["a stranger behind a proxy", { "x-forwarded-for": "192.0.2.7" }, "no key"],
  ["a stranger behind a proxy that says so by the standard", { forwarded: "for=192.0.2.7" }, "no key"],
  ["another key", { authorization: "Bearer admin-key2" }, "another key"],
  ["the key as a password", { authorization: `Basic ${btoa(":admin-key")}` }, "no key"],
])("answers %s with 401, and counts nothing for it", async (_who, headers, detail) => {
  const before = scrapes;
  const answer = await at.call("/metrics", { headers });
  expect(answer.status).toBe(401);
  expect(answer.headers["www-authenticate"]).toBe('Bearer realm="postern"');
  expect(answer.body.toString()).not.toContain("sheep");
  expect(at.lines.at(-1)).toMatchObject({ reason: "admin.key", detail, path: "/metrics" });
  expect(scrapes).toBe(before);
});

it("is only read", async () => {
  const answer = await at.call("/metrics", { method: "POST", headers: { authorization: "Bearer admin-key" } });
  expect([answer.status, answer.headers["allow"]]).toEqual([405, "GET, HEAD"]);
});

describe("an authority that nobody counts for", () => {
  it("has no such path", async () => {
    const other = await openFixture();
    try {
      const answer = await other.call("/metrics", { headers: { authorization: "Bearer admin-key" } });
      expect(answer.status).toBe(404);
    } finally {
      await other.close();
    }
  });
});
