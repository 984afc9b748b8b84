/**
 * The projects of whoever asks: a developer sees those in which they have a role, and owns what they create.
 */
import { addMember, listProjectsOf } from "../../registry/members.ts";
import { createProject, getProject, listProjects, type Project } from "../../registry/projects.ts";
import { assertScope, assertUnbound } from "../v1/access.ts";
import type { CallContext } from "../v1/registry-route.ts";

/** All projects for the holder of the admin key, and of a developer those that they have a role in, as far as a key is for them. */
export function listOwnProjects({ registry, principal }: CallContext): Project[] {
  if (principal.kind !== "developer") return listProjects(registry);
  assertScope(principal, "read");
  const { developer, key } = principal;
  return listProjectsOf(registry, developer.id)
    .filter(({ project }) => (key?.project ?? project) === project)
    .map(({ project }) => getProject(registry, project));
}

/**
 * Creates a project; a developer is its owner. Throws `registry.invalid`, `registry.conflict`, `limit.reached`, and
 * `access.permission` for a key that may not own or is for one project.
 */
export function foundProject({ registry, principal, actor }: CallContext, slug: string): Project {
  return registry.change(() => {
    const project = createProject(registry, slug, actor);
    if (principal.kind === "developer") {
      assertUnbound(principal);
      assertScope(principal, "own");
      addMember(registry, slug, principal.developer.id, "owner", actor);
    }
    return project;
  });
}
