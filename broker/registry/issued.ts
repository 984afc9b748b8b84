/**
 * Tokens that were issued, by their numbers, with their hashes (RFC 9770, section 4): what introspection and a revocation need
 * to know of them. The token itself is not kept. A row goes some time after the token has expired.
 *
 * Every token costs a row here, so there is one index, for the tokens of a client. A token that is presented says its number;
 * that it is the token on record is by its hash. Who has nothing but a hash pays for reading all rows, once for each wish.
 */
import { everyHash, inspectToken, toToken } from "../../shared/token.ts";
import { statement } from "../sqlite/database.ts";
import { createMovingWindow } from "./moving-window.ts";
import type { Registry } from "./registry.ts";

/** What is recorded of a token. */
export interface IssuedToken {
  /** Hex; one for a CWT, two for a JWT, that of the spelling in which it was given out first. */
  readonly hashes: readonly string[];
  /** What {@link nextTokenId} gave. */
  readonly id: Uint8Array;
  readonly clientId: string;
  readonly audience: string;
  readonly kid: string;
  /** Its `iat`, in seconds; default now. */
  readonly issuedAt?: number | undefined;
  /** In seconds. */
  readonly exp: number;
  /** Of the key that it is bound to; absent for a bearer token. */
  readonly keyThumbprint?: string | undefined;
}

/** A token on record, as far as a revocation must know it. */
export interface IssuedRow {
  readonly number: number;
  /** 33 bytes, of the spelling in which it was given out. */
  readonly hash: Uint8Array;
  /** Of the other spelling; null for a CWT. */
  readonly otherHash: Uint8Array | null;
  readonly client: string;
  readonly audience: string;
  readonly kid: string;
  readonly keyThumbprint: string | null;
  readonly issuedAt: number;
  readonly exp: number;
}

/**
 * Which tokens died: those of a client up to the number `bound`; those that a key signed, whatever the bound; those of a
 * project's clients that were issued before the time `bound`.
 */
export interface TokenSelection {
  readonly kind: "client" | "key" | "project";
  readonly name: string;
  readonly bound: number;
}

const prune = createMovingWindow({ table: "issued" });
/** A longer `cti` is no number of ours. */
const maxIdBytes = 6;
const numbers = new WeakMap<Registry, number>();

/**
 * The `cti` of the next token: its number in this installation, in as few bytes as that takes, because every device sends
 * every byte of it. Nothing rests on its being hard to guess. The newest row is never pruned, so no number comes twice.
 */
export function nextTokenId(r: Registry): Uint8Array {
  const number = newestToken(r) + 1;
  numbers.set(r, number);
  const hex = number.toString(16);
  return Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, "hex");
}

/** The number of the newest token that was given out; 0 before the first. */
export function newestToken(r: Registry): number {
  let newest = numbers.get(r);
  if (newest === undefined) numbers.set(r, (newest = readNewest(r)));
  return newest;
}

/**
 * A number up to which all tokens are that were given out, and none that will be; beyond the one of the last time, also where
 * none was given out since: by that it shows that something was taken back once more. Call it within a change.
 */
export function nextBound(r: Registry, before: number): number {
  const bound = Math.max(newestToken(r), before + 1);
  r.afterCommit(() => numbers.set(r, Math.max(newestToken(r), bound)));
  return bound;
}

