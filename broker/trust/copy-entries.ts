/**
 * What a copy of trust keeps beside the revoked tokens: keys, apis, clients, device authorities, revoked certificates and
 * projects, each as the authority last told it.
 *
 * An authority that was restored from an older backup does not know what it has taken back since. A revoked key, a revoked
 * certificate and the time of a project therefore stay what they are in spite of it. Apis, clients, live keys and device
 * authorities follow it, because what it issues from now on rests on what it knows now.
 */
import { X509Certificate } from "node:crypto";
import type { Logger } from "pino";
import { readSpki } from "../../shared/cose-key.ts";
import type { Grant } from "../../shared/scope.ts";
import type { ApiState, AuthorityState, ClientState, TrustEntry } from "../../shared/trust-entries.ts";
import { statement, type Database } from "../sqlite/database.ts";
import type { ApiTrust, ClientTrust, DeviceAuthority, TrustSink } from "./trust.ts";

/** Tells a sink, once what it tells of is committed. */
export type Telling = (sink: TrustSink) => void;

/** Why everything was read from the beginning: by our own wish, or because the authority does not know where we were. */
export type Reading = "plain" | "restored";

/** Tells the sink all that is there. */
export function tellEntries(db: Database, sink: TrustSink, log: Logger): void {
  for (const row of statement<AuthorityRow>(db, `SELECT * FROM device_authority`).all()) {
    const { id, der, needs_list: needsList, list_ends_at: endsAt } = row;
    const state = { der, needsList: needsList === 1, ...(endsAt !== null && { listEndsAt: endsAt }) };
    if (isReadable(id, state, log)) sink.learnAuthority(toDeviceAuthority(id, state));
  }
  for (const row of statement<KeyRow>(db, `SELECT * FROM signing_key WHERE is_revoked = 0`).all()) {
    sink.learnKey(row.kid, readSpki(row.spki!));
  }
  for (const row of statement<{ audience: string; state: string }>(db, `SELECT audience, state FROM api`).all()) {
    sink.learnApi(toApi(row.audience, row.state));
  }
  for (const row of statement<{ id: string; state: string }>(db, `SELECT id, state FROM client`).iterate()) {
    sink.learnClient(toClient(row.id, row.state));
  }
  for (const row of statement<{ slug: string; tokens_since: number }>(db, `SELECT * FROM project`).all()) {
    sink.learnTokensSince(row.slug, row.tokens_since);
  }
  sink.revokeCertificates(statement<string>(db, `SELECT name FROM revoked_certificate`).pluck().all());
}

/** Writes what an entry says, within a transaction; what to tell of it after the commit. */
export function writeEntry(db: Database, entry: TrustEntry, generation: number, log: Logger): Telling | undefined {
  switch (entry.kind) {
    case "key": {
      return writeKey(db, entry, generation, log);
    }
    case "api": {
      const { audience, api } = entry;
      if (api === undefined) return drop(db, "api", audience);
      const state = JSON.stringify(packApi(api));
      statement(db, `INSERT OR REPLACE INTO api (audience, state, generation) VALUES (?, ?, ?)`).run(
        audience,
        state,
        generation,
      );
      return (sink) => sink.learnApi(toApi(audience, state));
    }
    case "client": {
      const { id, client } = entry;
      if (client === undefined) return drop(db, "client", id);
      const state = JSON.stringify(packClient(client));
      statement(db, `INSERT OR REPLACE INTO client (id, state, generation) VALUES (?, ?, ?)`).run(
        id,
        state,
        generation,
      );
      return (sink) => sink.learnClient(toClient(id, state));
    }
    case "certificate": {
      const { name, isRevoked } = entry;
      if (!isRevoked) return drop(db, "revoked_certificate", name);
      statement(db, `INSERT OR REPLACE INTO revoked_certificate (name, generation) VALUES (?, ?)`).run(
        name,
        generation,
      );
      return (sink) => sink.revokeCertificates([name]);
    }
    case "project": {
      const { slug, tokensSince } = entry;
      const sql = `INSERT INTO project (slug, tokens_since) VALUES (?, ?)
        ON CONFLICT DO UPDATE SET tokens_since = max(tokens_since, excluded.tokens_since)`;
      statement(db, sql).run(slug, tokensSince);
      return (sink) => sink.learnTokensSince(slug, tokensSince);
    }
    case "authority": {
      break;
    }
  }
  const { id, authority } = entry;
  if (authority !== undefined && isReadable(id, authority, log)) return writeAuthority(db, id, authority, generation);
  return drop(db, "device_authority", id);
}

/** Who issues certificates with one that cannot be read here is nobody, and keeps nothing else from being heard. */
function isReadable(id: string, state: AuthorityState, log: Logger): boolean {
  try {
    toDeviceAuthority(id, state);
    return true;
  } catch (error) {
    log.error({ err: error, authority: id }, "a device authority cannot be read: its certificates are refused");
    return false;
  }
}

/** Drops what a reading from the beginning that is over has not told of. */
export function sweepEntries(db: Database, generation: number, reading: Reading): Telling[] {
  const gone = (table: Table): string[] => {
    const [name] = tables[table];
    const isLive = table === "signing_key" ? "AND is_revoked = 0" : "";
    return statement<string>(db, `SELECT ${name} FROM ${table} WHERE generation < ? ${isLive}`).pluck().all(generation);
  };
  const swept: Table[] = ["client", "api", "signing_key", "device_authority"];
  if (reading === "plain") swept.push("revoked_certificate");
  return swept.flatMap((table) => gone(table).map((name) => drop(db, table, name)));
}

