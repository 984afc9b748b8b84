/**
 * The JSON of `/v1`: what may be sent, what is answered, and how a registry entry becomes an answer. Names are
 * snake_case; times are seconds, and `expires` is the same as RFC 3339 text. The OpenAPI document is made from these.
 */
import { z } from "zod";
import { toJwk } from "../../../shared/cose-key.ts";
import { isHost } from "../../../shared/names.ts";
import { formatPermission, parsePermission, type Grant } from "../../../shared/scope.ts";
import { assertTopicFilter } from "../../../shared/topic.ts";
import { audienceForm, MAX_ENTRIES, scopeForm, tokenTtl, type Api } from "../../registry/apis.ts";
import type { AuditRecord } from "../../registry/audit.ts";
import type { BrokerTicketRecord } from "../../registry/broker-tickets.ts";
import { maxBrokerHosts, type Broker } from "../../registry/brokers.ts";
import type { CertificateRecord } from "../../registry/certificates.ts";
import type { Client } from "../../registry/clients.ts";
import type { Project } from "../../registry/projects.ts";
import type { Role } from "../../registry/roles.ts";
import type { SigningKey } from "../../registry/signing-keys.ts";
import { ticketTtl, ticketUses, type TicketRecord } from "../../registry/tickets.ts";
import { answeredOfAccounts, sentOfAccounts } from "../accounts/account-bodies.ts";
import { answeredOfCredentials, jwks, sentOfCredentials } from "./credential-bodies.ts";
import { answeredOfAudit } from "./audit-bodies.ts";
import { answeredOfAuthorities, sentOfAuthorities } from "./device-authority-bodies.ts";
import { name, permission, slug, text } from "./registry-fields.ts";
import { answeredOfRevocations, sentOfRevocations } from "./revocation-bodies.ts";
import { expiry } from "./times.ts";

const seconds = z.int().min(0);
const topics = z.array(text((filter) => assertTopicFilter(filter), { examples: ["sites/#"] })).max(MAX_ENTRIES);
const scopes = z
  .array(z.string().regex(scopeForm, "1 to 64 printable ASCII characters without spaces, quotes and backslashes"))
  .max(MAX_ENTRIES);
const kind = z.enum(["mqtt", "http"]);
const clientKind = z.enum(["device", "service", "app"]);
const permissions = z.array(permission).max(MAX_ENTRIES);
const roleNames = z.array(name).max(MAX_ENTRIES);
const purge = z.enum(["client", "always", "never"]);

/** What may be sent. */
export const sent = {
  NewProject: z.strictObject({ slug }),
  NewApi: z.strictObject({
    name,
    kind,
    audience: z
      .string()
      .regex(audienceForm, "1 to 255 printable ASCII characters without spaces, quotes and backslashes")
      .optional()
      .meta({ description: "`<project>.<name>` unless set" }),
    topics: topics
      .optional()
      .meta({ description: "topic filters, for kind mqtt; none that meets a filter of another project" }),
    scopes: scopes.optional().meta({ description: "for kind http" }),
    ttl_seconds: z.int().min(tokenTtl.min).max(tokenTtl.max).optional(),
    format: z.enum(["cwt", "jwt"]).optional().meta({ description: "as the request has it unless set" }),
    bearer: z.boolean().optional().meta({ description: "whether tokens without a bound key are let in" }),
    purge: purge.optional().meta({ description: "when retained messages of a client go; `client` unless set" }),
  }),
  NewRole: z.strictObject({ name, api: name, permissions: permissions.optional(), scopes: scopes.optional() }),
  RoleContents: z.strictObject({
    api: name.optional(),
    permissions: permissions.optional(),
    scopes: scopes.optional(),
  }),
  NewClient: z.strictObject({
    name,
    kind: clientKind,
    roles: roleNames.optional(),
    keys: jwks.optional().meta({ description: "public keys as JWKs; with one a service or app gets no secret" }),
  }),
  ClientChange: z
    .strictObject({ enabled: z.boolean().optional(), roles: roleNames.optional() })
    .refine((change) => Object.keys(change).length > 0, {
      error: "nothing to change",
      when: ({ issues }) => issues.length === 0,
    }),
  NewTicket: z.strictObject({
    client: name.optional().meta({ description: "for this client, once" }),
    uses: z.int().min(ticketUses.min).max(ticketUses.max).optional().meta({ description: "without a client" }),
    roles: roleNames.optional().meta({ description: "of the devices that it makes" }),
    ttl_seconds: z.int().min(ticketTtl.min).max(ticketTtl.max).optional(),
  }),
  ...sentOfAccounts,
  ...sentOfCredentials,
  ...sentOfAuthorities,
  NewBrokerTicket: z.strictObject({
    hosts: z
      .array(z.string().max(253).refine(isHost, "no host name or address"))
      .max(maxBrokerHosts)
      .optional()
      .meta({ description: "what the broker's certificate may carry beside the local names; as before unless set" }),
    ttl_seconds: z.int().min(ticketTtl.min).max(ticketTtl.max).optional(),
  }),
  ...sentOfRevocations,
};

