/**
 * A registry as the version before accounts wrote it: schema 2, with rows of every table in the form that its code gave them.
 */
import { hash, randomBytes, type X509Certificate } from "node:crypto";
import { migrations } from "../../broker/registry/migrations.ts";
import { openFile, type Database } from "../../broker/sqlite/database.ts";
import type { Claims } from "../../shared/claims.ts";
import type { PublicKey } from "../../shared/cose-key.ts";
import { mintCwt } from "../../shared/cwt.ts";
import { nameAuthority } from "../../shared/device-certificate.ts";
import { createSigner, generatePrivateKey } from "../../shared/es256.ts";
import { mintJwt } from "../../shared/jwt.ts";
import type { Grant } from "../../shared/scope.ts";
import { presentToken, toToken, tokenHashes } from "../../shared/token.ts";
import { makeAuthority } from "../gate/certificates.ts";
import { newKey } from "./fixture.ts";

export const ISSUER = "https://postern.test";

/** What the old code gave out, and its rows do not hold. */
export interface Old {
  readonly secrets: Readonly<Record<"job" | "app" | "shut", string>>;
  /** Tokens of `farm.job`, `farm.pi` and, for revoked and late, `farm.job` again. */
  readonly tokens: Readonly<Record<"jwt" | "cwt" | "revoked" | "late" | "shut", OldToken>>;
  /** Of `farm.pi`. */
  readonly key: PublicKey;
  /** Of an assertion of `farm.pi` that was used. */
  readonly assertionId: Uint8Array;
}

export interface OldToken {
  /** As a client presents it. */
  readonly text: string;
  /** The first is that of the spelling in which it was given out. */
  readonly hashes: readonly string[];
}

type Row = Readonly<Record<string, unknown>>;

/** Makes the file. `now` is the time at which the old version wrote it. */
export async function makeOldRegistry(file: string, now: number): Promise<Old> {
  const authorities = [(await makeAuthority()).x509, (await makeAuthority()).x509] as const;
  const db = openFile(file, { migrations: migrations.slice(0, 2) });
  const old = db.transaction(() => fill(db, now, authorities))();
  db.close();
  return old;
}

/** Writes so many rows of issued tokens into the audit log, as a busy year leaves them. */
export function fillLog(file: string, rows: number): void {
  const db = openFile(file, { migrations: migrations.slice(0, 2) });
  db.prepare(
    `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
     INSERT INTO audit (at, event, actor, project, subject, facts)
     SELECT 1700000000 + i, 'token.issued', 'farm.job', 'farm', 'farm.job', '{"audience":"farm.tele","cti":"' || i || '"}'
     FROM n`,
  ).run(rows);
  db.close();
}

