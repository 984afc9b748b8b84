/**
 * Personal keys of developers for programs: `pk1_<id>_<secret>`, random, shown once and kept as SHA-256 only. A key may what
 * its developer may, as far as its scopes name it, in one project where it is bound to one; it never makes another key.
 */
import { randomBytes, timingSafeEqual } from "node:crypto";
import { Refusal, refuse } from "../../shared/refusal.ts";
import { statement } from "../sqlite/database.ts";
import { audit } from "./audit.ts";
import { findDeveloper, type Developer } from "./developers.ts";
import { assertRoleIn } from "./members.ts";
import type { Permission } from "./member-roles.ts";
import type { Registry } from "./registry.ts";
import { hashSecret } from "./secrets.ts";

/** A key on record, without its secret. Times in seconds. */
export interface ApiKey {
  readonly id: string;
  readonly developer: string;
  readonly name: string;
  /** The one project that it is for; null: all of its developer's. */
  readonly project: string | null;
  readonly scopes: readonly Permission[];
  readonly createdAt: number;
  readonly expiresAt: number;
  /** To the minute; null: never. */
  readonly lastUsedAt: number | null;
  readonly status: "valid" | "expired" | "revoked";
}

/** What a key is created with. */
export interface NewApiKey {
  readonly name: string;
  /** Default: `read` alone. */
  readonly scopes?: readonly Permission[] | undefined;
  readonly project?: string | undefined;
  readonly ttlSeconds?: number | undefined;
}

/** How long a key may live, in seconds. */
export const apiKeyTtl = { min: 60, default: 90 * 86_400, max: 5 * 365 * 86_400 } as const;
/** What the text of a key starts with. */
export const API_KEY_PREFIX = "pk1_";
/** Good ones of one developer at a time. */
export const MAX_API_KEYS = 20;
/** Keys that have ended are shown this long. */
const shownSeconds = 90 * 86_400;
/** A use is written down at most this often. */
const noteEverySeconds = 60;
const keyForm = /^pk1_([0-9a-f]{12})_([A-Za-z0-9_-]{43})$/;

/** The key is in this answer and nowhere else. Throws `limit.reached`, and `registry.not-found` for a project not theirs. */
export function createApiKey(
  r: Registry,
  { id: developer }: Developer,
  { name, scopes = ["read"], project, ttlSeconds = apiKeyTtl.default }: NewApiKey,
  actor: string,
): { readonly record: ApiKey; readonly key: string } {
  return r.change(() => {
    if (project !== undefined) assertRoleIn(r, project, developer);
    const now = r.nowSeconds();
    statement(r.db, `DELETE FROM api_key WHERE developer = ? AND coalesce(revoked_at, expires_at) < ?`).run(
      developer,
      now - shownSeconds,
    );
    if (listApiKeys(r, developer).filter(({ status }) => status === "valid").length >= MAX_API_KEYS) {
      refuse("limit.reached", `at most ${MAX_API_KEYS} keys are good at a time; revoke one`);
    }
    const id = randomBytes(6).toString("hex");
    const secret = randomBytes(32).toString("base64url");
    const granted = [...new Set(scopes)];
    statement(
      r.db,
      `INSERT INTO api_key (id, developer, name, secret_hash, project, scopes, created_at, expires_at)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
    ).run(id, developer, name, hashSecret(secret), project ?? null, JSON.stringify(granted), now, now + ttlSeconds);
    const facts = { developer, scopes: granted, expiresAt: now + ttlSeconds };
    audit(r, { event: "api-key.created", actor, subject: id, project, facts });
    return { record: readRow(r, id)!, key: `${API_KEY_PREFIX}${id}_${secret}` };
  });
}

/** Newest first, those that have ended included for a while. */
export function listApiKeys(r: Registry, developer: string): ApiKey[] {
  return statement<KeyRow>(r.db, `SELECT * FROM api_key WHERE developer = ? ORDER BY created_at DESC, id`)
    .all(developer)
    .map((row) => toApiKey(row, r.nowSeconds()));
}

/** Ends a key; done for one that has ended. Throws `registry.not-found`, for the key of another as well. */
export function revokeApiKey(r: Registry, developer: string, id: string, actor: string): void {
  r.changeDurably(() => {
    const key = readRow(r, id);
    if (key === undefined || key.developer !== developer) refuse("registry.not-found", `no key ${id.slice(0, 64)}`);
    if (key.status === "revoked") return;
    statement(r.db, `UPDATE api_key SET revoked_at = ? WHERE id = ?`).run(r.nowSeconds(), id);
    const project = key.project ?? undefined;
    audit(r, { event: "api-key.revoked", actor, subject: id, project, facts: { developer } });
  });
}

/** Whose key it is, and notes its use. Throws `api-key.unknown`, and for the right secret `api-key.expired` and `api-key.revoked`. */
export function useApiKey(r: Registry, text: string): { readonly key: ApiKey; readonly developer: Developer } {
  const [, id, secret] = keyForm.exec(text) ?? [];
  if (id === undefined || secret === undefined) return refuse("api-key.unknown", "not of the form of a key");
  const row = statement<KeyRow>(r.db, `SELECT * FROM api_key WHERE id = ?`).get(id);
  if (row === undefined || !timingSafeEqual(hashSecret(secret), row.secret_hash)) return refuse("api-key.unknown", id);
  const key = toApiKey(row, r.nowSeconds());
  if (key.status !== "valid") return refuse(`api-key.${key.status}`, id);
  const developer = findDeveloper(r, key.developer) ?? refuse("api-key.unknown", id);
  noteUse(r, key);
  return { key, developer };
}

/** Of a developer who is deleted. Call it within a change. */
export function dropApiKeys(r: Registry, developer: string): void {
  statement(r.db, `DELETE FROM api_key WHERE developer = ?`).run(developer);
}

interface KeyRow {
  readonly id: string;
  readonly developer: string;
  readonly name: string;
  readonly secret_hash: Uint8Array;
  readonly project: string | null;
  readonly scopes: string;
  readonly created_at: number;
  readonly expires_at: number;
  readonly last_used_at: number | null;
  readonly revoked_at: number | null;
}

function readRow(r: Registry, id: string): ApiKey | undefined {
  const row = statement<KeyRow>(r.db, `SELECT * FROM api_key WHERE id = ?`).get(id);
  return row && toApiKey(row, r.nowSeconds());
}

function toApiKey(row: KeyRow, nowSeconds: number): ApiKey {
  const hasEnded = row.expires_at <= nowSeconds;
  return {
    id: row.id,
    developer: row.developer,
    name: row.name,
    project: row.project,
    scopes: JSON.parse(row.scopes) as Permission[],
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    lastUsedAt: row.last_used_at,
    status: row.revoked_at !== null ? "revoked" : hasEnded ? "expired" : "valid",
  };
}

function noteUse(r: Registry, { id, lastUsedAt }: ApiKey): void {
  const now = r.nowSeconds();
  if (lastUsedAt !== null && now - lastUsedAt < noteEverySeconds) return;
  try {
    r.append(() => statement(r.db, `UPDATE api_key SET last_used_at = ? WHERE id = ?`).run(now, id));
  } catch (error) {
    // a full disk does not keep anybody out
    if (!(error instanceof Refusal)) throw error;
  }
}
