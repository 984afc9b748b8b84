/**
 * Projects: the boundary between tenants. A slug is unique in the installation and is part of every client id.
 */
import { assertSlug } from "../../shared/names.ts";
import { refuse } from "../../shared/refusal.ts";
import { ADMIN, audit } from "./audit.ts";
import { statement } from "../sqlite/database.ts";
import type { Registry } from "./registry.ts";

/** A project on record. */
export interface Project {
  readonly slug: string;
  readonly createdAt: number;
}

const select = `SELECT slug, created_at AS createdAt FROM project`;

/** Throws `registry.invalid` for a bad slug and `registry.conflict` where it is taken. */
export function createProject(r: Registry, slug: string, actor: string = ADMIN): Project {
  assertSlug(slug);
  return r.change(() => {
    const createdAt = r.nowSeconds();
    const added = statement(r.db, `INSERT INTO project (slug, created_at) VALUES (?, ?) ON CONFLICT DO NOTHING`);
    if (added.run(slug, createdAt).changes === 0) refuse("registry.conflict", `project ${slug} exists`);
    audit(r, { event: "project.created", actor, subject: slug, project: slug });
    return { slug, createdAt };
  });
}

/** By slug. */
export function listProjects(r: Registry): Project[] {
  return statement<Project>(r.db, `${select} ORDER BY slug`).all();
}

/** Throws `registry.not-found`. */
export function getProject(r: Registry, slug: string): Project {
  return (
    statement<Project>(r.db, `${select} WHERE slug = ?`).get(slug) ?? refuse("registry.not-found", `no project ${slug}`)
  );
}
