/**
 * Who issues device certificates: our own CA, and the authorities elsewhere that the operator has added.
 *
 * An authority elsewhere can speak for every client of the installation, since a device certificate names its client and
 * nothing narrows whom an authority may name. Refuses what is no authority, and keys whose signatures are not verified here.
 */
import { X509Certificate } from "node:crypto";
import { nameAuthority } from "../../shared/device-certificate.ts";
import { assertName } from "../../shared/names.ts";
import { refuse } from "../../shared/refusal.ts";
import { statement } from "../sqlite/database.ts";
import type { CertificateName, DeviceAuthority } from "../trust/trust.ts";
import { ADMIN, audit } from "./audit.ts";
import type { Registry } from "./registry.ts";
import { noteChange } from "./trust-changes.ts";

/** An authority elsewhere, on record. Times in seconds. */
export interface AuthorityRecord {
  /** By {@link nameAuthority}. */
  readonly id: string;
  readonly name: string;
  readonly certificate: X509Certificate;
  /** Whether its certificates are refused while its list is too old or was never there. */
  readonly needsList: boolean;
  /** The list that was imported last; null before the first. */
  readonly list: ListRecord | null;
  readonly createdAt: number;
}

/** What is known of an imported list beside its entries. */
export interface ListRecord {
  /** Its cRLNumber, decimal; null for a list without. */
  readonly number: string | null;
  /** Its thisUpdate and nextUpdate. */
  readonly at: number;
  readonly endsAt: number;
  readonly entries: number;
}

/** What an authority is added from. */
export interface NewAuthority {
  readonly name: string;
  /** One certificate, PEM. */
  readonly ca: string;
  readonly needsList?: boolean | undefined;
}

/** Each is asked for each certificate that is new to a gate. */
const maxAuthorities = 100;
const ownName = "postern";
const curves: ReadonlySet<string> = new Set(["prime256v1", "secp384r1", "secp521r1"]);
const minRsaBits = 2048;
/** Names that a sink is told at once. */
const batch = 10_000;

/** Throws `registry.invalid`, and `registry.conflict` where name or key are taken. */
export function addDeviceAuthority(
  r: Registry,
  { name, ca, needsList = false }: NewAuthority,
  actor: string = ADMIN,
): AuthorityRecord {
  assertName(name);
  const certificate = readAuthorityCertificate(ca);
  const id = nameAuthority(certificate);
  return r.change(() => {
    const known = statement<{ name: string }>(r.db, `SELECT name FROM device_authority WHERE id = ?`).get(id);
    if (known !== undefined) refuse("registry.conflict", `the key is that of authority ${known.name}`);
    if (listDeviceAuthorities(r).length >= maxAuthorities) {
      refuse("registry.invalid", `there are ${maxAuthorities} authorities, and no more are taken`);
    }
    const isTaken = name === ownName || findRow(r, name) !== undefined;
    if (isTaken) refuse("registry.conflict", `authority ${name} exists`);
    insert(r, { id, name, own: 0, der: certificate.raw, needsList });
    audit(r, { event: "device-authority.added", actor, subject: name, facts: { id, needsList } });
    announceAuthority(r, id);
    return getDeviceAuthority(r, name);
  });
}

/** By name, without our own. */
export function listDeviceAuthorities(r: Registry): AuthorityRecord[] {
  return statement<Row>(r.db, `${select} WHERE own = 0 ORDER BY name`).all().map(toRecord);
}

/** Throws `registry.not-found`. */
export function getDeviceAuthority(r: Registry, name: string): AuthorityRecord {
  const row = findRow(r, name);
  return row === undefined ? refuse("registry.not-found", `no device authority ${name.slice(0, 100)}`) : toRecord(row);
}

/** Its certificates are worth nothing from now on, and its list is dropped. Throws `registry.not-found`. */
export function removeDeviceAuthority(r: Registry, name: string, actor: string = ADMIN): void {
  r.changeDurably(() => {
    const { id } = getDeviceAuthority(r, name);
    const serials = readSerials(r, id);
    for (const serial of serials) noteChange(r, "certificate", `${id}:${serial}`);
    statement(r.db, `DELETE FROM foreign_certificate WHERE authority = ?`).run(id);
    statement(r.db, `DELETE FROM device_authority WHERE id = ?`).run(id);
    audit(r, { event: "device-authority.removed", actor, subject: name, facts: { id } });
    announceAuthority(r, id);
    // after the authority is gone: none of its certificates is good for a moment
    r.afterCommit(() => eachBatch(id, serials, (names) => r.sink.releaseCertificates(names)));
  });
}

/** Our own CA: it is on record like the others, so that brokers elsewhere are told of it. Called at each start. */
export function setOwnAuthority(r: Registry, certificate: X509Certificate): void {
  const id = nameAuthority(certificate);
  const known = statement<Row>(r.db, `${select} WHERE own = 1`).all();
  const [first] = known;
  if (known.length === 1 && first?.id === id && certificate.raw.equals(first.der)) return;
  r.change(() => {
    for (const row of known) {
      statement(r.db, `DELETE FROM device_authority WHERE id = ?`).run(row.id);
      announceAuthority(r, row.id);
    }
    if (readRow(r, id) !== undefined)
      refuse("registry.conflict", "our own CA is also an authority elsewhere; remove that");
    insert(r, { id, name: ownName, own: 1, der: certificate.raw, needsList: false });
    announceAuthority(r, id);
  });
}

