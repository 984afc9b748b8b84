/**
 * The tickets by which brokers elsewhere enrol. A ticket is for one key, the first that redeems it; the same key may redeem
 * it again while it lasts, because the answer may have been lost. The secret is kept as SHA-256 only.
 */
import { randomBytes } from "node:crypto";
import type { PublicKey } from "../../shared/cose-key.ts";
import { assertName, brokerSubject } from "../../shared/names.ts";
import { refuse } from "../../shared/refusal.ts";
import { ticketId } from "../../shared/ticket.ts";
import { assertWithin } from "./apis.ts";
import { ADMIN, audit } from "./audit.ts";
import { getBroker, keepBroker, type Broker } from "./brokers.ts";
import { hashSecret } from "./secrets.ts";
import { statement } from "../sqlite/database.ts";
import type { Registry } from "./registry.ts";
import { ticketTtl } from "./tickets.ts";

/** A broker's ticket on record. Times in seconds. */
export interface BrokerTicketRecord {
  readonly id: string;
  readonly broker: string;
  /** Whether a key has redeemed it. */
  readonly redeemed: boolean;
  readonly createdAt: number;
  readonly expiresAt: number;
  readonly revoked: boolean;
}

/** What a broker's ticket is created from. */
export interface NewBrokerTicket {
  readonly name: string;
  /** Left out, those of a broker that is there already stay as they are. */
  readonly hosts?: readonly string[] | undefined;
  readonly ttlSeconds?: number | undefined;
}

/** A ticket as its redeemer sees it. */
export interface BrokerTicket {
  readonly id: string;
  readonly broker: Broker;
  /** Whether this key has redeemed it before. */
  readonly again: boolean;
}

/** Makes the broker if it is new, and a ticket for it. Throws `registry.invalid`, and `registry.conflict` for a deleted one. */
export function createBrokerTicket(
  r: Registry,
  { name, hosts, ttlSeconds = ticketTtl.default }: NewBrokerTicket,
  actor: string = ADMIN,
): { readonly id: string; readonly secret: string; readonly expiresAt: number } {
  assertName(name);
  assertWithin("ttl_seconds", ttlSeconds, ticketTtl);
  const secret = randomBytes(20).toString("base64url");
  const id = ticketId(secret);
  const now = r.nowSeconds();
  const expiresAt = now + ttlSeconds;
  return r.change(() => {
    keepBroker(r, name, hosts, actor);
    statement(
      r.db,
      `INSERT INTO broker_ticket (id, secret_hash, broker, created_at, expires_at) VALUES (?, ?, ?, ?, ?)`,
    ).run(id, hashSecret(secret), name, now, expiresAt);
    audit(r, { event: "ticket.created", actor, subject: id, facts: { broker: name, expiresAt } });
    return { id, secret, expiresAt };
  });
}

/** Those of one broker, by id. Throws `registry.not-found` (broker). */
export function listBrokerTickets(r: Registry, broker: string): BrokerTicketRecord[] {
  const { name } = getBroker(r, broker);
  return statement<TicketRow>(r.db, `${select} WHERE broker = ? ORDER BY id`).all(name).map(toTicket);
}

/** Throws `registry.not-found`. */
export function getBrokerTicket(r: Registry, broker: string, id: string): BrokerTicketRecord {
  const row = statement<TicketRow>(r.db, `${select} WHERE id = ? AND broker = ?`).get(id, getBroker(r, broker).name);
  return row === undefined ? refuse("registry.not-found", `no ticket ${id.slice(0, 64)}`) : toTicket(row);
}

/** Ends a ticket; the broker that has redeemed it keeps its certificate. Throws `registry.not-found`. */
export function revokeBrokerTicket(r: Registry, broker: string, id: string, actor: string = ADMIN): void {
  r.changeDurably(() => {
    if (getBrokerTicket(r, broker, id).revoked) return;
    statement(r.db, `UPDATE broker_ticket SET revoked_at = ? WHERE id = ?`).run(r.nowSeconds(), id);
    audit(r, { event: "ticket.revoked", actor, subject: id, facts: { broker } });
  });
}

/** Whether the secret is that of a broker's ticket, whatever has become of it. */
export function isBrokerTicket(r: Registry, secret: string): boolean {
  return statement(r.db, `SELECT 1 FROM broker_ticket WHERE secret_hash = ?`).get(hashSecret(secret)) !== undefined;
}

/**
 * Says what {@link redeemBrokerTicket} would give the key, and changes nothing; it decides afresh when it is asked.
 * Throws `ticket.unknown`, `ticket.revoked`, `ticket.expired` and `ticket.used-up` (by another key).
 */
export function foreseeBroker(r: Registry, secret: string, key: PublicKey): BrokerTicket {
  const row = statement<TicketRow>(r.db, `${select} WHERE secret_hash = ?`).get(hashSecret(secret));
  if (row === undefined) return refuse("ticket.unknown");
  if (row.revoked_at !== null) refuse("ticket.revoked", row.id);
  if (row.expires_at <= r.nowSeconds()) refuse("ticket.expired", row.id);
  if (row.key_thumbprint !== null && row.key_thumbprint !== key.thumbprint) refuse("ticket.used-up", row.id);
  return { id: row.id, broker: getBroker(r, row.broker), again: row.key_thumbprint !== null };
}

/** Gives the ticket to the key. Throws what {@link foreseeBroker} throws. */
export function redeemBrokerTicket(r: Registry, secret: string, key: PublicKey): BrokerTicket {
  return r.change(() => {
    const ticket = foreseeBroker(r, secret, key);
    if (ticket.again) return ticket;
    statement(r.db, `UPDATE broker_ticket SET key_thumbprint = ? WHERE id = ?`).run(key.thumbprint, ticket.id);
    const subject = brokerSubject(ticket.broker.name);
    const facts = { ticket: ticket.id, key: key.thumbprint };
    audit(r, { event: "ticket.redeemed", actor: subject, subject, facts });
    return ticket;
  });
}

const select = `
  SELECT id, broker, key_thumbprint, created_at, expires_at, revoked_at FROM broker_ticket`;

interface TicketRow {
  readonly id: string;
  readonly broker: string;
  readonly key_thumbprint: string | null;
  readonly created_at: number;
  readonly expires_at: number;
  readonly revoked_at: number | null;
}

function toTicket(row: TicketRow): BrokerTicketRecord {
  return {
    id: row.id,
    broker: row.broker,
    redeemed: row.key_thumbprint !== null,
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    revoked: row.revoked_at !== null,
  };
}