/** Each table with the column that names a row, and what to tell when the row is gone. */
const tables = {
  signing_key: ["kid", (sink, name) => sink.forgetKey(name)],
  api: ["audience", (sink, name) => sink.forgetApi(name)],
  client: ["id", (sink, name) => sink.forgetClient(name)],
  device_authority: ["id", (sink, name) => sink.forgetAuthority(name)],
  revoked_certificate: ["name", (sink, name) => sink.releaseCertificates([name])],
} satisfies Readonly<Record<string, readonly [string, (sink: TrustSink, name: string) => void]>>;
type Table = keyof typeof tables;

function drop(db: Database, table: Table, name: string): Telling {
  const [column, tell] = tables[table];
  statement(db, `DELETE FROM ${table} WHERE ${column} = ?`).run(name);
  return (sink) => tell(sink, name);
}

function writeKey(
  db: Database,
  { kid, key }: Extract<TrustEntry, { kind: "key" }>,
  generation: number,
  log: Logger,
): Telling | undefined {
  if (key === undefined) {
    const sql = `INSERT INTO signing_key (kid, is_revoked, generation) VALUES (?, 1, ?)
      ON CONFLICT DO UPDATE SET is_revoked = 1, generation = excluded.generation`;
    statement(db, sql).run(kid, generation);
    return (sink) => sink.forgetKey(kid);
  }
  const known = statement<KeyRow>(db, `SELECT * FROM signing_key WHERE kid = ?`).get(kid);
  // the same name for another key is another key; what the revoked one signed does not verify with it
  if (known?.is_revoked === 1 && (known.thumbprint === null || known.thumbprint === key.thumbprint)) {
    log.warn({ kid }, "the authority tells of a key that it has revoked: it stays revoked");
    return undefined;
  }
  const sql = `INSERT OR REPLACE INTO signing_key (kid, spki, thumbprint, is_revoked, generation) VALUES (?, ?, ?, 0, ?)`;
  statement(db, sql).run(kid, key.keyObject.export({ type: "spki", format: "der" }), key.thumbprint, generation);
  return (sink) => sink.learnKey(kid, key);
}

function writeAuthority(db: Database, id: string, state: AuthorityState, generation: number): Telling | undefined {
  const authority = toDeviceAuthority(id, state);
  const known = statement<AuthorityRow>(db, `SELECT * FROM device_authority WHERE id = ?`).get(id);
  const row = [state.der, state.needsList ? 1 : 0, state.listEndsAt ?? null] as const;
  const sql = `INSERT OR REPLACE INTO device_authority (id, der, needs_list, list_ends_at, generation) VALUES (?, ?, ?, ?, ?)`;
  statement(db, sql).run(id, ...row, generation);
  const isSame =
    known !== undefined && known.der.equals(row[0]) && known.needs_list === row[1] && known.list_ends_at === row[2];
  return isSame ? undefined : (sink) => sink.learnAuthority(authority);
}

function toDeviceAuthority(id: string, { der, needsList, listEndsAt }: AuthorityState): DeviceAuthority {
  const certificate = new X509Certificate(der);
  return { id, certificate, needsList, ...(listEndsAt !== undefined && { listEndsAt }) };
}

/** JSON that stays as it is when somebody adds a field to what is told. */
type PackedApi = readonly [
  kind: ApiState["kind"],
  bearer: boolean,
  topics: readonly string[],
  purge: ApiState["purge"],
];
type PackedGrant = readonly [filter: string, pub: 0 | 1, sub: 0 | 1];
type PackedClient = readonly [
  enabled: boolean,
  tokensAfter: number,
  grants: readonly (readonly [audience: string, grants: readonly PackedGrant[]])[],
];

function packApi({ kind, bearer, topics, purge }: ApiState): PackedApi {
  return [kind, bearer, topics, purge];
}

function toApi(audience: string, text: string): ApiTrust {
  const [kind, bearer, topics, purge] = JSON.parse(text) as PackedApi;
  return { audience, kind, bearer, topics, purge };
}

function packClient({ enabled, tokensAfter, grants }: ClientState): PackedClient {
  return [enabled, tokensAfter, grants.map((one) => [one.audience, one.grants.map(packGrant)])];
}

function packGrant({ filter, pub, sub }: Grant): PackedGrant {
  return [filter, pub ? 1 : 0, sub ? 1 : 0];
}

function toClient(id: string, text: string): ClientTrust {
  const [enabled, tokensAfter, packed] = JSON.parse(text) as PackedClient;
  const grants = packed.map(([audience, some]) => ({
    audience,
    grants: some.map(([filter, pub, sub]): Grant => ({ filter, pub: pub === 1, sub: sub === 1 })),
  }));
  return { id, enabled, tokensAfter, grants };
}

interface KeyRow {
  readonly kid: string;
  readonly spki: Buffer | null;
  readonly thumbprint: string | null;
  readonly is_revoked: 0 | 1;
}
interface AuthorityRow {
  readonly id: string;
  readonly der: Buffer;
  readonly needs_list: 0 | 1;
  readonly list_ends_at: number | null;
}
