/**
 * APIs: the resource servers that tokens are for. Kind `mqtt` is a set of topic filters, kind `http` a set of scopes.
 *
 * Topic filters are ordinary ones: what starts with `$` and the topic `authz-info` (RFC 9431, section 2.2.2) belong to
 * the broker, shared subscriptions included.
 */
import { assertName, readClientId } from "../../shared/names.ts";
import { Refusal, refuse } from "../../shared/refusal.ts";
import { decodeScopeText } from "../../shared/scope.ts";
import { assertTopicFilter, AUTHZ_INFO } from "../../shared/topic.ts";
import { ADMIN, audit } from "./audit.ts";
import { statement } from "../sqlite/database.ts";
import { getProject } from "./projects.ts";
import { assertRoomFor } from "./project-bounds.ts";
import type { Registry } from "./registry.ts";
import { assertFreeGround, type Founder } from "./topic-ground.ts";
import { noteChange } from "./trust-changes.ts";
import type { ApiTrust, RetainedPurge } from "../trust/trust.ts";

/** The two kinds of resource servers. */
export type ApiKind = "mqtt" | "http";

/** An api on record. */
export interface Api {
  readonly project: string;
  readonly name: string;
  readonly kind: ApiKind;
  /** What tokens for it say in `aud`; `<project>.<name>` unless set. */
  readonly audience: string;
  readonly topics: readonly string[];
  readonly scopes: readonly string[];
  readonly ttlSeconds: number;
  /** Null: as the request has it, CBOR gets a CWT and JSON a JWT. */
  readonly format: "cwt" | "jwt" | null;
  /** Whether tokens without a bound key are let in. */
  readonly bearer: boolean;
  /** When the messages that a client left retained here go with it. */
  readonly purge: RetainedPurge;
  readonly createdAt: number;
}

/** What an api is created from. */
export interface NewApi {
  readonly project: string;
  readonly name: string;
  readonly kind: ApiKind;
  readonly audience?: string | undefined;
  readonly topics?: readonly string[] | undefined;
  readonly scopes?: readonly string[] | undefined;
  readonly ttlSeconds?: number | undefined;
  readonly format?: "cwt" | "jwt" | null | undefined;
  readonly bearer?: boolean | undefined;
  readonly purge?: RetainedPurge | undefined;
}

/** How long a token may live, in seconds. */
export const tokenTtl = { min: 5, default: 3_600, max: 30 * 86_400 } as const;
/** Entries in one list of topics, scopes, permissions or roles. */
export const MAX_ENTRIES = 64;

const maxAudienceLength = 255;
/** What an audience looks like, as text. */
export const audienceForm = /^[\x21\x23-\x5b\x5d-\x7e]{1,255}$/;
/** What a scope looks like (RFC 6749, section 3.3). */
export const scopeForm = /^[\x21\x23-\x5b\x5d-\x7e]{1,64}$/;

/**
 * Throws `registry.not-found` (project), `registry.invalid`, and `registry.conflict` for a name, an audience or topics that are
 * taken; `limit.reached` where the project has no room.
 */
