/**
 * Projects: the boundary between tenants. A slug is unique in the installation and is part of every client id.
 *
 * All tokens of a project that were issued before a time can be taken back; that time only moves forward.
 */
import { assertSlug } from "../../shared/names.ts";
import { refuse } from "../../shared/refusal.ts";
import { ADMIN, audit } from "./audit.ts";
import { statement } from "../sqlite/database.ts";
import type { TokenSelection } from "./issued.ts";
import type { Registry } from "./registry.ts";
import { noteChange } from "./trust-changes.ts";

/** A project on record. */
export interface Project {
  readonly slug: string;
  readonly createdAt: number;
  /** Tokens of its clients that were issued before (seconds) were taken back; 0 for none. */
  readonly tokensSince: number;
}

const select = `SELECT slug, created_at AS createdAt, tokens_since AS tokensSince FROM project`;

/** Throws `registry.invalid` for a bad slug and `registry.conflict` where it is taken. */
export function createProject(r: Registry, slug: string, actor: string = ADMIN): Project {
  assertSlug(slug);
  return r.change(() => {
    const createdAt = r.nowSeconds();
    const added = statement(r.db, `INSERT INTO project (slug, created_at) VALUES (?, ?) ON CONFLICT DO NOTHING`);
    if (added.run(slug, createdAt).changes === 0) refuse("registry.conflict", `project ${slug} exists`);
    audit(r, { event: "project.created", actor, subject: slug, project: slug });
    return { slug, createdAt, tokensSince: 0 };
  });
}

/** By slug. */
export function listProjects(r: Registry): Project[] {
  return statement<Project>(r.db, `${select} ORDER BY slug`).all();
}

/** Throws `registry.not-found`. */
export function getProject(r: Registry, slug: string): Project {
  return r.remember(
    `project ${slug}`,
    () =>
      statement<Project>(r.db, `${select} WHERE slug = ?`).get(slug) ??
      refuse("registry.not-found", `no project ${slug}`),
  );
}

/**
 * Takes back the tokens that were issued before a time, in seconds; gives those to be put on the list, or nothing where a
 * time as late was set before. Call it within a change. Throws `registry.not-found`, and `registry.invalid` for the future.
 */
export function revokeTokensBefore(
  r: Registry,
  slug: string,
  beforeSeconds: number,
  actor: string = ADMIN,
): TokenSelection | undefined {
  const { tokensSince } = getProject(r, slug);
  if (!Number.isSafeInteger(beforeSeconds)) refuse("registry.invalid", "before: not whole seconds");
  if (beforeSeconds > r.nowSeconds()) refuse("registry.invalid", "before: it is in the future");
  if (beforeSeconds <= tokensSince) return undefined;
  statement(r.db, `UPDATE project SET tokens_since = ? WHERE slug = ?`).run(beforeSeconds, slug);
  audit(r, { event: "project.tokens-revoked", actor, subject: slug, project: slug, facts: { before: beforeSeconds } });
  noteChange(r, "project", slug);
  r.afterCommit(() => r.sink.learnTokensSince(slug, beforeSeconds));
  return { kind: "project", name: slug, bound: beforeSeconds };
}

/** Tells the sink all such times. */
export function tellProjects(r: Registry): void {
  for (const { slug, tokensSince } of listProjects(r)) if (tokensSince > 0) r.sink.learnTokensSince(slug, tokensSince);
}
