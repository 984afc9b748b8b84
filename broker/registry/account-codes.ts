/**
 * Codes that prove an address: ten characters of Crockford's base32, sent there and kept as SHA-256 only. A code is good for
 * fifteen minutes, five tries and one use, and a new one for the same purpose ends the one before. Where it was asked for has
 * five tries of its own, so that strangers who guess do not use it up.
 */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { refuse } from "../../shared/refusal.ts";
import { statement } from "../sqlite/database.ts";
import type { Registry } from "./registry.ts";

/** What a code is for. */
export type CodePurpose = "confirm" | "reset";

/** How long a code is good, in seconds, and how often it may be tried. */
export const codeLife = { seconds: 15 * 60, tries: 5 } as const;

const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const codeLength = 10;
/** What is compared where there is no code. */
const none = new Uint8Array(32);

/** Makes a code. Call it within a change. */
export function createCode(r: Registry, developer: string, purpose: CodePurpose): string {
  const code = [...randomBytes(codeLength)].map((byte) => alphabet[byte % alphabet.length]!).join("");
  statement(
    r.db,
    `INSERT INTO account_code (developer, purpose, code_hash, tries, expires_at) VALUES (?, ?, ?, 0, ?)
     ON CONFLICT (developer, purpose) DO UPDATE
     SET code_hash = excluded.code_hash, tries = 0, expires_at = excluded.expires_at`,
  ).run(developer, purpose, hashCode(code), r.nowSeconds() + codeLife.seconds);
  return code;
}

/** Who tries a code. `isOwn`: where it was asked for, whose tries are counted by whoever says so, and not with the others'. */
export interface CodeTry {
  readonly developer: string | undefined;
  readonly isOwn: boolean;
}

/**
 * Uses up one try, before anything that takes time, so that tries at one moment are counted as well. Returns whether it is
 * the code. Without a developer it never is.
 */
export function tryCode(r: Registry, { developer = "", isOwn }: CodeTry, purpose: CodePurpose, code: string): boolean {
  return r.append(() => {
    const row = findCode(r, developer, purpose);
    const isOpen = row !== undefined && (isOwn || row.tries < codeLife.tries);
    const isRight = timingSafeEqual(hashCode(code), row?.code_hash ?? none) && isOpen;
    const count = statement(r.db, `UPDATE account_code SET tries = tries + ? WHERE developer = ? AND purpose = ?`);
    count.run(isOwn ? 0 : 1, developer, purpose);
    return isRight;
  });
}

/** Takes the code that {@link tryCode} found to be right. Call it within a change. Throws `account.code` where it is gone. */
export function spendCode(r: Registry, developer: string, purpose: CodePurpose, code: string): void {
  const spent = statement(r.db, `DELETE FROM account_code WHERE developer = ? AND purpose = ? AND code_hash = ?`);
  if (spent.run(developer, purpose, hashCode(code)).changes === 0) refuse("account.code", developer);
}

/** Ends all codes of an account. Call it within a change. */
export function dropCodes(r: Registry, developer: string): void {
  statement(r.db, `DELETE FROM account_code WHERE developer = ?`).run(developer);
}

function findCode(
  r: Registry,
  developer: string,
  purpose: CodePurpose,
): { readonly code_hash: Uint8Array; readonly tries: number } | undefined {
  return statement<{ code_hash: Uint8Array; tries: number }>(
    r.db,
    `SELECT code_hash, tries FROM account_code WHERE developer = ? AND purpose = ? AND expires_at > ?`,
  ).get(developer, purpose, r.nowSeconds());
}

/** As people type it: any case, with spaces and hyphens, and with the letters that look like digits. */
function hashCode(code: string): Uint8Array {
  const plain = code.toUpperCase().replaceAll(/[\s-]/g, "").replaceAll("O", "0").replaceAll(/[IL]/g, "1");
  return createHash("sha256").update(plain).digest();
}
