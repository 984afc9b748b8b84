/**
 * Taking back: tokens, certificates, clients, signing keys, and the tokens of a project that were issued before a time.
 *
 * One wish is one transaction, all of it or nothing, and it is on the disk before this returns. What was taken back before
 * is done and changes nothing; what is not there refuses the whole wish. The truth is the marks on what died; the list of
 * tokens is written out beside them, in one update.
 */
import { Refusal, refuse } from "../../shared/refusal.ts";
import { inspectToken, toToken, tokenHashes, verifyToken } from "../../shared/token.ts";
import { ADMIN, audit } from "./audit.ts";
import { findCertificate, revokeCertificate } from "./certificates.ts";
import { disableClient } from "./clients.ts";
import { findIssuedByHash, findIssuedToken, type IssuedRow, type TokenSelection } from "./issued.ts";
import { revokeTokensBefore } from "./projects.ts";
import type { Registry } from "./registry.ts";
import { isListed, type RevokedToken } from "./revoked-tokens.ts";
import { findSigningKey, revokeSigningKey } from "./signing-keys.ts";
import { listSelected } from "./unlisted.ts";

/** What is to be taken back. */
export interface Wish {
  /** Tokens, or their RFC 9770 hashes in hex. */
  readonly tokens?: readonly string[] | undefined;
  /** Serial numbers, hex in any spelling, of certificates of our own authority. */
  readonly certificates?: readonly string[] | undefined;
  /** Ids of clients, which are disabled. */
  readonly clients?: readonly string[] | undefined;
  /** Kids of signing keys. */
  readonly keys?: readonly string[] | undefined;
  /** Tokens of this project's clients that were issued before a time, in seconds. */
  readonly projects?: readonly { readonly project: string; readonly before: number }[] | undefined;
}

/** How many of each kind were not taken back before. */
export type Revoked = Readonly<Record<keyof Wish, number>>;

/** Whose tokens these are, and who wants it. */
export interface RevocationContext {
  readonly issuer: string;
  /** Default the administrator. */
  readonly actor?: string;
  /** The one whose things these are: what is another's is as if it were not there. */
  readonly project?: string;
}

/** Takes all of it back. Throws `registry.not-found`, `registry.invalid` and `storage.failed`, and then nothing has changed. */
export function revokeAll(r: Registry, wish: Wish, { issuer, actor = ADMIN, project }: RevocationContext): Revoked {
  return r.changeDurably(() => {
    if (project !== undefined) assertOf(r, project, wish);
    const named = new Map<string, RevokedToken>();
    const texts = wish.tokens ?? [];
    // all in one go, because each look by a hash alone would read all that is on record, of the project or of everybody
    const byHash = findIssuedByHash(
      r,
      texts.filter(isHash).map((text) => text.toLowerCase()),
      project,
    );
    for (const text of texts) {
      const token = isHash(text)
        ? findByHash(r, byHash, text.toLowerCase(), project)
        : findToken(r, text, { issuer, project });
      if (!isListed(r, token.hash)) named.set(toHex(token.hash), token);
    }
    const tokens = [...named.values()].map((token) => auditToken(r, token, actor));
    const certificates = each(wish.certificates, (serial) => revokeCertificate(r, serial, actor));
    const clients = each(wish.clients, (id) => disableClient(r, id, actor));
    const keys = each(wish.keys, (kid) => revokeSigningKey(r, kid, actor));
    const projects = each(wish.projects, ({ project, before }) => revokeTokensBefore(r, project, before, actor));
    const selections: TokenSelection[] = [...clients, ...keys, ...projects];
    listSelected(r, selections, [...tokens, ...certificates.flat()]);
    return {
      tokens: tokens.length,
      certificates: certificates.length,
      clients: clients.length,
      keys: keys.length,
      projects: projects.length,
    };
  });
}

/**
 * Takes back a token that its own client gives up; call it within a change. Nothing happens, and nothing is thrown, where
 * there is no such token any more. Returns whether it was taken back now.
 */
export function revokeToken(r: Registry, token: RevokedToken, actor: string): boolean {
  if (isListed(r, token.hash)) return false;
  auditToken(r, token, actor);
  return listSelected(r, [], [token]) > 0;
}

/**
 * The token that was presented, if it is ours and alive: on record, or else, because the record may be lost,
 * by our signature. Throws `token.*`, `cose.*`, `cbor.*`.
 */
export function readLiveToken(r: Registry, presented: string | Uint8Array, issuer: string): RevokedToken {
  const known = findIssuedToken(r, presented);
  if (known !== undefined) return known.exp > r.nowSeconds() ? known : refuse("token.expired");
  const { claims } = verifyToken(presented, {
    issuer,
    keyFor: (kid) => findSigningKey(r, kid),
    isAudience: () => true,
    nowSeconds: r.nowSeconds(),
  });
  const [hash, otherHash] = tokenHashes(presented).map((hex) => Buffer.from(hex, "hex"));
  return { hash: hash!, otherHash: otherHash ?? null, client: claims.sub, audience: claims.aud, exp: claims.exp };
}

/** A hash is told from a token by its form: no token of ours is 66 hex digits that start with 01. */
function isHash(text: string): boolean {
  return /^01[0-9a-f]{64}$/i.test(text);
}

/** Certificates and clients; of tokens it is known when they are read. */
function assertOf(r: Registry, project: string, { certificates = [], clients = [] }: Wish): void {
  for (const serial of certificates) {
    const found = findCertificate(r, serial);
    if (found === undefined || !isOf(project, found.clientId)) {
      refuse("registry.not-found", `no certificate ${serial.slice(0, 64)}`);
    }
  }
  for (const id of clients) if (!isOf(project, id)) refuse("registry.not-found", `no client ${id}`);
}

/** Whether a client is of the project, where one is named. */
function isOf(project: string | undefined, client: string): boolean {
  return project === undefined || client.startsWith(`${project}.`);
}

function findByHash(
  r: Registry,
  byHash: ReadonlyMap<string, IssuedRow>,
  hash: string,
  project: string | undefined,
): RevokedToken {
  const row = byHash.get(hash);
  return row !== undefined && row.exp > r.nowSeconds() && isOf(project, row.client)
    ? row
    : refuse("registry.not-found", `no live token with the hash ${hash}`);
}

function findToken(r: Registry, text: string, { issuer, project }: RevocationContext): RevokedToken {
  try {
    toToken(text);
    inspectToken(text);
  } catch (error) {
    if (error instanceof Refusal) refuse("registry.invalid", "tokens: neither a token nor a token hash in hex");
    throw error;
  }
  let token: RevokedToken;
  try {
    token = readLiveToken(r, text, issuer);
  } catch (error) {
    // what is wrong with the token of another is for the administrator
    const why = project === undefined && error instanceof Refusal ? ` (${error.reason})` : "";
    if (error instanceof Refusal) refuse("registry.not-found", `no such token that is alive${why}`);
    throw error;
  }
  return isOf(project, token.client) ? token : refuse("registry.not-found", "no such token that is alive");
}

function auditToken(r: Registry, token: RevokedToken, actor: string): RevokedToken {
  const { hash, client, audience, exp } = token;
  const facts = { hash: toHex(hash), audience, exp };
  audit(r, { event: "token.revoked", actor, subject: client, facts });
  return token;
}

function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

/** What was taken back now; what was before gives nothing. */
function each<Named, Taken>(
  named: readonly Named[] | undefined,
  take: (one: Named) => Taken | undefined,
): NonNullable<Taken>[] {
  return (named ?? []).map(take).filter((taken) => taken != null);
}