/** Call it in one {@link Registry.append} with the assertion that is spent and the audit row. */
export function recordIssued(r: Registry, token: IssuedToken): void {
  const [hash, other] = token.hashes;
  if (hash === undefined) throw new TypeError("a token has a hash");
  r.append(() => {
    const now = r.nowSeconds();
    prune(r, now);
    statement(
      r.db,
      `INSERT INTO issued (number, token_hash, other_hash, client, audience, kid, key_thumbprint, issued_at, exp)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    ).run(
      Buffer.from(token.id).readUIntBE(0, token.id.length),
      Buffer.from(hash, "hex"),
      other === undefined ? null : Buffer.from(other, "hex"),
      token.clientId,
      token.audience,
      token.kid,
      token.keyThumbprint ?? null,
      token.issuedAt ?? now,
      token.exp,
    );
  });
}

/**
 * The record of a token that was presented, in either spelling of a JWT and with either form of its signature. Nothing is
 * verified but that it is the very token on record, which was signed here. `inspected` is what `inspectToken` says of it, where
 * that is at hand. Throws `token.*`, `cose.*`, `cbor.*` for what is no token.
 */
export function findIssuedToken(
  r: Registry,
  presented: string | Uint8Array,
  inspected: Pick<ReturnType<typeof inspectToken>, "claims" | "hashes"> = inspectToken(presented),
): IssuedRow | undefined {
  const { claims, hashes } = inspected;
  const { id } = claims;
  if (id.length === 0 || id.length > maxIdBytes) return undefined;
  const number = Buffer.from(id).readUIntBE(0, id.length);
  const row = statement<IssuedRow>(r.db, `${select} WHERE number = ?`).get(number);
  if (row === undefined) return undefined;
  const known = new Set([row.hash, row.otherHash].map((hash) => hash && Buffer.from(hash).toString("hex")));
  const isKnown = (hash: string): boolean => known.has(hash);
  return hashes.some(isKnown) || everyHash(toToken(presented)).some(isKnown) ? row : undefined;
}

/**
 * The records with these hashes, hex in lower case, in either spelling: by the hash that was asked for. Reads every row, or
 * those of one project's clients.
 */
export function findIssuedByHash(r: Registry, hashes: readonly string[], project?: string): Map<string, IssuedRow> {
  const found = new Map<string, IssuedRow>();
  if (hashes.length === 0) return found;
  const asked = new Set(hashes);
  const ofProject = project === undefined ? "" : `AND client >= ? AND client < ?`;
  const rows = statement<IssuedRow>(
    r.db,
    `WITH asked (hash) AS MATERIALIZED (SELECT unhex(value) FROM json_each(?))
     ${select} WHERE (token_hash IN (SELECT hash FROM asked) OR other_hash IN (SELECT hash FROM asked)) ${ofProject}`,
  ).all(JSON.stringify([...asked]), ...(project === undefined ? [] : [`${project}.`, `${project}/`]));
  for (const row of rows) {
    for (const hash of [row.hash, row.otherHash]) {
      if (hash !== null) found.set(Buffer.from(hash).toString("hex"), row);
    }
  }
  return found;
}

/** Tokens of a client that are bound to this key. */
export function listBoundTo(r: Registry, clientId: string, keyThumbprint: string): IssuedRow[] {
  return statement<IssuedRow>(r.db, `${select} WHERE client = ? AND key_thumbprint = ?`).all(clientId, keyThumbprint);
}

/** Tokens with a number beyond `after`, of everybody or of one client, in the order of issue. */
export function listIssued(
  r: Registry,
  asked: { readonly after: number; readonly limit: number; readonly client?: string | undefined },
): IssuedRow[] {
  const { after, limit, client } = asked;
  if (client === undefined) {
    return statement<IssuedRow>(r.db, `${select} WHERE number > ? ORDER BY number LIMIT ?`).all(after, limit);
  }
  const sql = `${select} WHERE client = ? AND number > ? ORDER BY number LIMIT ?`;
  return statement<IssuedRow>(r.db, sql).all(client, after, limit);
}

const select = `
  SELECT number, token_hash AS hash, other_hash AS otherHash, client, audience, kid, key_thumbprint AS keyThumbprint,
    issued_at AS issuedAt, exp
  FROM issued`;

/** A number up to which a client's tokens were taken back may be that of a token that never was; it is not given out either. */
function readNewest(r: Registry): number {
  const sql = `SELECT max(coalesce((SELECT max(number) FROM issued), 0), coalesce((SELECT max(tokens_after) FROM client), 0))`;
  return statement<number>(r.db, sql).pluck().get() ?? 0;
}
