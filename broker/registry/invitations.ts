/**
 * Invitations: to register, or to have a role in a project. One is for one address, for seven days and for one use; its
 * secret, `pi1_…`, is kept as SHA-256 only and goes by mail, so that who holds it has the address.
 */
import { randomBytes } from "node:crypto";
import { refuse } from "../../shared/refusal.ts";
import { statement } from "../sqlite/database.ts";
import { ADMIN, audit } from "./audit.ts";
import type { MemberRole } from "./member-roles.ts";
import { getProject } from "./projects.ts";
import type { Registry } from "./registry.ts";
import { hashSecret } from "./secrets.ts";

/** An invitation on record, without its secret. Times in seconds. */
export interface Invitation {
  readonly id: string;
  readonly email: string;
  /** Null, with the role: to register and nothing else. */
  readonly project: string | null;
  readonly role: MemberRole | null;
  /** The administrator or a developer, as the audit log calls them. */
  readonly invitedBy: string;
  readonly createdAt: number;
  readonly expiresAt: number;
  readonly status: "pending" | "accepted" | "expired" | "revoked";
}

/** What an invitation is for. */
export interface NewInvitation {
  /** In the form of `readEmail`. */
  readonly email: string;
  /** Where it is to a project. */
  readonly place?: { readonly project: string; readonly role: MemberRole } | undefined;
}

/** How long an invitation may be accepted. */
export const invitationSeconds = 7 * 86_400;
/** Those of one project, or of none, that are neither accepted nor over. */
const maxPending = 100;
/** What is over is shown this long. */
const shownSeconds = 90 * 86_400;

/**
 * Invites an address; what was pending for it there before is replaced. The secret is in this answer and nowhere else.
 * Throws `registry.not-found`, `registry.conflict` for a member, and `limit.reached`.
 */
