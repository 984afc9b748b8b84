/**
 * The issuer's own ES256 keys. The newest signs; all are published, so that tokens of the one before stay good. A revoked one
 * does neither, and stays on record so that its kid is never that of another key.
 *
 * A kid is two base64url characters of the key's thumbprint, because it is in the header of every token and each
 * byte of it is sent by every device. The private key is in this file in clear: who reads the file is the issuer.
 */
import { createPrivateKey } from "node:crypto";
import { toBase64url } from "../../shared/base64url.ts";
import { readPublicKey, type PublicKey } from "../../shared/cose-key.ts";
import { createSigner, type Signer, generatePrivateKey } from "../../shared/es256.ts";
import { refuse } from "../../shared/refusal.ts";
import { ADMIN, audit, ITSELF } from "./audit.ts";
import { statement } from "../sqlite/database.ts";
import type { TokenSelection } from "./issued.ts";
import type { Registry } from "./registry.ts";
import { noteChange } from "./trust-changes.ts";

/** A key of the issuer, its public half. */
export interface SigningKey {
  readonly kid: string;
  readonly key: PublicKey;
  readonly createdAt: number;
  /** Whether it is the one that signs. */
  readonly active: boolean;
  /** When it was taken back, in seconds; null while it is good. */
  readonly revokedAt: number | null;
}

const kidLength = 2;
const signers = new WeakMap<Registry, Signer>();

/** Makes the first key where there is none. */
export function ensureSigningKey(r: Registry): void {
  r.change(() => {
    if (statement(r.db, `SELECT 1 FROM signing_key WHERE revoked_at IS NULL`).get() === undefined) addSigningKey(r);
  });
}

/** The newest key, ready to sign. Throws TypeError before {@link ensureSigningKey}. */
export function activeSigner(r: Registry): Signer {
  const known = signers.get(r);
  if (known !== undefined) return known;
  const row = statement<KeyRow>(
    r.db,
    `SELECT * FROM signing_key WHERE revoked_at IS NULL ORDER BY seq DESC LIMIT 1`,
  ).get();
  if (row === undefined) throw new TypeError("the registry has no signing key");
  const signer = createSigner(row.kid, createPrivateKey(row.private_key));
  signers.set(r, signer);
  return signer;
}

/** The public keys that verify tokens, newest first. */
export function publishedKeys(r: Registry): readonly SigningKey[] {
  return r.remember("published keys", () => listSigningKeys(r).filter(({ revokedAt }) => revokedAt === null));
}

/** All public keys, revoked ones included, newest first. */
export function listSigningKeys(r: Registry): readonly SigningKey[] {
  const rows = statement<KeyRow>(r.db, `SELECT * FROM signing_key ORDER BY seq DESC`).all();
  const signing = rows.find((row) => row.revoked_at === null);
  return rows.map((row) => ({
    kid: row.kid,
    key: readPublicKey(createPrivateKey(row.private_key)),
    createdAt: row.created_at,
    active: row === signing,
    revokedAt: row.revoked_at,
  }));
}

/** The key that verifies tokens with this kid; nothing for a revoked one. */
export function findSigningKey(r: Registry, kid: string): PublicKey | undefined {
  return publishedKeys(r).find((known) => known.kid === kid)?.key;
}

/** Tells the sink all keys that verify tokens. */
export function tellSigningKeys(r: Registry): void {
  for (const { kid, key } of publishedKeys(r)) r.sink.learnKey(kid, key);
}

/**
 * Takes a key back, with all that it signed; gives the tokens to be put on the list, or nothing where that was done before.
 * Where it was the one that signs, a new one does. Call it within a change. Throws `registry.not-found`.
 */
export function revokeSigningKey(r: Registry, kid: string, actor: string = ADMIN): TokenSelection | undefined {
  const row = statement<KeyRow>(r.db, `SELECT * FROM signing_key WHERE kid = ?`).get(kid);
  if (row === undefined) return refuse("registry.not-found", `no signing key ${kid.slice(0, 64)}`);
  if (row.revoked_at !== null) return undefined;
  const signs = listSigningKeys(r).find(({ active }) => active)?.kid === kid;
  statement(r.db, `UPDATE signing_key SET revoked_at = ? WHERE kid = ?`).run(r.nowSeconds(), kid);
  audit(r, { event: "signing-key.revoked", actor, subject: kid });
  noteChange(r, "key", kid);
  r.afterCommit(() => {
    signers.delete(r);
    r.sink.forgetKey(kid);
  });
  // not the one before: its time is over
  if (signs) addSigningKey(r);
  return { kind: "key", name: kid, bound: 0 };
}

function addSigningKey(r: Registry): void {
  const privateKey = generatePrivateKey();
  const key = readPublicKey(privateKey);
  const kid = findFreeKid(r, key);
  statement(r.db, `INSERT INTO signing_key (kid, private_key, created_at) VALUES (?, ?, ?)`).run(
    kid,
    privateKey.export({ format: "pem", type: "pkcs8" }),
    r.nowSeconds(),
  );
  audit(r, { event: "signing-key.created", actor: ITSELF, subject: kid, facts: { key: key.thumbprint } });
  noteChange(r, "key", kid);
  r.afterCommit(() => {
    signers.delete(r);
    r.sink.learnKey(kid, key);
  });
}

/** The first two characters of the thumbprint that no other key is called by. */
function findFreeKid(r: Registry, key: PublicKey): string {
  const text = toBase64url(Buffer.from(key.thumbprint, "hex"));
  const taken = statement(r.db, `SELECT 1 FROM signing_key WHERE kid = ?`);
  for (let start = 0; start + kidLength <= text.length; start++) {
    const kid = text.slice(start, start + kidLength);
    // on a command line it would be taken for an option
    if (!kid.startsWith("-") && taken.get(kid) === undefined) return kid;
  }
  throw new Error("no kid is free");
}

interface KeyRow {
  readonly kid: string;
  readonly private_key: string;
  readonly created_at: number;
  readonly revoked_at: number | null;
}
