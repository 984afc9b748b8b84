/**
 * The issuer's own ES256 keys. The newest signs; all are published, so that tokens of the one before stay good.
 *
 * A kid is two base64url characters of the key's thumbprint, because it is in the header of every token and each
 * byte of it is sent by every device. The private key is in this file in clear: who reads the file is the issuer.
 */
import { createPrivateKey, generateKeyPairSync } from "node:crypto";
import { toBase64url } from "../../shared/base64url.ts";
import { readPublicKey, type PublicKey } from "../../shared/cose-key.ts";
import { createSigner, type Signer } from "../../shared/es256.ts";
import { audit, ITSELF } from "./audit.ts";
import { statement } from "../sqlite/database.ts";
import type { Registry } from "./registry.ts";

/** A key of the issuer, its public half. */
export interface SigningKey {
  readonly kid: string;
  readonly key: PublicKey;
  readonly createdAt: number;
  /** Whether it is the one that signs. */
  readonly active: boolean;
}

const kidLength = 2;
const signers = new WeakMap<Registry, Signer>();

/** Makes the first key where there is none. */
export function ensureSigningKey(r: Registry): void {
  r.change(() => {
    if (statement(r.db, `SELECT 1 FROM signing_key`).get() === undefined) addSigningKey(r);
  });
}

/** The newest key, ready to sign. Throws TypeError before {@link ensureSigningKey}. */
export function activeSigner(r: Registry): Signer {
  const known = signers.get(r);
  if (known !== undefined) return known;
  const row = statement<KeyRow>(r.db, `SELECT * FROM signing_key ORDER BY seq DESC LIMIT 1`).get();
  if (row === undefined) throw new TypeError("the registry has no signing key");
  const signer = createSigner(row.kid, createPrivateKey(row.private_key));
  signers.set(r, signer);
  return signer;
}

/** All public keys, newest first. */
export function publishedKeys(r: Registry): readonly SigningKey[] {
  return r.remember("signing keys", () =>
    statement<KeyRow>(r.db, `SELECT * FROM signing_key ORDER BY seq DESC`)
      .all()
      .map((row, index) => ({
        kid: row.kid,
        key: readPublicKey(createPrivateKey(row.private_key)),
        createdAt: row.created_at,
        active: index === 0,
      })),
  );
}

/** Tells the sink all public keys. */
export function tellSigningKeys(r: Registry): void {
  for (const { kid, key } of publishedKeys(r)) r.sink.learnKey(kid, key);
}

function addSigningKey(r: Registry): void {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const key = readPublicKey(privateKey);
  const kid = findFreeKid(r, key);
  statement(r.db, `INSERT INTO signing_key (kid, private_key, created_at) VALUES (?, ?, ?)`).run(
    kid,
    privateKey.export({ format: "pem", type: "pkcs8" }),
    r.nowSeconds(),
  );
  audit(r, { event: "signing-key.created", actor: ITSELF, subject: kid, facts: { key: key.thumbprint } });
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
    if (taken.get(kid) === undefined) return kid;
  }
  throw new Error("no kid is free");
}

interface KeyRow {
  readonly kid: string;
  readonly private_key: string;
  readonly created_at: number;
}
