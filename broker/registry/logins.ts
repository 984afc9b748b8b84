/**
 * Logins of developers: a random token, kept as SHA-256 only. One is good for twelve hours after its last use and for seven
 * days at most.
 */
import { randomBytes } from "node:crypto";
import { Refusal, refuse } from "../../shared/refusal.ts";
import { statement } from "../sqlite/database.ts";
import { actorOf, findDeveloper, type Developer } from "./developers.ts";
import { audit } from "./audit.ts";
import type { Registry } from "./registry.ts";
import { hashSecret } from "./secrets.ts";

/** How long a login is good after its last use, and at all, in seconds. */
export const loginLife = { idle: 12 * 3600, most: 7 * 86_400 } as const;
/** What the text of a login starts with. */
export const LOGIN_PREFIX = "ps1_";
/** Of one developer at a time; a new one ends the oldest. */
const maxLogins = 20;
/** A use is written down at most this often. */
const noteEverySeconds = 60;
const loginForm = /^ps1_[A-Za-z0-9_-]{43}$/;

/** A login on record; its name is the hash of its token. */
export interface Login {
  readonly tokenHash: Uint8Array;
  readonly developer: Developer;
}

/** Logs a developer in. The token is in this answer and nowhere else. */
export function createLogin(r: Registry, developer: string): { readonly token: string; readonly expiresAt: number } {
  return r.append(() => {
    const now = r.nowSeconds();
    statement(r.db, `DELETE FROM login WHERE expires_at <= ?`).run(now);
    // those of before the clock was set back are not newer than the ones of after
    statement(
      r.db,
      `DELETE FROM login WHERE developer = ? AND token_hash NOT IN
       (SELECT token_hash FROM login WHERE developer = ? ORDER BY created_at > ?, created_at DESC LIMIT ${maxLogins - 1})`,
    ).run(developer, developer, now);
    const token = `${LOGIN_PREFIX}${randomBytes(32).toString("base64url")}`;
    const expiresAt = now + loginLife.idle;
    statement(
      r.db,
      `INSERT INTO login (token_hash, developer, created_at, last_used_at, expires_at) VALUES (?, ?, ?, ?, ?)`,
    ).run(hashSecret(token), developer, now, now, expiresAt);
    audit(r, { event: "developer.logged-in", actor: actorOf({ id: developer }), subject: developer });
    return { token, expiresAt };
  });
}

/** Whose login it is, and notes its use. Throws `account.login`. */
export function useLogin(r: Registry, token: string): Login {
  const tokenHash = hashSecret(token);
  const row = loginForm.test(token)
    ? statement<LoginRow>(r.db, `SELECT * FROM login WHERE token_hash = ? AND expires_at > ?`).get(
        tokenHash,
        r.nowSeconds(),
      )
    : undefined;
  if (row === undefined) return refuse("account.login", "no such login, or it has ended");
  const developer = findDeveloper(r, row.developer) ?? refuse("account.login", row.developer);
  noteUse(r, row);
  return { tokenHash, developer };
}

/** Ends one login. */
export function endLogin(r: Registry, { tokenHash, developer }: Login, actor: string): void {
  r.changeDurably(() => {
    statement(r.db, `DELETE FROM login WHERE token_hash = ?`).run(tokenHash);
    audit(r, { event: "developer.logged-out", actor, subject: developer.id });
  });
}

/** Ends all logins of a developer, but for one where it is named. Call it within a change. */
export function endLogins(r: Registry, developer: string, except?: Uint8Array): void {
  statement(r.db, `DELETE FROM login WHERE developer = ? AND token_hash IS NOT ?`).run(developer, except ?? null);
}

interface LoginRow {
  readonly token_hash: Uint8Array;
  readonly developer: string;
  readonly created_at: number;
  readonly last_used_at: number;
}

function noteUse(r: Registry, row: LoginRow): void {
  const now = r.nowSeconds();
  if (now - row.last_used_at < noteEverySeconds) return;
  const expiresAt = Math.min(now + loginLife.idle, row.created_at + loginLife.most);
  try {
    const noted = statement(r.db, `UPDATE login SET last_used_at = ?, expires_at = ? WHERE token_hash = ?`);
    r.append(() => noted.run(now, expiresAt, row.token_hash));
  } catch (error) {
    // a full disk does not keep anybody out
    if (!(error instanceof Refusal)) throw error;
  }
}
