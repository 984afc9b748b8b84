/**
 * Certificates that were issued: who holds which key, and until when. Nothing here says that a certificate is
 * good; a disabled or deleted client's are not, whatever their dates.
 *
 * A revoked one stays on record for ever, because its key is not certified again.
 */
import { readSpki, type PublicKey } from "../../shared/cose-key.ts";
import { nameCertificate, normaliseSerial } from "../../shared/device-certificate.ts";
import { refuse } from "../../shared/refusal.ts";
import { ADMIN, audit } from "./audit.ts";
import { findClient } from "./clients.ts";
import { statement } from "../sqlite/database.ts";
import { ownAuthorityId } from "./device-authorities.ts";
import { listBoundTo } from "./issued.ts";
import type { Registry } from "./registry.ts";
import type { RevokedToken } from "./revoked-tokens.ts";
import { noteChange } from "./trust-changes.ts";

/** A certificate on record. */
export interface CertificateRecord {
  /** Lower case hex without leading zeros. */
  readonly serial: string;
  readonly clientId: string;
  readonly keyThumbprint: string;
  readonly notBefore: number;
  readonly notAfter: number;
  /** The ticket that it was issued for, null for a renewal. */
  readonly ticketId: string | null;
  readonly issuedAt: number;
  /** When it was taken back; null while it was not. */
  readonly revokedAt: number | null;
  /** `held`: its client is disabled. One of a deleted client is as good as revoked. Says nothing of its dates. */
  readonly status: "good" | "held" | "revoked";
}

/** A certificate to be recorded. Times in seconds. */
export interface NewCertificate {
  /** Hex, as X.509 tools print it. */
  readonly serial: string;
  readonly clientId: string;
  readonly key: PublicKey;
  readonly notBefore: number;
  readonly notAfter: number;
  readonly der: Uint8Array;
  readonly ticketId?: string | undefined;
}

/** A certificate that has ended is kept this long for whoever looks into the past. */
const keptSeconds = 90 * 86_400;
/** Old keys end with their certificates; a client that renews all the time is not asked to be verified by each. */
const maxLiveKeys = 4;

