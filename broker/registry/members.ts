/**
 * The developers of a project, each with a role. A project that has an owner always has one.
 */
import { refuse } from "../../shared/refusal.ts";
import { statement } from "../sqlite/database.ts";
import { ADMIN, audit } from "./audit.ts";
import { actorOf } from "./developers.ts";
import { revokeInvitationsBy } from "./invitations.ts";
import { permissionsOf, type MemberRole } from "./member-roles.ts";
import { getProject } from "./projects.ts";
import type { Registry } from "./registry.ts";

/** A developer in a project. */
export interface Member {
  /** Of the developer. */
  readonly id: string;
  readonly email: string;
  readonly name: string;
  readonly role: MemberRole;
  /** Since when, in seconds. */
  readonly createdAt: number;
}

/** Projects that one developer owns. */
export const MAX_OWNED_PROJECTS = 50;
/** Members of one project. */
const maxMembers = 200;

/** The role of a developer in a project; nothing where they have none, or where there is no such project. */
export function roleIn(r: Registry, project: string, developer: string): MemberRole | undefined {
  const role = statement<MemberRole>(r.db, `SELECT role FROM member WHERE project = ? AND developer = ?`).pluck();
  return role.get(project, developer);
}

/** The same; throws `registry.not-found` just as for a project that is not there. */
export function assertRoleIn(r: Registry, project: string, developer: string): MemberRole {
  return roleIn(r, project, developer) ?? refuse("registry.not-found", `no project ${project}`);
}

/** By id. Throws `registry.not-found`. */
export function listMembers(r: Registry, project: string): Member[] {
  getProject(r, project);
  return statement<Member>(r.db, `${select} WHERE member.project = ? ORDER BY developer.id`).all(project);
}

/** The projects of a developer, by slug. */
export function listProjectsOf(
  r: Registry,
  developer: string,
): { readonly project: string; readonly role: MemberRole }[] {
  return statement<{ project: string; role: MemberRole }>(
    r.db,
    `SELECT project, role FROM member WHERE developer = ? ORDER BY project`,
  ).all(developer);
}

/** Throws `registry.conflict` for a member and `limit.reached`. */
export function addMember(r: Registry, project: string, developer: string, role: MemberRole, actor: string): void {
  r.change(() => {
    getProject(r, project);
    if (role === "owner") assertMayOwnOneMore(r, developer);
    const members = statement<number>(r.db, `SELECT count(*) FROM member WHERE project = ?`).pluck();
    if (members.get(project)! >= maxMembers) refuse("limit.reached", `at most ${maxMembers} members`);
    const added = statement(
      r.db,
      `INSERT INTO member (project, developer, role, created_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING`,
    ).run(project, developer, role, r.nowSeconds());
    if (added.changes === 0) refuse("registry.conflict", `${developer} is a member of ${project} already`);
    audit(r, { event: "member.added", actor, subject: developer, project, facts: { role } });
  });
}

/**
 * Gives a member another role; the invitations of one who may no longer do what they did end. Throws `registry.not-found` and
 * `account.last-owner`.
 */
export function setMemberRole(
  r: Registry,
  project: string,
  developer: string,
  role: MemberRole,
  actor: string = ADMIN,
): Member {
  return r.changeDurably(() => {
    const before = getMember(r, project, developer);
    if (before.role === role) return before;
    if (role === "owner") assertMayOwnOneMore(r, developer);
    if (before.role === "owner") assertAnotherOwner(r, project, developer);
    const set = statement(r.db, `UPDATE member SET role = ? WHERE project = ? AND developer = ?`);
    set.run(role, project, developer);
    audit(r, { event: "member.changed", actor, subject: developer, project, facts: { role, before: before.role } });
    if (permissionsOf[before.role].some((one) => !permissionsOf[role].includes(one))) {
      revokeInvitationsBy(r, project, actorOf({ id: developer }), actor);
    }
    return { ...before, role };
  });
}

/** Ends what a developer may do in a project, and their invitations to it. Throws `registry.not-found` and `account.last-owner`. */
export function removeMember(r: Registry, project: string, developer: string, actor: string = ADMIN): void {
  r.changeDurably(() => {
    const { role } = getMember(r, project, developer);
    if (role === "owner") assertAnotherOwner(r, project, developer);
    drop(r, project, developer, role, actor);
    revokeInvitationsBy(r, project, actorOf({ id: developer }), actor);
  });
}

/** Takes a developer out of all projects. Call it within a change. Throws `account.last-owner`. */
export function leaveAll(r: Registry, developer: string, actor: string): void {
  for (const { project, role } of listProjectsOf(r, developer)) {
    if (role === "owner") assertAnotherOwner(r, project, developer);
    drop(r, project, developer, role, actor);
  }
}

/** Throws `limit.reached`. */
function assertMayOwnOneMore(r: Registry, developer: string): void {
  const owned = listProjectsOf(r, developer).filter(({ role }) => role === "owner");
  if (owned.length >= MAX_OWNED_PROJECTS) refuse("limit.reached", `at most ${MAX_OWNED_PROJECTS} projects`);
}

function assertAnotherOwner(r: Registry, project: string, developer: string): void {
  const another = statement(r.db, `SELECT 1 FROM member WHERE project = ? AND role = 'owner' AND developer <> ?`);
  if (another.get(project, developer) === undefined) refuse("account.last-owner", `of project ${project}`);
}

function getMember(r: Registry, project: string, developer: string): Member {
  const found = statement<Member>(r.db, `${select} WHERE member.project = ? AND developer.id = ?`);
  const says = `no member ${developer.slice(0, 64)} of project ${project}`;
  return found.get(project, developer) ?? refuse("registry.not-found", says);
}

function drop(r: Registry, project: string, developer: string, role: MemberRole, actor: string): void {
  statement(r.db, `DELETE FROM member WHERE project = ? AND developer = ?`).run(project, developer);
  audit(r, { event: "member.removed", actor, subject: developer, project, facts: { role } });
  endKeys(r, project, developer, actor);
}

/** A key for this project alone ends with the membership: who is invited again does not bring it back. */
function endKeys(r: Registry, project: string, developer: string, actor: string): void {
  const end = `UPDATE api_key SET revoked_at = ? WHERE developer = ? AND project = ? AND revoked_at IS NULL RETURNING id`;
  for (const { id } of statement<{ readonly id: string }>(r.db, end).all(r.nowSeconds(), developer, project)) {
    audit(r, { event: "api-key.revoked", actor, subject: id, project, facts: { developer } });
  }
}

const select = `
  SELECT developer.id, developer.email, developer.name, member.role, member.created_at AS createdAt
  FROM member JOIN developer ON developer.id = member.developer`;
