/**
 * The JSON of accounts, keys, members and invitations, as `registry-bodies.ts` has the rest.
 */
import { z } from "zod";
import { apiKeyTtl, type ApiKey } from "../../registry/api-keys.ts";
import { readEmail, type Developer } from "../../registry/developers.ts";
import type { Invitation } from "../../registry/invitations.ts";
import type { Member } from "../../registry/members.ts";
import { passwordLength } from "../../registry/passwords.ts";
import { plain, reference, slug, text } from "../v1/registry-fields.ts";
import { expiry } from "../v1/times.ts";

/** Longer than any password that can be chosen; whatever is given is tried. */
const maxGivenPassword = 1024;

const email = text(readEmail, { format: "email" }).transform((value) => readEmail(value));
const givenPassword = plain(maxGivenPassword);
const newPassword = z
  .string()
  .min(1)
  .max(maxGivenPassword)
  .meta({ description: `${passwordLength.min} to ${passwordLength.max} characters` });
const code = plain(40);
const secret = reference(100);
/** Of a person or a key; nothing that a terminal or a mail would take for something else. */
const label = z
  .string()
  .max(100)
  .regex(/^[^\p{C}\p{Zl}\p{Zp}]*$/u, "no control characters");
const permission = z.enum(["read", "audit", "enrol", "manage", "own"]);
const memberRole = z.enum(["owner", "admin", "auditor", "enroller"]);

/** What may be sent. */
export const sentOfAccounts = {
  Registration: z.strictObject({
    email,
    password: newPassword,
    name: label.optional(),
    invitation: secret.optional().meta({ description: "`pi1_…`, for this address" }),
  }),
  Confirmation: z.strictObject({
    email,
    code,
    password: givenPassword.meta({ description: "the one that was registered" }),
  }),
  LoginRequest: z.strictObject({ email, password: givenPassword }),
  PasswordChange: z.strictObject({ password: givenPassword, new_password: newPassword }),
  PasswordProof: z.strictObject({ password: givenPassword }),
  ResetRequest: z.strictObject({ email }),
  Reset: z.strictObject({ email, code, password: newPassword }),
  NewApiKey: z.strictObject({
    name: label.min(1),
    scopes: z.array(permission).min(1).max(5).optional().meta({ description: "`read` unless set" }),
    project: slug.optional().meta({ description: "the one that it is for; all of its developer's unless set" }),
    ttl_seconds: z.int().min(apiKeyTtl.min).max(apiKeyTtl.max).optional(),
  }),
  NewInvitation: z.strictObject({ email }),
  NewProjectInvitation: z.strictObject({ email, role: memberRole }),
  Acceptance: z.strictObject({ invitation: secret }),
  MemberChange: z.strictObject({ role: memberRole }),
};

const seconds = z.int().min(0);
const developer = z.object({
  id: z.string(),
  email: z.string(),
  name: z.string(),
  created_at: seconds,
  confirmed: z.boolean().meta({ description: "whether the address is proven; without that it is good for nothing" }),
});
const place = z.object({ project: z.string(), role: memberRole });

/** What is answered. */
export const answeredOfAccounts = {
  MailSent: z.object({ status: z.literal("mail-sent").meta({ description: "whether there is an account or not" }) }),
  Developer: developer,
  Me: developer.omit({ confirmed: true }).extend({ projects: z.array(place) }),
  Login: z.object({
    token: z.string().meta({ description: "`ps1_…`, in this answer alone" }),
    expires: z.iso.datetime(),
    expires_at: seconds,
    developer,
  }),
  ApiKey: z.object({
    id: z.string(),
    name: z.string(),
    key: z.string().optional().meta({ description: "`pk1_…`, in the answer that made it" }),
    scopes: z.array(permission),
    project: z.string().nullable(),
    created_at: seconds,
    expires: z.iso.datetime(),
    expires_at: seconds,
    last_used_at: seconds.nullable().meta({ description: "to the minute" }),
    status: z.enum(["valid", "expired", "revoked"]),
  }),
  Invitation: z.object({
    id: z.string(),
    email: z.string(),
    project: z.string().nullable(),
    role: memberRole.nullable(),
    invited_by: z.string(),
    created_at: seconds,
    expires: z.iso.datetime(),
    expires_at: seconds,
    status: z.enum(["pending", "accepted", "expired", "revoked"]),
    invitation: z
      .string()
      .optional()
      .meta({ description: "`pi1_…`, for the holder of the admin key in the answer that made it; else by mail alone" }),
  }),
  Membership: place,
  Member: z.object({ id: z.string(), email: z.string(), name: z.string(), role: memberRole, created_at: seconds }),
};

/** A developer as `/v1` shows one. */
export function toDeveloper({ id, email, name, createdAt, confirmedAt }: Developer): z.output<typeof developer> {
  return { id, email, name, created_at: createdAt, confirmed: confirmedAt !== null };
}

/** A key as `/v1` shows it, without its secret. */
export function toApiKeyAnswer(key: ApiKey): z.output<(typeof answeredOfAccounts)["ApiKey"]> {
  const { id, name, scopes, project, createdAt, expiresAt, lastUsedAt, status } = key;
  return {
    id,
    name,
    scopes: [...scopes],
    project,
    created_at: createdAt,
    ...expiry(expiresAt),
    last_used_at: lastUsedAt,
    status,
  };
}

/** An invitation as `/v1` shows it, without its secret. */
export function toInvitationAnswer(one: Invitation): z.output<(typeof answeredOfAccounts)["Invitation"]> {
  const { invitedBy, createdAt, expiresAt, ...same } = one;
  return { ...same, invited_by: invitedBy, created_at: createdAt, ...expiry(expiresAt) };
}

/** A member as `/v1` shows one. */
export function toMember({ createdAt, ...same }: Member): z.output<(typeof answeredOfAccounts)["Member"]> {
  return { ...same, created_at: createdAt };
}