function fill(db: Database, now: number, [own, elsewhere]: readonly [X509Certificate, X509Certificate]): Old {
  const insert = (table: string, ...rows: readonly Row[]): void => {
    for (const row of rows) {
      const names = Object.keys(row);
      const marks = names.map(() => "?").join(", ");
      db.prepare(`INSERT INTO ${table} (${names.join(", ")}) VALUES (${marks})`).run(...Object.values(row));
    }
  };
  const sha256 = (text: string): Buffer => hash("sha256", text, "buffer");
  const created = { created_at: now - 1000 };
  const farm = { project: "farm" };

  const secrets = { job: newSecret(), app: newSecret(), shut: newSecret() };
  const key = newKey();
  const assertionId = randomBytes(8);
  const privateKey = generatePrivateKey();
  const signer = createSigner("k1", privateKey);
  const pem = privateKey.export({ type: "pkcs8", format: "pem" }) as string;

  insert("project", { slug: "farm", ...created }, { slug: "shed", ...created, tokens_since: now - 500 });
  const api = { ...farm, ttl_seconds: 3600, format: null, purge: "client", ...created };
  insert(
    "api",
    { ...api, name: "tele", audience: "farm.tele", kind: "mqtt", topics: `["sites/#"]`, scopes: "[]", bearer: 1 },
    { ...api, name: "web", audience: "https://web.test", kind: "http", topics: "[]", scopes: `["read"]`, bearer: 0 },
  );
  insert(
    "role",
    { ...farm, name: "sensor", api: "tele", permissions: `["pubsub:sites/\${name}/#"]`, scopes: "[]", ...created },
    { ...farm, name: "reader", api: "web", permissions: "[]", scopes: `["read"]`, ...created },
  );
  const client = { ...farm, enabled: 1, secret_hash: null, deleted_at: null, disabled_at: null, tokens_after: 0 };
  const shut = { enabled: 0, disabled_at: now - 100, tokens_after: 5 };
  insert(
    "client",
    { ...client, name: "pi", kind: "device", ...created },
    { ...client, name: "job", kind: "service", secret_hash: sha256(secrets.job), ...created },
    { ...client, name: "app", kind: "app", secret_hash: sha256(secrets.app), ...created },
    { ...client, name: "shut", kind: "service", secret_hash: sha256(secrets.shut), ...created, ...shut },
    { ...client, name: "gone", kind: "service", ...created, enabled: 0, deleted_at: now - 90, tokens_after: 5 },
  );
  for (const name of ["pi", "job", "app", "shut"]) insert("client_role", { ...farm, client: name, role: "sensor" });
  insert("client_role", { ...farm, client: "job", role: "reader" });

  const ticket = { ...farm, uses: 1, used: 0, ...created, expires_at: now + 86_400 };
  insert(
    "ticket",
    { ...ticket, id: "00000000000000a1", secret_hash: sha256("a1"), client: "pi", used: 1 },
    { ...ticket, id: "00000000000000a2", secret_hash: sha256("a2"), uses: 10 },
    { ...ticket, id: "00000000000000a3", secret_hash: sha256("a3"), revoked_at: now - 10 },
  );
  insert("ticket_role", { ticket: "00000000000000a2", ...farm, role: "sensor" });
  const thumbprint = key.thumbprint;
  insert("ticket_use", { key_thumbprint: thumbprint, ticket: "00000000000000a1", client: "farm.pi", used_at: now });
  const certificate = {
    client: "farm.pi",
    key_spki: key.keyObject.export({ format: "der", type: "spki" }),
    key_thumbprint: thumbprint,
    not_before: now - 300,
    not_after: now + 90 * 86_400,
    der: randomBytes(400),
    issued_at: now,
  };
  insert(
    "certificate",
    { ...certificate, serial: "0a01", ticket: "00000000000000a1" },
    { ...certificate, serial: "0a02", key_thumbprint: newKey().thumbprint, revoked_at: now - 50 },
  );

  insert(
    "signing_key",
    { kid: "k0", private_key: pem, ...created, revoked_at: now - 900 },
    { kid: "k1", private_key: pem, ...created },
  );
  insert("assertion", { client: "farm.pi", id: assertionId, exp: now + 60 });

  const claims = { iss: ISSUER, sub: "farm.job", aud: "farm.tele", exp: now + 3600, iat: now };
  const issue = (number: number, of: Partial<Claims>, format: "cwt" | "jwt" = "jwt"): OldToken => {
    const all: Claims = { ...claims, id: Uint8Array.of(number), scope: grantsOf(of.sub ?? claims.sub), ...of };
    const minted = format === "cwt" ? mintCwt(all, signer) : mintJwt(all, signer);
    const hashes = tokenHashes(minted);
    const [token_hash, other_hash] = hashes.map((hex) => Buffer.from(hex, "hex"));
    const { sub, aud: audience, iat, exp } = all;
    const row = { number, token_hash, other_hash: other_hash ?? null, client: sub, audience, kid: "k1" };
    insert("issued", { ...row, key_thumbprint: null, issued_at: iat, exp });
    return { text: presentToken(toToken(minted)), hashes };
  };
  const tokens = {
    jwt: issue(1, {}),
    cwt: issue(2, { sub: "farm.pi" }, "cwt"),
    revoked: issue(3, {}),
    late: issue(4, { exp: now - 30, iat: now - 3630 }),
    shut: issue(5, { sub: "farm.shut" }),
  };
  for (const [sub, { hashes }] of [
    ["farm.job", tokens.revoked],
    ["farm.shut", tokens.shut],
  ] as const) {
    const [token_hash, other_hash] = hashes.map((hex) => Buffer.from(hex, "hex"));
    insert("revoked_token", { token_hash, other_hash, client: sub, audience: "farm.tele", exp: claims.exp });
  }
  insert("unlisted", { kind: "project", name: "shed", bound: now - 500, position: 3 });
  const listed = (requester: string, position: number, one: OldToken): void => {
    const added = Buffer.from(one.hashes[0]!, "hex");
    insert("trl_update", { requester, position, removed: Buffer.alloc(0), added });
  };
  for (const view of ["all", "mqtt"]) [tokens.revoked, tokens.shut].forEach((one, at) => listed(view, at, one));
  listed("client:farm.job", 0, tokens.revoked);
  const told = [
    ["key", "k1"],
    ["api", "farm.tele"],
    ["api", "https://web.test"],
    ["client", "farm.pi"],
    ["client", "farm.gone"],
    ["project", "shed"],
    ["certificate", "0a02"],
  ];
  for (const [kind, name] of told) insert("trust_change", { kind, name });
  insert("run", { id: "oldoldoldold", since: 0, started_at: now - 1000 });
  const authority = { needs_list: 0, ...created };
  const list = { needs_list: 1, list_number: "1", list_at: now, list_ends_at: now + 600, list_entries: 1 };
  insert(
    "device_authority",
    { ...authority, id: nameAuthority(own), name: "postern", own: 1, der: own.raw },
    { ...authority, id: nameAuthority(elsewhere), name: "elsewhere", own: 0, der: elsewhere.raw, ...list },
  );
  insert("foreign_certificate", { authority: nameAuthority(elsewhere), serial: "1f" });
  insert("crl", { authority: nameAuthority(own), number: 7 });
  insert(
    "broker",
    { name: "edge", hosts: `["edge.test"]`, ...created },
    { name: "left", hosts: "[]", ...created, deleted_at: now },
  );
  const brokerTicket = { broker: "edge", key_thumbprint: thumbprint, ...created, expires_at: now + 600 };
  insert("broker_ticket", { ...brokerTicket, id: "00000000000000b1", secret_hash: sha256("b1") });
  insert(
    "audit",
    { at: now - 1000, event: "project.created", actor: "admin", ...farm, subject: "farm" },
    { at: now, event: "client.created", actor: "admin", ...farm, subject: "farm.pi", facts: `{"kind":"device"}` },
    {
      at: now,
      event: "token.refused",
      actor: "farm.job",
      ...farm,
      subject: "farm.job",
      reason: "request.audience",
      refusal_id: "7ZtZzH0BVFOD",
    },
    { at: now, event: "client.deleted", actor: "admin", ...farm, subject: "farm.gone" },
  );
  return { secrets, tokens, key, assertionId };
}

function newSecret(): string {
  return randomBytes(32).toString("base64url");
}

function grantsOf(client: string): readonly Grant[] {
  return [{ filter: `sites/${client.split(".")[1]}/#`, pub: true, sub: true }];
}
