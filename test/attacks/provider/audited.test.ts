/**
 * That no change which `/v1` makes is missing from the audit log: here the rows of the table of routes that send nothing, and
 * the two whose change needs another owner; those with a body are in `fields.test.ts`.
 */
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { routes } from "../../../broker/authority/v1/registry-table.ts";
import { addMember } from "../../../broker/registry/members.ts";
import { PASSWORD } from "../../authority/accounts-fixture.ts";
import { fillPath, openGround, type Ground } from "./ground.ts";

vi.mock("node:crypto", async (original) => {
  const { cheapen } = await import("../../authority/cheap-scrypt.ts");
  return cheapen(await original());
});

let at: Ground;
beforeEach(async () => {
  at = await openGround();
  // nobody is the last owner of anything
  addMember(at.registry, "farm", at.keeper.id, "owner", "admin");
  addMember(at.registry, "zoo", at.owner.id, "owner", "admin");
});
afterEach(() => at.close());

const bodies: Readonly<Record<string, object>> = {
  "PUT /v1/projects/:project/members/:id": { role: "auditor" },
  "POST /v1/me/delete": { password: PASSWORD },
};
/** What is written; a new row without an entry here fails. */
const events: Readonly<Record<string, readonly string[]>> = {
  "POST /v1/logout": ["developer.logged-out"],
  "POST /v1/me/delete": ["member.removed", "member.removed", "developer.deleted"],
  "DELETE /v1/me/api-keys/:id": ["api-key.revoked"],
  "DELETE /v1/developers/:id": ["member.removed", "member.removed", "developer.deleted"],
  "DELETE /v1/projects/:project/clients/:name": ["client.deleted"],
  "DELETE /v1/projects/:project/tickets/:id": ["ticket.revoked"],
  "DELETE /v1/projects/:project/clients/:name/secrets/:id": ["secret.retired"],
  "DELETE /v1/projects/:project/apis/:api/secrets/:id": ["secret.retired"],
  "PUT /v1/projects/:project/members/:id": ["member.changed"],
  "DELETE /v1/projects/:project/members/:id": ["member.removed"],
  "DELETE /v1/projects/:project/invitations/:id": ["invitation.revoked"],
  "DELETE /v1/invitations/:id": ["invitation.revoked"],
  "DELETE /v1/brokers/:name": ["broker.deleted"],
  "DELETE /v1/brokers/:name/tickets/:id": ["ticket.revoked"],
  "DELETE /v1/device-authorities/:name": ["device-authority.removed"],
};
const rows = routes
  .map((route) => [`${route.method} ${route.path}`, route] as const)
  .filter(([title, { method, sends }]) => method !== "GET" && (sends === undefined || title in bodies));

it.each(rows)("%s", async (title, route) => {
  const body = bodies[title];
  const call = body === undefined ? {} : { type: "application/json", body: JSON.stringify(body) };
  const before = at.registry.db.prepare("SELECT max(seq) FROM audit").pluck().get();
  // the one that is to no project, and not farm's
  const path =
    route.path === "/v1/invitations/:id"
      ? `/v1/invitations/${at.common["invitations/:id"]!}`
      : fillPath(at, route.path);
  const answer = await at.ask(route, path, call);
  expect([answer.status, answer.body.toString()]).toEqual([
    body === undefined || title.endsWith("delete") ? 204 : 200,
    expect.anything(),
  ]);
  const written = at.registry.db.prepare("SELECT event FROM audit WHERE seq > ?").pluck().all(before) as string[];
  expect(written).toEqual(events[title]);
});

it("has a row for each entry", () => {
  expect(rows.map(([title]) => title).toSorted()).toEqual(Object.keys(events).toSorted());
});