/** By which our certificates are told from those of others. Throws TypeError before {@link setOwnAuthority}. */
export function ownAuthorityId(r: Registry): string {
  const id = statement<string>(r.db, `SELECT id FROM device_authority WHERE own = 1`).pluck().get();
  if (id === undefined) throw new TypeError("the registry has not been told of our CA");
  return id;
}

/** What a gate must know of an authority, ours or elsewhere; nothing for one that is not there. */
export function readAuthorityTrust(r: Registry, id: string): DeviceAuthority | undefined {
  const row = readRow(r, id);
  return row && toTrust(row);
}

/** Whether the certificate is on the list of an authority elsewhere. */
export function isForeignRevoked(r: Registry, name: CertificateName): boolean {
  const [authority, serial] = name.split(":", 2);
  const sql = `SELECT 1 FROM foreign_certificate WHERE authority = ? AND serial = ?`;
  return statement(r.db, sql).get(authority ?? "", serial ?? "") !== undefined;
}

/** Tells the sink all authorities, and what is on the lists of those elsewhere. */
export function tellAuthorities(r: Registry): void {
  for (const row of statement<Row>(r.db, select).all()) {
    // first what is revoked, so that nobody is let in between
    eachBatch(row.id, readSerials(r, row.id), (names) => r.sink.revokeCertificates(names));
    r.sink.learnAuthority(toTrust(row));
  }
}

/** Notes within a change that an authority is not what it was, and tells the sink after it. */
export function announceAuthority(r: Registry, id: string): void {
  noteChange(r, "authority", id);
  r.afterCommit(() => {
    const trust = readAuthorityTrust(r, id);
    if (trust === undefined) r.sink.forgetAuthority(id);
    else r.sink.learnAuthority(trust);
  });
}

/** The serials on the list of an authority elsewhere. */
export function readSerials(r: Registry, id: string): string[] {
  return statement<string>(r.db, `SELECT serial FROM foreign_certificate WHERE authority = ? ORDER BY serial`)
    .pluck()
    .all(id);
}

/** Gives the names of an authority's certificates, some at a time. */
export function eachBatch(
  id: string,
  serials: readonly string[],
  take: (names: readonly CertificateName[]) => void,
): void {
  for (let at = 0; at < serials.length; at += batch) {
    take(serials.slice(at, at + batch).map((serial) => `${id}:${serial}`));
  }
}

/** One certificate of an authority whose signatures can be verified here. Throws `registry.invalid`. */
function readAuthorityCertificate(pem: string): X509Certificate {
  const blocks = pem.match(/-----BEGIN [^-]+-----/g) ?? [];
  if (blocks.length !== 1 || blocks[0] !== "-----BEGIN CERTIFICATE-----") {
    refuse("registry.invalid", "ca: not one certificate in PEM");
  }
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(pem);
  } catch {
    return refuse("registry.invalid", "ca: not a certificate");
  }
  if (!certificate.ca) refuse("registry.invalid", "ca: not the certificate of an authority");
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = certificate.publicKey;
  const isGood =
    (type === "ec" && curves.has(details?.namedCurve ?? "")) ||
    (type === "rsa" && (details?.modulusLength ?? 0) >= minRsaBits);
  if (!isGood) refuse("registry.invalid", `ca: its key is not on P-256, P-384 or P-521, nor RSA of ${minRsaBits} bits`);
  return certificate;
}

function insert(
  r: Registry,
  row: {
    readonly id: string;
    readonly name: string;
    own: 0 | 1;
    readonly der: Uint8Array;
    readonly needsList: boolean;
  },
): void {
  statement(
    r.db,
    `INSERT INTO device_authority (id, name, own, der, needs_list, created_at) VALUES (?, ?, ?, ?, ?, ?)`,
  ).run(row.id, row.name, row.own, row.der, row.needsList ? 1 : 0, r.nowSeconds());
}

const select = `SELECT * FROM device_authority`;

interface Row {
  readonly id: string;
  readonly name: string;
  readonly der: Uint8Array;
  readonly needs_list: number;
  readonly list_number: string | null;
  readonly list_at: number | null;
  readonly list_ends_at: number | null;
  readonly list_entries: number | null;
  readonly created_at: number;
}

function findRow(r: Registry, name: string): Row | undefined {
  return statement<Row>(r.db, `${select} WHERE own = 0 AND name = ?`).get(name);
}

function readRow(r: Registry, id: string): Row | undefined {
  return statement<Row>(r.db, `${select} WHERE id = ?`).get(id);
}

function toRecord(row: Row): AuthorityRecord {
  const { list_number: number, list_at: at, list_ends_at: endsAt, list_entries: entries } = row;
  return {
    id: row.id,
    name: row.name,
    certificate: new X509Certificate(row.der),
    needsList: row.needs_list === 1,
    list: at === null || endsAt === null ? null : { number, at, endsAt, entries: entries ?? 0 },
    createdAt: row.created_at,
  };
}

function toTrust(row: Row): DeviceAuthority {
  return {
    id: row.id,
    certificate: new X509Certificate(row.der),
    needsList: row.needs_list === 1,
    ...(row.list_ends_at !== null && { listEndsAt: row.list_ends_at }),
  };
}
