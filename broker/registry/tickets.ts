/**
 * Tickets: one-string enrolment secrets with a use count and an expiry. A ticket is for one client, or makes a device
 * of every key that redeems it.
 *
 * A use belongs to a key: who redeems again with the same key (the answer was lost) gets the same client and spends
 * nothing. The secret is kept as SHA-256 only; 20 random bytes need no slower hash.
 */
import { randomBytes } from "node:crypto";
import type { PublicKey } from "../../shared/cose-key.ts";
import { refuse } from "../../shared/refusal.ts";
import { ticketId } from "../../shared/ticket.ts";
import { assertWithin } from "./apis.ts";
import { ADMIN, audit } from "./audit.ts";
import {
  addRoles,
  announceClient,
  assertRoles,
  createClient,
  findClient,
  getClient,
  getLiveClient,
  type Client,
} from "./clients.ts";
import { statement } from "../sqlite/database.ts";
import { getProject } from "./projects.ts";
import type { Registry } from "./registry.ts";
import { hashSecret } from "./secrets.ts";

/** A ticket on record. Times in seconds. */
export interface TicketRecord {
  readonly id: string;
  readonly project: string;
  /** The client's id, or null where each key gets a device of its own. */
  readonly clientId: string | null;
  readonly uses: number;
  readonly used: number;
  /** Roles of the devices that it makes. */
  readonly roles: readonly string[];
  readonly createdAt: number;
  readonly expiresAt: number;
  readonly revoked: boolean;
}

/** What a ticket is created from. */
export interface NewTicket {
  readonly project: string;
  /** Name of a client of the project; without `uses` and `roles`. */
  readonly client?: string | undefined;
  readonly uses?: number | undefined;
  readonly roles?: readonly string[] | undefined;
  readonly ttlSeconds?: number | undefined;
}

/** How long a ticket may be redeemed, in seconds, and how often. */
export const ticketTtl = { min: 1, default: 86_400, max: 365 * 86_400 } as const;
export const ticketUses = { min: 1, max: 100_000 } as const;

/** The secret is in this answer and nowhere else. Throws `registry.not-found` (project) and `registry.invalid`. */
export function createTicket(
  r: Registry,
  asked: NewTicket,
  actor: string = ADMIN,
): { readonly id: string; readonly secret: string; readonly expiresAt: number } {
  const { project, client, roles = [], ttlSeconds = ticketTtl.default } = asked;
  getProject(r, project);
  const uses = readUses(r, asked);
  assertWithin("ttl_seconds", ttlSeconds, ticketTtl);
  assertRoles(r, project, roles);
  const secret = randomBytes(20).toString("base64url");
  const id = ticketId(secret);
  const now = r.nowSeconds();
  const expiresAt = now + ttlSeconds;
  return r.change(() => {
    statement(
      r.db,
      `INSERT INTO ticket (id, secret_hash, project, client, uses, used, created_at, expires_at)
       VALUES (?, ?, ?, ?, ?, 0, ?, ?)`,
    ).run(id, hashSecret(secret), project, client ?? null, uses, now, expiresAt);
    const add = statement(r.db, `INSERT INTO ticket_role (ticket, project, role) VALUES (?, ?, ?)`);
    for (const role of new Set(roles)) add.run(id, project, role);
    const facts = { client: client === undefined ? undefined : `${project}.${client}`, uses, roles, expiresAt };
    audit(r, { event: "ticket.created", actor, subject: id, project, facts });
    return { id, secret, expiresAt };
  });
}

/** By id, from the one after `after` on. */
export function listTickets(
  r: Registry,
  project: string,
  page: { readonly limit?: number; readonly after?: string | undefined } = {},
): TicketRecord[] {
  getProject(r, project);
  return statement<TicketRow>(r.db, `${select} WHERE project = ? AND id > ? ORDER BY id LIMIT ?`)
    .all(project, page.after ?? "", page.limit ?? -1)
    .map(toTicket);
}

/** Throws `registry.not-found`. */
export function getTicket(r: Registry, id: string): TicketRecord {
  const row = statement<TicketRow>(r.db, `${select} WHERE id = ?`).get(id);
  return row === undefined ? refuse("registry.not-found", `no ticket ${id.slice(0, 64)}`) : toTicket(row);
}

/** Ends a ticket; who has redeemed it keeps what it got. Throws `registry.not-found`. */
export function revokeTicket(r: Registry, id: string, actor: string = ADMIN): void {
  r.changeDurably(() => {
    const { project, revoked } = getTicket(r, id);
    if (revoked) return;
    statement(r.db, `UPDATE ticket SET revoked_at = ? WHERE id = ?`).run(r.nowSeconds(), id);
    audit(r, { event: "ticket.revoked", actor, subject: id, project });
  });
}

/**
 * Says which client {@link redeemTicket} would give the key, and changes nothing; it decides afresh when it is asked.
 * Throws `ticket.unknown`, `ticket.revoked`, `ticket.expired`, `ticket.used-up`, `client.unknown`, `client.disabled`.
 */
