/** The rows of `/v1` that are about who may do what in a project: members, and invitations to it and to register. */
import { refuse } from "../../../shared/refusal.ts";
import {
  createInvitation,
  findInvitation,
  listInvitations,
  revokeInvitation,
  spendInvitation,
  type NewInvitation,
} from "../../registry/invitations.ts";
import { actorOf } from "../../registry/developers.ts";
import { addMember, listMembers, removeMember, setMemberRole } from "../../registry/members.ts";
import { permissionsOf } from "../../registry/member-roles.ts";
import { assertLogin, assertPermission } from "../v1/access.ts";
import { toInvitationAnswer, toMember } from "./account-bodies.ts";
import { invitationMail } from "./account-mails.ts";
import { TooMany } from "../too-many.ts";
import type { Answer } from "../v1/registry-bodies.ts";
import { all, change, create, remove, type CallContext, type Params, type Route } from "../v1/registry-route.ts";

const invitations = "/v1/invitations";
const members = "/v1/projects/:project/members";
const projectInvitations = "/v1/projects/:project/invitations";
/** How long somebody waits who has written to one address too often. */
const mailPauseSeconds = 3600;

/** A project's own, and the administrator's. */
export const memberRoutes: readonly Route[] = [
  all("read", members, "Member", ({ registry }, p) => ({ items: listMembers(registry, p.project).map(toMember) })),
  change("own", "PUT", `${members}/:id`, "MemberChange", "Member", ({ registry, actor }, p, { role }) =>
    toMember(setMemberRole(registry, p.project, p.id, role, actor)),
  ),
  remove("read", `${members}/:id`, "take a member out, or leave; the first is for owners", (context, p) => {
    if (!isOneself(context, p)) assertPermission(context.registry, context.principal, p.project, "own");
    removeMember(context.registry, p.project, p.id, context.actor);
  }),

  create("manage", projectInvitations, "NewProjectInvitation", "Invitation", "id", (context, p, { email, role }) => {
    // nobody makes somebody who may more than they do themselves
    if (permissionsOf[role].includes("manage")) {
      assertPermission(context.registry, context.principal, p.project, "own");
    }
    return invite(context, { email, place: { project: p.project, role } });
  }),
  all("read", projectInvitations, "Invitation", ({ registry }, p) => ({
    items: listInvitations(registry, p.project).map(toInvitationAnswer),
  })),
  remove("manage", `${projectInvitations}/:id`, "revoke an invitation", ({ registry, actor }, p) =>
    revokeInvitation(registry, p.project, p.id, actor),
  ),

  create("admin", invitations, "NewInvitation", "Invitation", "id", (context, _, { email }) => {
    if (context.accounts.registration === "closed") refuse("registration.closed", "nobody could use the invitation");
    return invite(context, { email });
  }),
  all("admin", invitations, "Invitation", ({ registry }) => ({
    items: listInvitations(registry, null).map(toInvitationAnswer),
  })),
  remove("admin", `${invitations}/:id`, "revoke an invitation", ({ registry, actor }, p) =>
    revokeInvitation(registry, null, p.id, actor),
  ),
  {
    method: "POST",
    path: `${invitations}/accept`,
    access: "login",
    says: "have the role that the invitation is for",
    sends: "Acceptance",
    answers: "Membership",
    run: (context, { body }) => accept(context, (body as { invitation: string }).invitation),
  },
];

/** A key is nobody's self: it leaves no project. */
function isOneself({ principal }: CallContext, { id }: Params): boolean {
  return principal.kind === "developer" && principal.login !== undefined && principal.developer.id === id;
}

/** Sends the invitation by mail; only the holder of the admin key is told the secret. */
function invite(context: CallContext, asked: NewInvitation): Answer<"Invitation"> {
  const { registry, principal, actor, desk, accounts } = context;
  const developer = principal.kind === "developer" ? principal.developer : undefined;
  const inviter = developer === undefined ? actor : actorOf(developer);
  const now = registry.nowSeconds();
  if (developer !== undefined) desk.takeWish(`of ${inviter}`, now);
  const { record, secret } = registry.change(() => {
    const made = createInvitation(registry, asked, { inviter, actor });
    const { project } = made.record;
    if (developer !== undefined && project !== null && !desk.takeInvitation(project, asked.email, now)) {
      throw new TooMany(mailPauseSeconds, "invitations of this project to one address");
    }
    return made;
  });
  if (developer === undefined || desk.takeInvitationMail(asked.email, now)) {
    accounts.sendMail(invitationMail(context, record, secret, developer?.email));
  }
  return { ...toInvitationAnswer(record), ...(developer === undefined && { invitation: secret }) };
}

/** Throws `registration.invitation`, and `registry.conflict` for a member. */
function accept({ registry, principal, actor }: CallContext, secret: string): Answer<"Membership"> {
  const { developer } = assertLogin(principal);
  return registry.change(() => {
    const invitation = findInvitation(registry, secret, developer.email);
    const { project, role } = invitation;
    if (project === null || role === null)
      return refuse("registration.invitation", "it is to register, and to no project");
    addMember(registry, project, developer.id, role, actor);
    spendInvitation(registry, invitation, actor);
    return { project, role };
  });
}
