/**
 * Public keys of clients and of resource servers, by which they prove who they are without a secret (RFC 7523): P-256 alone,
 * and replaced as one set, as a JWKS is (RFC 7517, section 5).
 *
 * Refuses private parts, other kinds of keys, and a key that lost its certificate: whoever has it by now is not its owner.
 */
import { readJwk, readSpki, type PublicKey } from "../../shared/cose-key.ts";
import { Refusal, refuse } from "../../shared/refusal.ts";
import { statement } from "../sqlite/database.ts";
import { ADMIN, audit } from "./audit.ts";
import type { Registry } from "./registry.ts";
import { columnsOf, nameOwner, type SecretOwner } from "./secrets.ts";

/** A key on record. */
export interface PublicKeyRecord {
  readonly key: PublicKey;
  /** What its owner calls it; null: nothing. */
  readonly kid: string | null;
  readonly createdAt: number;
}

/** Keys of one owner. */
export const MAX_KEYS = 8;
/** Longest name of a key. */
export const MAX_KID_LENGTH = 255;

/**
 * Replaces all keys of an owner by these JWKs; a key that stays keeps its time. The owner is there. Throws `key.*` and
 * `registry.invalid`, which say which key is wrong, and `certificate.revoked`.
 */
export function replaceKeys(
  r: Registry,
  owner: SecretOwner,
  jwks: readonly unknown[],
  actor: string = ADMIN,
): PublicKeyRecord[] {
  if (jwks.length > MAX_KEYS) refuse("registry.invalid", `keys: at most ${MAX_KEYS}`);
  const keys = jwks.map((jwk, index) => readKey(jwk, `keys.${index}`));
  assertDistinct(keys);
  return r.change(() => {
    const before = new Map(readRows(r, owner).map((row) => [row.thumbprint, row.created_at]));
    const column = "client" in owner ? "client" : "api";
    const [project, client, api] = columnsOf(owner);
    statement(r.db, `DELETE FROM public_key WHERE project = ? AND ${column} = ?`).run(project, client ?? api);
    const add = statement(
      r.db,
      `INSERT INTO public_key (project, client, api, thumbprint, spki, kid, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)`,
    );
    keys.forEach(({ key, kid }, index) => {
      if (isRevoked(r, key)) refuse("certificate.revoked", `keys.${index}: one with the key ${key.thumbprint}`);
      const spki = key.keyObject.export({ format: "der", type: "spki" });
      add.run(project, client, api, key.thumbprint, spki, kid, before.get(key.thumbprint) ?? r.nowSeconds());
    });
    const facts = { keys: keys.map(({ key }) => key.thumbprint) };
    audit(r, { event: "keys.replaced", actor, subject: nameOwner(owner), project, facts });
    return listKeys(r, owner);
  });
}

/** In the order in which they were given. */
export function listKeys(r: Registry, owner: SecretOwner): PublicKeyRecord[] {
  return readRows(r, owner).map((row) => ({ key: readSpki(row.spki), kid: row.kid, createdAt: row.created_at }));
}

/** The keys that prove who the owner is, less those of revoked certificates. Says nothing of whether it is enabled. */
export function liveKeys(r: Registry, owner: SecretOwner): readonly PublicKeyRecord[] {
  return r.remember(`public keys ${nameOwner(owner)}`, () =>
    listKeys(r, owner).filter(({ key }) => !isRevoked(r, key)),
  );
}

/** Removes all that a client has. Call it within the change that deletes the client. */
export function deleteKeys(r: Registry, owner: { readonly project: string; readonly client: string }): void {
  statement(r.db, `DELETE FROM public_key WHERE project = ? AND client = ?`).run(owner.project, owner.client);
}

interface NewKey {
  readonly key: PublicKey;
  readonly kid: string | null;
}

interface KeyRow {
  readonly thumbprint: string;
  readonly spki: Uint8Array;
  readonly kid: string | null;
  readonly created_at: number;
}

function readKey(jwk: unknown, field: string): NewKey {
  try {
    const key = readJwk(jwk);
    const { kid, use, key_ops: operations } = jwk as Record<string, unknown>;
    if (use !== undefined && use !== "sig") refuse("key.algorithm", "use is not sig");
    if (operations !== undefined && !(Array.isArray(operations) && operations.includes("verify"))) {
      refuse("key.algorithm", "key_ops without verify");
    }
    if (kid === undefined) return { key, kid: null };
    const isName = typeof kid === "string" && kid.length > 0 && kid.length <= MAX_KID_LENGTH && !/\p{Cc}/u.test(kid);
    if (!isName) return refuse("registry.invalid", `kid: 1 to ${MAX_KID_LENGTH} characters, no control characters`);
    return { key, kid };
  } catch (error) {
    return error instanceof Refusal ? refuse(error.reason, `${field}: ${error.detail}`) : raise(error);
  }
}

/** One key under two names, or two under one, would leave it open which is meant. */
function assertDistinct(keys: readonly NewKey[]): void {
  keys.forEach(({ key, kid }, index) => {
    const former = keys.slice(0, index);
    if (former.some((one) => one.key.thumbprint === key.thumbprint)) refuse("registry.invalid", `keys.${index}: twice`);
    if (kid !== null && former.some((one) => one.kid === kid)) {
      refuse("registry.invalid", `keys.${index}: another has this kid`);
    }
  });
}

function isRevoked(r: Registry, key: PublicKey): boolean {
  const revoked = statement(r.db, `SELECT 1 FROM certificate WHERE key_thumbprint = ? AND revoked_at IS NOT NULL`);
  return revoked.get(key.thumbprint) !== undefined;
}

function readRows(r: Registry, owner: SecretOwner): KeyRow[] {
  const [project, client, api] = columnsOf(owner);
  const column = "client" in owner ? "client" : "api";
  const sql = `SELECT thumbprint, spki, kid, created_at FROM public_key WHERE project = ? AND ${column} = ? ORDER BY number`;
  return statement<KeyRow>(r.db, sql).all(project, client ?? api);
}

function raise(error: unknown): never {
  throw error;
}
