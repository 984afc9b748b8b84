/**
 * A refusal with what the registry knows now, and the changes that are worked out from that: which role lacks which
 * permission, which audience nobody has. Commands are written for a POSIX shell; what was asked for comes from strangers and is
 * quoted.
 */
import { formatPermission, intersectGrants, parsePermission } from "../../../shared/scope.ts";
import { covers } from "../../../shared/topic.ts";
import { findApi, listApis, type Api } from "../../registry/apis.ts";
import { findClient, type Client } from "../../registry/clients.ts";
import { grantsFor, scopesFor } from "../../registry/grants.ts";
import type { Registry } from "../../registry/registry.ts";
import { listRoles, type Role } from "../../registry/roles.ts";

/** What would have to be otherwise, as a sentence, and the command that makes it so where there is one. */
export interface Change {
  readonly says: string;
  readonly command?: string;
}

/** A refusal as it is explained. */
export interface Case {
  readonly registry: Registry;
  readonly event: string;
  readonly actor: string;
  /** Whom a stranger claimed to be. */
  readonly claimed: string | undefined;
  /** The client that was refused, or was claimed. */
  readonly client: string | undefined;
  /** The api that was refused, or was claimed. */
  readonly api: { readonly project: string; readonly name: string } | undefined;
  readonly project: string | undefined;
  readonly facts: Readonly<Record<string, unknown>>;
}

/** For an audience that nobody has. */
export function unknownAudience({ registry, project, client, facts }: Case): Change {
  const audience = text(facts["audience"]);
  if (audience === undefined) {
    return { says: "name the audience in the request; without it the client needs roles on exactly one api" };
  }
  const at = project ?? client?.split(".")[0] ?? "<project>";
  // one of another project is none, here as for the client
  if (findApi(registry, audience)?.project === at) return { says: "nothing to change: there is one by now" };
  const isDefault = audience.startsWith(`${at}.`) && /^[A-Za-z0-9][\w-]{0,62}$/.test(audience.slice(at.length + 1));
  const name = isDefault ? audience.slice(at.length + 1) : "<name>";
  return {
    says: `correct the audience, or create the api${isDefault ? "" : " with this --audience"}`,
    command: `postern api create ${name} --project ${at} --kind <mqtt|http>`,
  };
}

/** For what the role of a developer, or the scopes of their key, do not permit. */
export function missingPermission({ project, actor, facts }: Case): Change {
  const [, scope] = /^the key has no scope (\w+)$/.exec(text(facts["detail"]) ?? "") ?? [];
  if (scope !== undefined) {
    const forProject = project === undefined ? "" : ` --project ${project}`;
    const scopes = scope === "read" ? "--scope read" : `--scope read --scope ${scope}`;
    return {
      says: `use a key with the scope ${scope}`,
      command: `postern apikey create <name>${forProject} ${scopes}`,
    };
  }
  const [, developer] = /^developer:([^/]+)/.exec(actor) ?? [];
  const says = "have an owner of the project give a role that permits it";
  if (developer === undefined || project === undefined) return { says };
  return { says, command: `postern member set ${developer} --project ${project} --role <role>` };
}

/** For what the roles of a client do not allow: which role gets what, or which role the client gets. */
export function missingRights(about: Case): Change {
  const { registry, facts } = about;
  const client = about.client === undefined ? undefined : findClient(registry, about.client);
  if (client === undefined) return { says: "ask for a token whose scope covers it, with roles that allow it" };
  const wanted = readWanted(about);
  const api = findWanted(registry, client, text(facts["audience"]), wanted);
  if (api === undefined) {
    if (facts["audience"] !== undefined || wanted.length === 0) return unknownAudience(about);
    return {
      says: `no api of project ${client.project} has this topic: create one`,
      command: command("api create <name>", client.project, ["--kind mqtt"], "--topics", wanted.map(topicOf)),
    };
  }
  const foreign = api.kind === "http" ? wanted.filter((scope) => !api.scopes.includes(scope)) : [];
  if (foreign.length > 0) {
    return { says: `api ${api.name} has no scope ${foreign.join(", ")}: ask for one of ${api.scopes.join(", ")}` };
  }
  const missing = findMissing(registry, client, api, wanted);
  const roles = listRoles(registry, client.project).filter((role) => role.api === api.name);
  const held = roles.find((role) => client.roles.includes(role.name));
  if (held !== undefined && missing.length === 0) {
    return { says: "nothing to change: the roles allow it by now; get a new token" };
  }
  const needed = missing.map((one) => toPermission(api, client, one));
  const flag = api.kind === "http" ? "--scope" : "--allow";
  if (held !== undefined) {
    return {
      says: `role ${held.name}, which ${client.id} has, lacks ${needed.join(" ")}: add it`,
      command: command(`role update ${held.name}`, client.project, [], flag, [...textsOf(held), ...needed]),
    };
  }
  const fitting = roles.find((role) => needed.every((one) => allows(role, api, one)));
  if (fitting !== undefined) {
    return {
      says: `${client.id} has no role on api ${api.name}: give it ${fitting.name}`,
      command: command(`client update ${client.name}`, client.project, [], "--role", [...client.roles, fitting.name]),
    };
  }
  return {
    says: `no role on api ${api.name} allows ${needed.join(" ") || "anything"}: create one, and give it to ${client.id} with postern client update`,
    command: command(
      "role create <name>",
      client.project,
      [`--api ${api.name}`, ...(needed.length > 0 ? [] : [`${flag} <what>`])],
      flag,
      needed,
    ),
  };
}

