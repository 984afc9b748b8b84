/**
 * Developers: people who provide apis. An account is known by its address, in lower case, and by an id for ever; a deleted
 * one leaves its id behind and nothing else, and whoever registers with the address later is somebody else.
 *
 * An account is nobody's before its address is proven, by a code or an invitation that was sent there. Until then it is
 * replaced by whoever registers next, and dropped after a day.
 */
import { randomBytes } from "node:crypto";
import { refuse } from "../../shared/refusal.ts";
import { statement } from "../sqlite/database.ts";
import { dropCodes } from "./account-codes.ts";
import { audit } from "./audit.ts";
import type { Registry } from "./registry.ts";

/** A developer on record. Times in seconds. */
export interface Developer {
  readonly id: string;
  readonly email: string;
  readonly name: string;
  readonly createdAt: number;
  /** Null: the address is not proven, and the account is good for nothing. */
  readonly confirmedAt: number | null;
}

/** What an account is made of. */
export interface NewDeveloper {
  /** In the form of {@link readEmail}. */
  readonly email: string;
  readonly name: string;
  /** What is kept of the password. */
  readonly passwordHash: string;
}

/** An unconfirmed account is kept this long. */
export const unconfirmedSeconds = 86_400;
/** Unconfirmed accounts at a time; beyond it the oldest goes, so that no number of them keeps anybody from registering. */
export const maxUnconfirmed = 10_000;

const maxEmailLength = 254;
const label = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?";
const atom = "[a-z0-9!#$%&'*+/=?^_{|}~-]+";
const emailForm = new RegExp(`^(?=[^@]{1,64}@)${atom}(?:\\.${atom})*@${label}(?:\\.${label})*$`);

/**
 * An address as accounts have it: a dot-atom and a host name (RFC 5321, section 4.1.2), ASCII, in lower case, at most 254
 * characters. What other alphabets make look alike is not taken for the same. Throws `registry.invalid`.
 */
export function readEmail(text: string): string {
  // before case is changed: there are letters that become ASCII by that
  const email = /^[\x21-\x7e]*$/.test(text) ? text.toLowerCase() : "";
  if (text.length > maxEmailLength || !emailForm.test(email)) refuse("registry.invalid", "not a mail address");
  return email;
}

/** What `ps1_…` and `pk1_…` and the audit log call a developer by. */
export function actorOf({ id }: Pick<Developer, "id">, key?: { readonly id: string }): string {
  return key === undefined ? `developer:${id}` : `developer:${id}/${key.id}`;
}

/** The account of an address, confirmed or not, with what is kept of its password. */
export function findAccount(
  r: Registry,
  email: string,
): { readonly developer: Developer; readonly passwordHash: string } | undefined {
  const developer = statement<Developer>(r.db, `${select} WHERE email = ?`).get(email);
  if (developer === undefined) return undefined;
  const passwordHash = statement<string>(r.db, `SELECT password FROM developer WHERE id = ?`).pluck();
  return { developer, passwordHash: passwordHash.get(developer.id)! };
}

/** Nothing for one that is deleted. */
export function findDeveloper(r: Registry, id: string): Developer | undefined {
  return statement<Developer>(r.db, `${select} WHERE id = ? AND deleted_at IS NULL`).get(id);
}

/** Throws `registry.not-found`. */
export function getDeveloper(r: Registry, id: string): Developer {
  return findDeveloper(r, id) ?? refuse("registry.not-found", `no developer ${id.slice(0, 64)}`);
}

/** By id, from the one after `after` on. */
export function listDevelopers(
  r: Registry,
  page: { readonly limit?: number; readonly after?: string | undefined } = {},
): Developer[] {
  return statement<Developer>(r.db, `${select} WHERE deleted_at IS NULL AND id > ? ORDER BY id LIMIT ?`).all(
    page.after ?? "",
    page.limit ?? -1,
  );
}

/**
 * Adds an account that is good for nothing before it is confirmed, in the place of one that was not confirmed. Call it within
 * a change. Nothing where the address has an account.
 */
export function addUnconfirmed(r: Registry, asked: NewDeveloper): Developer | undefined {
  dropUnconfirmed(r);
  const known = findAccount(r, asked.email)?.developer;
  if (known !== undefined) {
    if (known.confirmedAt !== null) return undefined;
    dropAccount(r, known.id);
  }
  const waiting = statement<number>(
    r.db,
    `SELECT count(*) FROM developer WHERE confirmed_at IS NULL AND email NOT NULL`,
  );
  if (waiting.pluck().get()! >= maxUnconfirmed) {
    const oldest = statement<string>(
      r.db,
      `SELECT id FROM developer WHERE confirmed_at IS NULL AND email NOT NULL ORDER BY created_at, id LIMIT 1`,
    );
    dropAccount(r, oldest.pluck().get()!);
  }
  return insert(r, asked, null);
}

/** Adds an account whose address an invitation has proven. Call it within a change. Throws `registry.conflict`. */
export function addConfirmed(r: Registry, asked: NewDeveloper): Developer {
  const known = findAccount(r, asked.email)?.developer;
  if (known !== undefined) {
    if (known.confirmedAt !== null) refuse("registry.conflict", "the address has an account: log in and accept");
    dropAccount(r, known.id);
  }
  const developer = insert(r, asked, r.nowSeconds());
  audit(r, { event: "developer.confirmed", actor: actorOf(developer), subject: developer.id });
  return developer;
}

/** From now on the account is good. Call it within a change. */
export function confirmDeveloper(r: Registry, id: string): void {
  statement(r.db, `UPDATE developer SET confirmed_at = ? WHERE id = ?`).run(r.nowSeconds(), id);
  audit(r, { event: "developer.confirmed", actor: actorOf({ id }), subject: id });
}

/** Call it within a change. */
export function setPasswordHash(r: Registry, id: string, passwordHash: string): void {
  statement(r.db, `UPDATE developer SET password = ? WHERE id = ?`).run(passwordHash, id);
}

function insert(r: Registry, { email, name, passwordHash }: NewDeveloper, confirmedAt: number | null): Developer {
  const id = `dev_${randomBytes(8).toString("hex")}`;
  const createdAt = r.nowSeconds();
  statement(
    r.db,
    `INSERT INTO developer (id, email, name, password, created_at, confirmed_at) VALUES (?, ?, ?, ?, ?, ?)`,
  ).run(id, email, name, passwordHash, createdAt, confirmedAt);
  audit(r, { event: "developer.registered", actor: actorOf({ id }), subject: id });
  return { id, email, name, createdAt, confirmedAt };
}

/** Those that were not confirmed in time. */
function dropUnconfirmed(r: Registry): void {
  const late = statement<string>(
    r.db,
    `SELECT id FROM developer WHERE confirmed_at IS NULL AND email NOT NULL AND created_at <= ?`,
  ).pluck();
  for (const id of late.all(r.nowSeconds() - unconfirmedSeconds)) dropAccount(r, id);
}

/** Only of an unconfirmed one: it holds nothing. */
function dropAccount(r: Registry, id: string): void {
  dropCodes(r, id);
  statement(r.db, `DELETE FROM developer WHERE id = ?`).run(id);
}

const select = `
  SELECT id, email, name, created_at AS createdAt, confirmed_at AS confirmedAt FROM developer`;