/** Records a certificate, and drops those that ended long ago. Throws `certificate.revoked` for the key of a revoked one. */
export function recordCertificate(r: Registry, certificate: NewCertificate): void {
  const { clientId, key, notBefore, notAfter, der, ticketId } = certificate;
  const serial = normaliseSerial(certificate.serial);
  r.change(() => {
    const now = r.nowSeconds();
    assertCertifiable(r, clientId, key, now);
    statement(r.db, `DELETE FROM certificate WHERE not_after < ? AND revoked_at IS NULL`).run(now - keptSeconds);
    statement(
      r.db,
      `INSERT INTO certificate (serial, client, key_spki, key_thumbprint, not_before, not_after, der, ticket, issued_at)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    ).run(
      serial,
      clientId,
      key.keyObject.export({ format: "der", type: "spki" }),
      key.thumbprint,
      notBefore,
      notAfter,
      der,
      ticketId ?? null,
      now,
    );
    const facts = { serial, key: key.thumbprint, notAfter, ticket: ticketId };
    audit(r, { event: "certificate.issued", actor: clientId, subject: clientId, facts });
  });
}

/**
 * A key that lost its certificate is not certified again, for anybody. One of which only a former certificate was taken
 * back goes on: the client holds another for it that is good.
 */
function assertCertifiable(r: Registry, clientId: string, key: PublicKey, now: number): void {
  const revoked = statement(r.db, `SELECT 1 FROM certificate WHERE key_thumbprint = ? AND revoked_at IS NOT NULL`);
  if (revoked.get(key.thumbprint) === undefined || holdsGoodOne(r, clientId, key.thumbprint, now)) return;
  refuse("certificate.revoked", `one with the key ${key.thumbprint}`);
}

function holdsGoodOne(r: Registry, clientId: string, keyThumbprint: string, now: number): boolean {
  const good = statement(
    r.db,
    `SELECT 1 FROM certificate WHERE client = ? AND not_after >= ? AND key_thumbprint = ? AND revoked_at IS NULL`,
  );
  return good.get(clientId, now, keyThumbprint) !== undefined;
}

/** By serial, from the one after `after` on: those of one client, of one project's clients, or all. */
export function listCertificates(
  r: Registry,
  asked: {
    readonly client?: string | undefined;
    readonly project?: string | undefined;
    readonly after?: string | undefined;
    readonly limit?: number;
  } = {},
): CertificateRecord[] {
  const { client, project, after = "", limit = -1 } = asked;
  const list = (where: string, ...values: string[]): CertificateRecord[] =>
    statement<CertificateRecord>(r.db, `${select} WHERE ${where} serial > ? ORDER BY serial LIMIT ?`).all(
      ...values,
      after,
      limit,
    );
  // between the dot, which no slug has, and the character after it
  if (project !== undefined && client === undefined)
    return list(`client > ? AND client < ? AND`, `${project}.`, `${project}/`);
  if (project !== undefined && !client!.startsWith(`${project}.`)) return [];
  return client === undefined ? list("") : list(`client = ? AND`, client);
}

/** The record of a serial, in any spelling of its hex. */
export function findCertificate(r: Registry, serial: string): CertificateRecord | undefined {
  if (serial.length > 64) return undefined;
  const name = normaliseSerial(serial);
  return r.remember(`certificate ${name}`, () =>
    statement<CertificateRecord>(r.db, `${select} WHERE serial = ?`).get(name),
  );
}

/**
 * Takes a certificate back; gives the tokens to be put on the list, those that are bound to its key unless the client has
 * another good certificate with the same key. Nothing where that was done before. Call it within a change. Throws
 * `registry.not-found`.
 */
export function revokeCertificate(r: Registry, serial: string, actor: string = ADMIN): RevokedToken[] | undefined {
  const record = findCertificate(r, serial);
  if (record === undefined) return refuse("registry.not-found", `no certificate ${serial.slice(0, 64)}`);
  if (record.revokedAt !== null) return undefined;
  const { clientId, keyThumbprint } = record;
  const now = r.nowSeconds();
  const name = nameCertificate({ authority: ownAuthorityId(r), serial: record.serial });
  statement(r.db, `UPDATE certificate SET revoked_at = ? WHERE serial = ?`).run(now, record.serial);
  audit(r, { event: "certificate.revoked", actor, subject: clientId, facts: { serial: record.serial } });
  noteChange(r, "certificate", name);
  r.afterCommit(() => r.sink.revokeCertificates([name]));
  if (holdsGoodOne(r, clientId, keyThumbprint, now)) return [];
  return listBoundTo(r, clientId, keyThumbprint);
}

/** The keys that the client holds good certificates for at this time, newest first, at most 4; none unless it is enabled. */
export function liveCertificateKeys(r: Registry, clientId: string, nowSeconds: number): PublicKey[] {
  if (findClient(r, clientId)?.enabled !== true) return [];
  const held = r.remember(`keys ${clientId}`, () => readHeldKeys(r, clientId, nowSeconds));
  const keys = new Map<string, PublicKey>();
  for (const { key, notBefore, notAfter } of held) {
    if (notBefore <= nowSeconds && nowSeconds <= notAfter && keys.size < maxLiveKeys) keys.set(key.thumbprint, key);
  }
  return [...keys.values()];
}

/** Tells the sink which certificates of ours were taken back. */
export function tellRevokedCertificates(r: Registry): void {
  const serials = statement<string>(r.db, `SELECT serial FROM certificate WHERE revoked_at IS NOT NULL`).pluck().all();
  if (serials.length === 0) return;
  const authority = ownAuthorityId(r);
  r.sink.revokeCertificates(serials.map((serial) => nameCertificate({ authority, serial })));
}

interface HeldKey {
  readonly key: PublicKey;
  readonly notBefore: number;
  readonly notAfter: number;
}

function readHeldKeys(r: Registry, clientId: string, nowSeconds: number): HeldKey[] {
  return statement<{ key_spki: Uint8Array; not_before: number; not_after: number }>(
    r.db,
    `SELECT key_spki, not_before, not_after FROM certificate WHERE client = ? AND not_after >= ? AND revoked_at IS NULL
     ORDER BY issued_at DESC, not_before DESC LIMIT 32`,
  )
    .all(clientId, nowSeconds)
    .map((row) => ({ key: readSpki(row.key_spki), notBefore: row.not_before, notAfter: row.not_after }));
}

const select = `
  SELECT serial, client AS clientId, key_thumbprint AS keyThumbprint, not_before AS notBefore, not_after AS notAfter,
    ticket AS ticketId, issued_at AS issuedAt, revoked_at AS revokedAt,
    CASE WHEN revoked_at IS NOT NULL THEN 'revoked' ELSE coalesce((
      SELECT CASE WHEN deleted_at IS NOT NULL THEN 'revoked' WHEN enabled = 0 THEN 'held' ELSE 'good' END FROM client AS holder
      WHERE holder.project = substr(certificate.client, 1, instr(certificate.client, '.') - 1)
        AND holder.name = substr(certificate.client, instr(certificate.client, '.') + 1)), 'good') END AS status
  FROM certificate`;