/** What was asked for: scopes or permissions. */
function readWanted({ event, facts }: Case): string[] {
  const topic = text(facts["topic"]);
  if (topic !== undefined) return [`${/^(publish|will)\./.test(event) ? "pub" : "sub"}:${topic}`];
  const { asked } = facts;
  return Array.isArray(asked) ? asked.filter((one): one is string => typeof one === "string") : [];
}

function findWanted(
  r: Registry,
  client: Client,
  audience: string | undefined,
  wanted: readonly string[],
): Api | undefined {
  const apis = listApis(r, client.project);
  if (audience !== undefined) return apis.find((api) => api.audience === audience);
  const topics = wanted.map(topicOf);
  return apis.find(
    (api) => api.kind === "mqtt" && topics.every((topic) => api.topics.some((own) => covers(own, topic))),
  );
}

function findMissing(r: Registry, client: Client, api: Api, wanted: readonly string[]): string[] {
  if (api.kind === "http") {
    const allowed = scopesFor(r, client.id, api);
    return wanted.filter((scope) => !allowed.includes(scope));
  }
  const allowed = grantsFor(r, client.id, api);
  return wanted.filter((one) => {
    const grant = readPermission(one);
    return grant !== undefined && formatAll(intersectGrants(allowed, [grant])) !== one;
  });
}

/** A permission for a role: the client's own name in a topic becomes a placeholder where the api leaves room for one. */
function toPermission(api: Api, client: Client, wanted: string): string {
  if (api.kind === "http") return wanted;
  const [does, topic] = [wanted.slice(0, wanted.indexOf(":")), topicOf(wanted)];
  const own = new Map([
    [client.name, "${name}"],
    [client.id, "${client}"],
  ]);
  const template = topic
    .split("/")
    .map((level) => own.get(level) ?? level)
    .join("/");
  return `${does}:${api.topics.some((filter) => covers(filter, template)) ? template : topic}`;
}

function allows(role: Role, api: Api, needed: string): boolean {
  if (api.kind === "http") return role.scopes.includes(needed);
  const grant = readPermission(needed);
  return grant !== undefined && formatAll(intersectGrants(role.permissions, [grant])) === needed;
}

function textsOf(role: Role): string[] {
  return [...role.permissions.map(formatPermission), ...role.scopes];
}

function readPermission(one: string): ReturnType<typeof parsePermission> | undefined {
  try {
    return parsePermission(one);
  } catch {
    return undefined;
  }
}

function formatAll(grants: Parameters<typeof intersectGrants>[0]): string {
  return grants.map(formatPermission).join(" ");
}

function topicOf(permission: string): string {
  return permission.slice(permission.indexOf(":") + 1);
}

function text(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

function command(
  words: string,
  project: string,
  flags: readonly string[],
  flag: string,
  values: readonly string[],
): string {
  const listed = values.map((value) => `${flag} ${quote(value)}`);
  return ["postern", words, `--project ${project}`, ...flags, ...listed].join(" ");
}

/** One word for a shell, whatever is in it. What looks like a placeholder of ours is a word as well. */
export function quote(word: string): string {
  if (/^[\w.,:/=@+-]+$/.test(word)) return word;
  return `'${word.replaceAll("'", `'\\''`)}'`;
}