const jwk = z.object({ kty: z.literal("EC"), crv: z.literal("P-256"), x: z.string(), y: z.string() });

/** What is answered. */
export const answered = {
  Project: z.object({ slug: z.string(), created_at: seconds }),
  Api: z.object({
    project: z.string(),
    name: z.string(),
    kind,
    audience: z.string(),
    topics: z.array(z.string()),
    scopes: z.array(z.string()),
    ttl_seconds: seconds,
    format: z.enum(["cwt", "jwt"]).nullable(),
    bearer: z.boolean(),
    purge,
    created_at: seconds,
  }),
  Role: z.object({
    project: z.string(),
    name: z.string(),
    api: z.string(),
    permissions: z.array(z.string()),
    scopes: z.array(z.string()),
    created_at: seconds,
  }),
  Client: z.object({
    id: z.string(),
    project: z.string(),
    name: z.string(),
    kind: clientKind,
    enabled: z.boolean(),
    roles: z.array(z.string()),
    created_at: seconds,
    client_secret: z.string().optional().meta({ description: "of a service or app, in the answer that made it" }),
  }),
  Ticket: z.object({
    id: z.string(),
    project: z.string(),
    client: z.string().nullable(),
    uses: z.int(),
    used: z.int(),
    roles: z.array(z.string()),
    created_at: seconds,
    expires: z.iso.datetime(),
    expires_at: seconds,
    revoked: z.boolean(),
  }),
  IssuedTicket: z.object({
    id: z.string(),
    ticket: z.string().meta({ description: "all of it in one string" }),
    secret: z.string(),
    authority: z.string(),
    pin: z.string().meta({ description: "hex SHA-256 of the CA's SubjectPublicKeyInfo" }),
    expires: z.iso.datetime(),
    expires_at: seconds,
  }),
  Broker: z.object({
    name: z.string(),
    hosts: z.array(z.string()),
    created_at: seconds,
    certified_until: seconds.nullable().meta({ description: "null where it has no certificate that is not revoked" }),
  }),
  BrokerTicket: z.object({
    id: z.string(),
    broker: z.string(),
    redeemed: z.boolean(),
    created_at: seconds,
    expires: z.iso.datetime(),
    expires_at: seconds,
    revoked: z.boolean(),
  }),
  ...answeredOfAccounts,
  ...answeredOfCredentials,
  ...answeredOfAuthorities,
  ...answeredOfAudit,
  AuditEntry: z.object({
    seq: z.int(),
    at: seconds,
    event: z.string(),
    actor: z.string(),
    subject: z.string().nullable(),
    reason: z.string().nullable(),
    refusal_id: z.string().nullable(),
    facts: z.record(z.string(), z.unknown()).nullable(),
  }),
  Certificate: z.object({
    serial: z.string(),
    client: z.string(),
    thumbprint: z.string().meta({ description: "of the key, RFC 9679, hex" }),
    ticket: z.string().nullable(),
    not_before: seconds,
    not_after: seconds,
    expires: z.iso.datetime(),
    revoked_at: seconds.nullable(),
    status: z
      .enum(["good", "held", "revoked"])
      .meta({ description: "held: its client is disabled; says nothing of its dates" }),
  }),
  SigningKey: z.object({
    kid: z.string(),
    active: z.boolean(),
    created_at: seconds,
    revoked_at: seconds.nullable(),
    jwk,
  }),
  ...answeredOfRevocations,
};

