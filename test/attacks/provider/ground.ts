/**
 * Two projects with the same kinds of things under other names, a developer who owns one of them, and a picture of everything
 * that is on record: where the attacks on the provider's side take place.
 */
import { createApiKey } from "../../../broker/registry/api-keys.ts";
import { createApi } from "../../../broker/registry/apis.ts";
import { createBrokerTicket } from "../../../broker/registry/broker-tickets.ts";
import { createClient } from "../../../broker/registry/clients.ts";
import type { AccountSettings, AuthorityLimits } from "../../../broker/authority/context.ts";
import type { Route } from "../../../broker/authority/v1/registry-route.ts";
import { addDeviceAuthority } from "../../../broker/registry/device-authorities.ts";
import type { Developer } from "../../../broker/registry/developers.ts";
import { createInvitation } from "../../../broker/registry/invitations.ts";
import { createLogin } from "../../../broker/registry/logins.ts";
import { addMember } from "../../../broker/registry/members.ts";
import { createProject } from "../../../broker/registry/projects.ts";
import type { Registry } from "../../../broker/registry/registry.ts";
import { createRole } from "../../../broker/registry/roles.ts";
import { createSecret } from "../../../broker/registry/secrets.ts";
import { createTicket } from "../../../broker/registry/tickets.ts";
import { addPerson } from "../../authority/accounts-fixture.ts";
import { makeAuthority, type OpenAuthority } from "../../authority/crl-maker.ts";
import { openFixture, type Answer, type Call, type Fixture } from "../../authority/fixture.ts";

/** What each of the names in a path stands for, by the path up to there, below `/v1` or below the project. */
export type Things = Readonly<Record<string, string>>;

export interface Ground extends Fixture {
  /** Of farm. */
  readonly owner: Developer;
  /** Of zoo, with no role in farm. */
  readonly keeper: Developer;
  /** A login of the owner. */
  readonly login: string;
  readonly farm: Things;
  readonly zoo: Things;
  /** What is in no project. */
  readonly common: Things;
  /** One that `/v1/device-authorities` knows as `elsewhere`. */
  readonly elsewhere: OpenAuthority;
  /** Asks with what a row wants. */
  ask(route: Pick<Route, "access" | "method">, path: string, call?: Call): Promise<Answer>;
  /** All that is on record but the audit log, to the byte. */
  picture(): string;
}

/** Bounds that no table of rows reaches. */
const patient: Partial<AuthorityLimits> = {
  clientFailuresPerMinute: 100_000,
  addressFailuresPerMinute: 100_000,
  accountFailures: 100_000,
  accountFailuresPerAddress: 100_000,
  accountWishesPerHour: 100_000,
  mailsPerHour: 100_000,
};

export async function openGround(
  limits: Partial<AuthorityLimits> = {},
  accounts?: Partial<AccountSettings>,
): Promise<Ground> {
  const at = await openFixture({ ...patient, ...limits }, undefined, undefined, accounts);
  const { registry } = at;
  const elsewhere = await makeAuthority();
  addDeviceAuthority(registry, { name: "elsewhere", ca: elsewhere.ca.caPem });
  const owner = addPerson(registry, "owner@farm.test");
  const keeper = addPerson(registry, "keeper@zoo.test");
  const farm = furnishProject(registry, "farm", "own", owner);
  const zoo = furnishProject(registry, "zoo", "their", keeper);
  const login = createLogin(registry, owner.id).token;
  const tables = registry.db
    .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' AND name <> 'audit'")
    .pluck()
    .all() as string[];
  const reads = tables.map((table) => registry.db.prepare(`SELECT * FROM "${table}"`).raw());
  return {
    ...at,
    owner,
    keeper,
    login,
    farm,
    zoo,
    elsewhere,
    common: {
      "me/api-keys/:id": createApiKey(registry, owner, { name: "key" }, "admin").record.id,
      "developers/:id": keeper.id,
      "invitations/:id": invite(registry, "guest@common.test"),
      "brokers/:name": "edge",
      "brokers/:name/tickets/:id": createBrokerTicket(registry, { name: "edge" }).id,
      "device-authorities/:name": "elsewhere",
      "refusals/:id": "AAAAAAAAAAAA",
    },
    ask: ({ access, method }, path, { headers, ...call } = {}) =>
      at.call(path, { method, ...call, headers: { ...credential(access, login), ...headers } }),
    picture: () => JSON.stringify(reads.map((read) => read.all())),
  };
}

/** A path with what its names stand for, in farm or in no project. */
export function fillPath({ farm, common }: Pick<Ground, "farm" | "common">, path: string): string {
  return fillWith(path, (place) => farm[place] ?? common[place]);
}

/** Fills each name of a path, but that of a project, which is farm. */
export function fillWith(path: string, find: (place: string) => string | undefined): string {
  const parts = path.split("/");
  const from = parts[2] === "projects" ? 4 : 2;
  return parts
    .map((part, at) => {
      if (!part.startsWith(":")) return part;
      if (at < from) return "farm";
      const place = parts.slice(from, at + 1).join("/");
      const name = find(place);
      if (name === undefined) throw new TypeError(`nothing for ${place}`);
      return name;
    })
    .join("/");
}

function credential(access: Route["access"], login: string): Record<string, string> {
  if (access === "anyone") return {};
  // what is for developers is asked as one
  return { authorization: `Bearer ${access === "login" || access === "developer" ? login : "admin-key"}` };
}

function furnishProject(r: Registry, project: string, name: string, owner: Developer): Things {
  createProject(r, project);
  addMember(r, project, owner.id, "owner", "admin");
  createApi(r, { project, name: `${name}-api`, kind: "http", scopes: ["read", "write"] });
  createRole(r, { project, name: `${name}-role`, api: `${name}-api`, scopes: ["read"] });
  createClient(r, { project, name: `${name}-client`, kind: "service" });
  return {
    "apis/:api": `${name}-api`,
    "roles/:role": `${name}-role`,
    "clients/:name": `${name}-client`,
    "tickets/:id": createTicket(r, { project, client: `${name}-client` }).id,
    "clients/:name/secrets/:id": createSecret(r, { project, client: `${name}-client` }).record.id,
    "apis/:api/secrets/:id": createSecret(r, { project, api: `${name}-api` }).record.id,
    "invitations/:id": invite(r, `${name}@new.test`, project),
    "members/:id": owner.id,
  };
}

function invite(r: Registry, email: string, project?: string): string {
  const place = project === undefined ? undefined : ({ project, role: "auditor" } as const);
  return createInvitation(r, { email, place }, { inviter: "admin", actor: "admin" }).record.id;
}
