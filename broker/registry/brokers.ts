/**
 * Brokers elsewhere. A broker's name is its own for ever: a deleted one leaves its name behind, as a client does, so that
 * nobody else becomes who it was.
 */
import { normaliseSerial } from "../../shared/device-certificate.ts";
import { brokerSubject, isHost } from "../../shared/names.ts";
import { refuse } from "../../shared/refusal.ts";
import { ADMIN, audit } from "./audit.ts";
import { revokeCertificate } from "./certificates.ts";
import { statement } from "../sqlite/database.ts";
import type { Registry } from "./registry.ts";

/** A broker on record. Times in seconds. */
export interface Broker {
  readonly name: string;
  /** What its certificate may carry beside the local names. */
  readonly hosts: readonly string[];
  readonly createdAt: number;
  /** When the last of its certificates ends that was not taken back; null where there is none. */
  readonly certifiedUntil: number | null;
}

/** Names in one certificate. */
export const maxBrokerHosts = 16;

/** By name, from the one after `after` on. */
export function listBrokers(
  r: Registry,
  page: { readonly limit?: number; readonly after?: string | undefined } = {},
): Broker[] {
  return statement<BrokerRow>(r.db, `${select} WHERE deleted_at IS NULL AND name > ? ORDER BY name LIMIT ?`)
    .all(page.after ?? "", page.limit ?? -1)
    .map(toBroker);
}

/** Throws `registry.not-found`. */
export function getBroker(r: Registry, name: string): Broker {
  const row = statement<BrokerRow>(r.db, `${select} WHERE name = ? AND deleted_at IS NULL`).get(name);
  return row === undefined ? refuse("registry.not-found", `no broker ${name.slice(0, 64)}`) : toBroker(row);
}

/** Takes back its certificates and tickets and leaves its name taken. Throws `registry.not-found`. */
export function deleteBroker(r: Registry, name: string, actor: string = ADMIN): void {
  r.changeDurably(() => {
    getBroker(r, name);
    const now = r.nowSeconds();
    const subject = brokerSubject(name);
    statement(r.db, `UPDATE broker SET deleted_at = ? WHERE name = ?`).run(now, name);
    statement(r.db, `UPDATE broker_ticket SET revoked_at = ? WHERE broker = ? AND revoked_at IS NULL`).run(now, name);
    const live = statement<string>(r.db, `SELECT serial FROM certificate WHERE client = ? AND revoked_at IS NULL`);
    // no token is bound to the key of a broker
    for (const serial of live.pluck().all(subject)) revokeCertificate(r, serial, actor);
    audit(r, { event: "broker.deleted", actor, subject });
  });
}

/**
 * Throws unless the certificate with this serial is on record for the broker, was not taken back, and the broker is there:
 * `certificate.unknown` and `certificate.revoked`.
 */
export function assertLiveBroker(
  r: Registry,
  { name, serial }: { readonly name: string; readonly serial: string },
): void {
  const found = r.remember(`broker ${name} ${serial}`, () =>
    statement<{ revokedAt: number | null }>(
      r.db,
      `SELECT coalesce(certificate.revoked_at, deleted_at) AS revokedAt FROM certificate, broker
       WHERE serial = ? AND client = ? AND broker.name = ?`,
    ).get(normaliseSerial(serial), brokerSubject(name), name),
  );
  if (found === undefined) return refuse("certificate.unknown", serial);
  if (found.revokedAt !== null) refuse("certificate.revoked", serial);
}

/**
 * Makes the broker unless it is there, and gives it these hosts where any are named. Call it within a change.
 * Throws `registry.invalid`, and `registry.conflict` for a deleted one.
 */
export function keepBroker(r: Registry, name: string, named: readonly string[] | undefined, actor: string): void {
  const hosts = named && readHosts(named);
  const subject = brokerSubject(name);
  const known = statement<BrokerRow & { deleted_at: number | null }>(r.db, `${select} WHERE name = ?`).get(name);
  if (known === undefined) {
    const add = statement(r.db, `INSERT INTO broker (name, hosts, created_at) VALUES (?, ?, ?)`);
    add.run(name, JSON.stringify(hosts ?? []), r.nowSeconds());
    audit(r, { event: "broker.created", actor, subject, facts: { hosts: hosts ?? [] } });
    return;
  }
  if (known.deleted_at !== null) refuse("registry.conflict", `broker ${name} existed`);
  if (hosts === undefined || JSON.stringify(hosts) === known.hosts) return;
  statement(r.db, `UPDATE broker SET hosts = ? WHERE name = ?`).run(JSON.stringify(hosts), name);
  audit(r, { event: "broker.hosts-changed", actor, subject, facts: { hosts } });
}

function readHosts(hosts: readonly string[]): string[] {
  if (hosts.length > maxBrokerHosts) refuse("registry.invalid", `hosts: at most ${maxBrokerHosts}`);
  hosts.forEach((host, index) => {
    if (!isHost(host)) refuse("registry.invalid", `hosts.${index}: no host name or address`);
  });
  return [...new Set(hosts)];
}

const select = `
  SELECT name, hosts, created_at, deleted_at,
    (SELECT max(not_after) FROM certificate
     WHERE client = 'broker:' || broker.name AND revoked_at IS NULL) AS certified_until
  FROM broker`;

interface BrokerRow {
  readonly name: string;
  readonly hosts: string;
  readonly created_at: number;
  readonly certified_until: number | null;
}

function toBroker(row: BrokerRow): Broker {
  return {
    name: row.name,
    hosts: JSON.parse(row.hosts) as string[],
    createdAt: row.created_at,
    certifiedUntil: row.certified_until,
  };
}