export function foreseeClient(r: Registry, secret: string, key: PublicKey): string {
  const { ticket, client } = weigh(r, secret, key);
  return client?.id ?? `${ticket.project}.${deviceName(key)}`;
}

/**
 * Gives the key its client. `again` says that the same key has redeemed this ticket before.
 * Throws what {@link foreseeClient} throws, and `registry.conflict` where the name of a device is another key's.
 */
export function redeemTicket(
  r: Registry,
  secret: string,
  key: PublicKey,
): { readonly client: Client; readonly again: boolean; readonly ticketId: string } {
  return r.change(() => {
    const { ticket, client, again } = weigh(r, secret, key);
    if (client !== undefined && again) return { client, again, ticketId: ticket.id };
    return { client: spend(r, ticket, key, client ?? toDevice(r, ticket, key)), again: false, ticketId: ticket.id };
  });
}

/** The ticket, if it may be redeemed with this key, and the client that it is of or that the key has got for it. */
function weigh(
  r: Registry,
  secret: string,
  key: PublicKey,
): { readonly ticket: TicketRecord; readonly client: Client | undefined; readonly again: boolean } {
  const row = statement<TicketRow>(r.db, `${select} WHERE secret_hash = ?`).get(hashSecret(secret));
  if (row === undefined) return refuse("ticket.unknown");
  const ticket = toTicket(row);
  if (ticket.revoked) refuse("ticket.revoked", ticket.id);
  if (ticket.expiresAt <= r.nowSeconds()) refuse("ticket.expired", ticket.id);
  const before = statement<string>(r.db, `SELECT client FROM ticket_use WHERE key_thumbprint = ? AND ticket = ?`)
    .pluck()
    .get(key.thumbprint, ticket.id);
  const known = before ?? ticket.clientId;
  const client = known === null ? undefined : getLiveClient(r, known);
  const again = before !== undefined;
  if (!again && ticket.used >= ticket.uses) refuse("ticket.used-up", ticket.id);
  return { ticket, client, again };
}

function spend(r: Registry, ticket: TicketRecord, key: PublicKey, client: Client): Client {
  statement(r.db, `UPDATE ticket SET used = used + 1 WHERE id = ?`).run(ticket.id);
  statement(r.db, `INSERT INTO ticket_use (key_thumbprint, ticket, client, used_at) VALUES (?, ?, ?, ?)`).run(
    key.thumbprint,
    ticket.id,
    client.id,
    r.nowSeconds(),
  );
  const facts = { ticket: ticket.id, key: key.thumbprint };
  audit(r, { event: "ticket.redeemed", actor: client.id, subject: client.id, facts });
  return client;
}

/** The device of a key: made now, or the one that another ticket made of the same key, which gains these roles. */
function toDevice(r: Registry, ticket: TicketRecord, key: PublicKey): Client {
  const { project, roles } = ticket;
  const name = deviceName(key);
  const id = `${project}.${name}`;
  const same = statement(r.db, `SELECT 1 FROM ticket_use WHERE key_thumbprint = ? AND client = ?`);
  // ten digits can be hit by trying: a name is shared by one key alone
  if (same.get(key.thumbprint, id) === undefined) {
    return createClient(r, { project, name, kind: "device", roles }, `ticket:${ticket.id}`).client;
  }
  getLiveClient(r, id);
  addRoles(r, project, name, roles);
  announceClient(r, id);
  return getClient(r, id);
}

function deviceName(key: PublicKey): string {
  return `d-${key.thumbprint.slice(0, 10)}`;
}

function readUses(r: Registry, { project, client, uses, roles = [] }: NewTicket): number {
  if (client === undefined) {
    if (uses === undefined) return refuse("registry.invalid", "uses: how often, for a ticket without a client");
    assertWithin("uses", uses, ticketUses);
    return uses;
  }
  if (uses !== undefined && uses !== 1) refuse("registry.invalid", "uses: the ticket of one client is used once");
  if (roles.length > 0) refuse("registry.invalid", "roles: the client has its roles already");
  if (findClient(r, `${project}.${client}`) === undefined) {
    refuse("registry.invalid", `client: no client ${client.slice(0, 64)} in project ${project}`);
  }
  return 1;
}

const select = `
  SELECT id, project, client, uses, used, created_at, expires_at, revoked_at,
    (SELECT json_group_array(role ORDER BY role) FROM ticket_role WHERE ticket_role.ticket = ticket.id) AS roles
  FROM ticket`;

interface TicketRow {
  readonly id: string;
  readonly project: string;
  readonly client: string | null;
  readonly uses: number;
  readonly used: number;
  readonly roles: string;
  readonly created_at: number;
  readonly expires_at: number;
  readonly revoked_at: number | null;
}

function toTicket(row: TicketRow): TicketRecord {
  return {
    id: row.id,
    project: row.project,
    clientId: row.client === null ? null : `${row.project}.${row.client}`,
    uses: row.uses,
    used: row.used,
    roles: JSON.parse(row.roles) as string[],
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    revoked: row.revoked_at !== null,
  };
}
