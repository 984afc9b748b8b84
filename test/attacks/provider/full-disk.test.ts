/**
 * Every route of `/v1` where nothing can be written: it says so and has done nothing, or it reads and answers as ever; and with
 * room again the same request is done.
 */
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Route } from "../../../broker/authority/v1/registry-route.ts";
import { routes } from "../../../broker/authority/v1/registry-table.ts";
import { PASSWORD } from "../../authority/accounts-fixture.ts";
import type { Answer, Call } from "../../authority/fixture.ts";
import { fillWith, openGround, type Ground } from "./ground.ts";
import { right, type Right } from "./right-bodies.ts";

vi.mock("node:crypto", async (original) => {
  const { cheapen } = await import("../../authority/cheap-scrypt.ts");
  return cheapen(await original());
});

/** What comes of those that do not say that nothing could be written: now, and with room. */
const others: Readonly<Record<string, readonly [cramped: number, roomy: number]>> = {
  // nobody has the address, which is not heard
  "POST /v1/password-reset": [507, 202],
  // a project would be left without an owner, as is found out when that is tried
  "POST /v1/me/delete": [507, 409],
  "DELETE /v1/developers/:id": [507, 409],
  "DELETE /v1/projects/:project/members/:id": [507, 409],
  // it is so already
  "PUT /v1/projects/:project/members/:id": [507, 200],
  // there is none
  "GET /v1/refusals/:id": [404, 404],
};

const rows = routes.map((route) => [`${route.method} ${route.path}`, route] as const);

let at: Ground;
let isNew = false;
/** A ground of its own for each that changes something. */
beforeEach(async () => {
  if (isNew) return;
  at = await openGround();
  isNew = true;
});
afterEach(async () => {
  if (!isNew) await at.close();
});
afterAll(async () => {
  if (isNew) await at.close();
});

async function withoutRoom<T>(work: () => Promise<T>): Promise<T> {
  at.registry.db.pragma("query_only = ON");
  try {
    return await work();
  } finally {
    at.registry.db.pragma("query_only = OFF");
  }
}

async function bodyOf({ sends }: Route): Promise<Call> {
  if (sends === undefined) return {};
  const { good }: Right = right[sends];
  const body = sends === "PasswordProof" ? { password: PASSWORD } : await good(at);
  return { type: "application/json", body: JSON.stringify(body) };
}

const picture = (): unknown => [at.picture(), at.registry.db.prepare("SELECT * FROM audit WHERE reason IS NULL").all()];

describe("where nothing can be written", () => {
  it.each(rows)("%s", async (title, route) => {
    const call = await bodyOf(route);
    const things = route.path.startsWith("/v1/projects/") ? at.farm : at.common;
    const path = fillWith(route.path, (place) => things[place]);
    const ask = (): Promise<Answer> => at.ask(route, path, call);
    const before = picture();
    const cramped = await withoutRoom(ask);
    isNew = route.method === "GET";
    expect(picture()).toEqual(before);
    expect(at.registry.db.inTransaction).toBe(false);
    const usual = route.method === "GET" ? [200, 200] : [507, expect.anything()];
    const [now, later] = others[title] ?? usual;
    expect(cramped.status).toBe(now);
    if (now === 507) expect(at.reason()).toBe("storage.failed");
    const roomy = await ask();
    expect(roomy.status).toEqual(later);
    if (now !== 507 || others[title] !== undefined) return;
    expect(roomy.status).toBeLessThan(300);
    expect(picture()).not.toEqual(before);
  });
});