export function createApi(r: Registry, asked: NewApi, actor: string = ADMIN, founder: Founder = "administrator"): Api {
  const { project, name, kind } = asked;
  getProject(r, project);
  assertName(name);
  const api: Api = {
    project,
    name,
    kind,
    audience: asked.audience ?? `${project}.${name}`,
    topics: [...new Set(asked.topics ?? [])],
    scopes: [...new Set(asked.scopes ?? [])],
    ttlSeconds: asked.ttlSeconds ?? tokenTtl.default,
    format: asked.format ?? null,
    bearer: asked.bearer ?? false,
    purge: asked.purge ?? "client",
    createdAt: r.nowSeconds(),
  };
  assertAudience(api);
  assertContents(api);
  assertWithin("ttl_seconds", api.ttlSeconds, tokenTtl);
  return r.change(() => {
    assertFreeGround(r, api, founder);
    const added = statement(
      r.db,
      `INSERT INTO api (project, name, audience, kind, topics, scopes, ttl_seconds, format, bearer, purge, created_at)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
    ).run(
      project,
      name,
      api.audience,
      kind,
      JSON.stringify(api.topics),
      JSON.stringify(api.scopes),
      api.ttlSeconds,
      api.format,
      api.bearer ? 1 : 0,
      api.purge,
      api.createdAt,
    );
    if (added.changes === 0) refuse("registry.conflict", `api ${project}.${name} or audience ${api.audience} exists`);
    assertRoomFor(r, "api", project);
    audit(r, { event: "api.created", actor, subject: `${project}.${name}`, facts: { kind, audience: api.audience } });
    noteChange(r, "api", api.audience);
    r.afterCommit(() => tellApi(r, api));
    return api;
  });
}

/** By name. Throws `registry.not-found` (project). */
export function listApis(r: Registry, project: string): Api[] {
  getProject(r, project);
  return statement<ApiRow>(r.db, `SELECT * FROM api WHERE project = ? ORDER BY name`).all(project).map(toApi);
}

/** Those on which a client holds a role, by name. */
export function listHeldApis(r: Registry, client: { readonly project: string; readonly name: string }): Api[] {
  const held = `
    SELECT role.api FROM client_role JOIN role ON role.project = client_role.project AND role.name = client_role.role
    WHERE client_role.project = @project AND client_role.client = @name`;
  const sql = `SELECT * FROM api WHERE project = @project AND name IN (${held}) ORDER BY name`;
  const { project, name } = client;
  return statement<ApiRow>(r.db, sql).all({ project, name }).map(toApi);
}

/** Throws `registry.not-found`. */
export function getApi(r: Registry, project: string, name: string): Api {
  const row = statement<ApiRow>(r.db, `SELECT * FROM api WHERE project = ? AND name = ?`).get(project, name);
  return row === undefined ? refuse("registry.not-found", `no api ${project}.${name}`) : toApi(row);
}

/** The api that tokens with this audience are for. */
export function findApi(r: Registry, audience: string): Api | undefined {
  if (audience.length > maxAudienceLength) return undefined;
  // an audience may look like `<project>/<api>`, and is asked for by strangers
  return r.remember(`audience ${audience}`, () => {
    const row = statement<ApiRow>(r.db, `SELECT * FROM api WHERE audience = ?`).get(audience);
    return row === undefined ? undefined : toApi(row);
  });
}

/** The api of a project, where there is one. Both are names, whether there are such or not. */
export function findApiOf(r: Registry, project: string, name: string): Api | undefined {
  return r.remember(`api ${project}/${name}`, () => {
    const row = statement<ApiRow>(r.db, `SELECT * FROM api WHERE project = ? AND name = ?`).get(project, name);
    return row === undefined ? undefined : toApi(row);
  });
}

/** Tells the sink all apis. */
export function tellApis(r: Registry): void {
  for (const row of statement<ApiRow>(r.db, `SELECT * FROM api`).all()) tellApi(r, toApi(row));
}

/** Throws `registry.invalid` unless the number is whole and within the bounds. `field` is its name outside. */
export function assertWithin(
  field: string,
  value: number,
  bounds: { readonly min: number; readonly max: number },
): void {
  if (Number.isInteger(value) && value >= bounds.min && value <= bounds.max) return;
  refuse("registry.invalid", `${field}: a whole number from ${bounds.min} to ${bounds.max}`);
}

/** Whether a filter begins with a topic of the broker's own. */
export function isReserved(filter: string): boolean {
  return filter.split("/", 1)[0] === AUTHZ_INFO;
}

function assertAudience({ project, audience }: Api): void {
  if (!audienceForm.test(audience)) {
    refuse("registry.invalid", "audience: 1 to 255 printable ASCII characters without spaces, quotes and backslashes");
  }
  let owner: string;
  try {
    owner = readClientId(audience).project;
  } catch {
    return;
  }
  // the default audiences of other projects are not for the taking
  if (owner !== project) refuse("registry.invalid", `audience: it is of the form that belongs to project ${owner}`);
}

function assertContents({ kind, topics, scopes }: Api): void {
  const [has, hasNot] = kind === "mqtt" ? (["topics", "scopes"] as const) : (["scopes", "topics"] as const);
  const counts = { topics: topics.length, scopes: scopes.length };
  if (counts[has] === 0) refuse("registry.invalid", `${has}: an api of kind ${kind} has at least one`);
  if (counts[hasNot] > 0) refuse("registry.invalid", `${hasNot}: an api of kind ${kind} has none`);
  if (counts[has] > MAX_ENTRIES) refuse("registry.invalid", `${has}: at most ${MAX_ENTRIES}`);
  topics.forEach((topic, index) => assertApiTopic(topic, `topics.${index}`));
  scopes.forEach((scope, index) => {
    if (!scopeForm.test(scope))
      refuse("registry.invalid", `scopes.${index}: printable ASCII without spaces and quotes`);
    // in a token it would be taken for the grants of an api of kind mqtt
    if (isGrantText(scope)) refuse("registry.invalid", `scopes.${index}: it reads as a list of grants`);
  });
}

function isGrantText(scope: string): boolean {
  try {
    decodeScopeText(scope);
    return true;
  } catch {
    return false;
  }
}

function assertApiTopic(topic: string, field: string): void {
  try {
    assertTopicFilter(topic);
  } catch (error) {
    refuse("registry.invalid", `${field}: ${error instanceof Refusal ? error.detail : "not a topic filter"}`);
  }
  if (topic.includes("${")) refuse("registry.invalid", `${field}: placeholders belong in roles`);
  if (topic.startsWith("$")) refuse("registry.invalid", `${field}: topics that start with $ are closed`);
  if (isReserved(topic)) refuse("registry.invalid", `${field}: ${AUTHZ_INFO} belongs to the broker`);
}

function tellApi(r: Registry, api: Api): void {
  r.sink.learnApi(toApiTrust(api));
}

/** What a gate must know of an api. */
export function toApiTrust({ audience, kind, bearer, topics, purge }: Api): ApiTrust {
  return { audience, kind, bearer, topics, purge };
}

interface ApiRow {
  readonly project: string;
  readonly name: string;
  readonly audience: string;
  readonly kind: ApiKind;
  readonly topics: string;
  readonly scopes: string;
  readonly ttl_seconds: number;
  readonly format: "cwt" | "jwt" | null;
  readonly bearer: number;
  readonly purge: RetainedPurge;
  readonly created_at: number;
}

function toApi(row: ApiRow): Api {
  return {
    project: row.project,
    name: row.name,
    kind: row.kind,
    audience: row.audience,
    topics: JSON.parse(row.topics) as string[],
    scopes: JSON.parse(row.scopes) as string[],
    ttlSeconds: row.ttl_seconds,
    format: row.format,
    bearer: row.bearer === 1,
    purge: row.purge,
    createdAt: row.created_at,
  };
}