export function createInvitation(
  r: Registry,
  { email, place }: NewInvitation,
  by: { readonly inviter: string; readonly actor: string },
): { readonly record: Invitation; readonly secret: string } {
  return r.change(() => {
    const project = place?.project ?? null;
    if (place !== undefined) assertNoMember(r, place.project, email);
    const now = r.nowSeconds();
    statement(r.db, `DELETE FROM invitation WHERE expires_at < ?`).run(now - shownSeconds);
    const pending = listInvitations(r, project).filter(({ status }) => status === "pending");
    for (const { id } of pending.filter((one) => one.email === email)) revoke(r, id, project, by.actor);
    if (pending.length >= maxPending) refuse("limit.reached", `at most ${maxPending} invitations that are pending`);
    const id = randomBytes(6).toString("hex");
    const secret = `pi1_${randomBytes(24).toString("base64url")}`;
    statement(
      r.db,
      `INSERT INTO invitation (id, secret_hash, email, project, role, invited_by, created_at, expires_at)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
    ).run(id, hashSecret(secret), email, project, place?.role ?? null, by.inviter, now, now + invitationSeconds);
    const facts = { role: place?.role };
    audit(r, { event: "invitation.created", actor: by.actor, subject: id, project: project ?? undefined, facts });
    return { record: getInvitation(r, project, id), secret };
  });
}

/** Newest first: those of a project, or (null) those to register and nothing else. Throws `registry.not-found`. */
export function listInvitations(r: Registry, project: string | null): Invitation[] {
  if (project !== null) getProject(r, project);
  return statement<InvitationRow>(r.db, `${select} WHERE project IS ? ORDER BY created_at DESC, id`)
    .all(project)
    .map((row) => toInvitation(row, r.nowSeconds()));
}

/**
 * Ends an invitation; done for one that has expired or was revoked. Throws `registry.conflict` for one that was accepted, and
 * `registry.not-found`, for that of another project as well.
 */
export function revokeInvitation(r: Registry, project: string | null, id: string, actor: string = ADMIN): void {
  r.changeDurably(() => {
    const { status } = getInvitation(r, project, id);
    if (status === "accepted")
      refuse("registry.conflict", `invitation ${id} was accepted: remove the member or developer`);
    if (status === "pending") revoke(r, id, project, actor);
  });
}

/** The invitation of this secret, as long as this address may accept it. Throws `registration.invitation`. */
export function findInvitation(r: Registry, secret: string, email: string): Invitation {
  const row = statement<InvitationRow>(r.db, `${select} WHERE secret_hash = ?`).get(hashSecret(secret));
  if (row === undefined) return refuse("registration.invitation", "no such invitation");
  const invitation = toInvitation(row, r.nowSeconds());
  if (invitation.email !== email) refuse("registration.invitation", `${invitation.id} is for another address`);
  if (invitation.status !== "pending") refuse("registration.invitation", `${invitation.id} is ${invitation.status}`);
  return invitation;
}

/** Marks as accepted what {@link findInvitation} gave. Call it within the same change. */
export function spendInvitation(r: Registry, { id, project, role }: Invitation, actor: string): void {
  statement(r.db, `UPDATE invitation SET accepted_at = ? WHERE id = ?`).run(r.nowSeconds(), id);
  audit(r, { event: "invitation.accepted", actor, subject: id, project: project ?? undefined, facts: { role } });
}

/** Ends what somebody who may no longer invite has pending in a project. Call it within a change. */
export function revokeInvitationsBy(r: Registry, project: string, inviter: string, actor: string): void {
  for (const { id, status, invitedBy } of listInvitations(r, project)) {
    if (status === "pending" && invitedBy === inviter) revoke(r, id, project, actor);
  }
}

/** Of a developer who is deleted: what was for the address goes, what they had pending ends. Call it within a change. */
export function dropInvitations(r: Registry, { email, by }: { readonly email: string; readonly by: string }): void {
  statement(r.db, `DELETE FROM invitation WHERE email = ?`).run(email);
  const end = statement(
    r.db,
    `UPDATE invitation SET revoked_at = ? WHERE invited_by = ? AND accepted_at IS NULL AND revoked_at IS NULL`,
  );
  end.run(r.nowSeconds(), by);
}

function getInvitation(r: Registry, project: string | null, id: string): Invitation {
  const row = statement<InvitationRow>(r.db, `${select} WHERE id = ? AND project IS ?`).get(id, project);
  if (row === undefined) return refuse("registry.not-found", `no invitation ${id.slice(0, 64)}`);
  return toInvitation(row, r.nowSeconds());
}

function revoke(r: Registry, id: string, project: string | null, actor: string): void {
  statement(r.db, `UPDATE invitation SET revoked_at = ? WHERE id = ?`).run(r.nowSeconds(), id);
  audit(r, { event: "invitation.revoked", actor, subject: id, project: project ?? undefined });
}

function assertNoMember(r: Registry, project: string, email: string): void {
  const member = statement(
    r.db,
    `SELECT 1 FROM member JOIN developer ON developer.id = member.developer WHERE project = ? AND email = ?`,
  );
  if (member.get(project, email) !== undefined) refuse("registry.conflict", `a member of ${project} has this address`);
}

interface InvitationRow extends Omit<Invitation, "status"> {
  readonly acceptedAt: number | null;
  readonly revokedAt: number | null;
}

function toInvitation({ acceptedAt, revokedAt, ...row }: InvitationRow, nowSeconds: number): Invitation {
  const hasEnded = row.expiresAt <= nowSeconds;
  const status = revokedAt !== null ? "revoked" : acceptedAt !== null ? "accepted" : hasEnded ? "expired" : "pending";
  return { ...row, status };
}

const select = `
  SELECT id, email, project, role, invited_by AS invitedBy, created_at AS createdAt, expires_at AS expiresAt,
    accepted_at AS acceptedAt, revoked_at AS revokedAt
  FROM invitation`;