/** One of the answers, by its name. */
export type Answer<K extends keyof typeof answered> = z.output<(typeof answered)[K]>;

/** A project as `/v1` shows it. */
export function toProject({ slug, createdAt }: Project): Answer<"Project"> {
  return { slug, created_at: createdAt };
}

/** An api as `/v1` shows it. */
export function toApi({ ttlSeconds, createdAt, topics, scopes, ...same }: Api): Answer<"Api"> {
  return { ...same, topics: [...topics], scopes: [...scopes], ttl_seconds: ttlSeconds, created_at: createdAt };
}

/** A role as `/v1` shows it. */
export function toRole({ createdAt, permissions, scopes, ...same }: Role): Answer<"Role"> {
  return { ...same, permissions: permissions.map(formatPermission), scopes: [...scopes], created_at: createdAt };
}

/** A client as `/v1` shows it, without its secret. */
export function toClient({ id, project, name, kind, enabled, roles, createdAt }: Client): Answer<"Client"> {
  return { id, project, name, kind, enabled, roles: [...roles], created_at: createdAt };
}

/** A ticket as `/v1` shows it, without its secret. */
export function toTicketAnswer({ clientId, createdAt, expiresAt, roles, ...same }: TicketRecord): Answer<"Ticket"> {
  return { ...same, client: clientId, roles: [...roles], created_at: createdAt, ...expiry(expiresAt) };
}

/** A broker as `/v1` shows it. */
export function toBroker({ hosts, createdAt, certifiedUntil, ...same }: Broker): Answer<"Broker"> {
  return { ...same, hosts: [...hosts], created_at: createdAt, certified_until: certifiedUntil };
}

/** The ticket of a broker as `/v1` shows it, without its secret. */
export function toBrokerTicket({ createdAt, expiresAt, ...same }: BrokerTicketRecord): Answer<"BrokerTicket"> {
  return { ...same, created_at: createdAt, ...expiry(expiresAt) };
}

/** A row of the audit log as `/v1` shows it. */
export function toAuditEntry({ seq, at, event, actor, ...maybe }: AuditRecord): Answer<"AuditEntry"> {
  const { subject = null, reason = null, refusalId = null, facts = null } = maybe;
  return { seq, at, event, actor, subject, reason, refusal_id: refusalId, facts };
}

/** A certificate's record as `/v1` shows it. */
export function toCertificate(record: CertificateRecord): Answer<"Certificate"> {
  return {
    serial: record.serial,
    client: record.clientId,
    thumbprint: record.keyThumbprint,
    ticket: record.ticketId,
    not_before: record.notBefore,
    not_after: record.notAfter,
    expires: expiry(record.notAfter).expires,
    revoked_at: record.revokedAt,
    status: record.status,
  };
}

/** A signing key as `/v1` shows it: its public half. */
export function toSigningKey({ kid, active, createdAt, revokedAt, key }: SigningKey): Answer<"SigningKey"> {
  return { kid, active, created_at: createdAt, revoked_at: revokedAt, jwk: toJwk(key) };
}

/** Permissions that the schema let pass, as grants. */
export function readPermissions(texts: readonly string[] | undefined): Grant[] | undefined {
  return texts?.map(parsePermission);
}
