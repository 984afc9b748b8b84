/**
 * Taking back: tokens, certificates, clients, signing keys, and the tokens of a project that were issued before a time.
 *
 * One wish is one transaction, all of it or nothing, and it is on the disk before this returns. What was taken back before
 * is done and changes nothing; what is not there refuses the whole wish. The truth is the marks on what died; the list of
 * tokens is written out beside them, in one update.
 */
import { Refusal, refuse } from "../../shared/refusal.ts";
import { everyHash, inspectToken, toToken, tokenHashes, verifyToken } from "../../shared/token.ts";
import { ADMIN, audit } from "./audit.ts";
import { revokeCertificate } from "./certificates.ts";
import { disableClient } from "./clients.ts";
import { findIssued, type TokenSelection } from "./issued.ts";
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
}

/** Takes all of it back. Throws `registry.not-found`, `registry.invalid` and `storage.failed`, and then nothing has changed. */
export function revokeAll(r: Registry, wish: Wish, { issuer, actor = ADMIN }: RevocationContext): Revoked {
  return r.changeDurably(() => {
    const named = new Map<string, RevokedToken>();
    for (const text of wish.tokens ?? []) {
      const token = findToken(r, text, issuer);
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
 * The token that was presented, if it is ours and alive: on record by its hash, or else, because the record may be lost,
 * by our signature. Throws `token.*`, `cose.*`, `cbor.*`.
 */
export function readLiveToken(r: Registry, presented: string | Uint8Array, issuer: string): RevokedToken {
  inspectToken(presented);
  const known = everyHash(toToken(presented))
    .map((hash) => findIssued(r, Buffer.from(hash, "hex")))
    .find((row) => row !== undefined);
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
function findToken(r: Registry, text: string, issuer: string): RevokedToken {
  if (/^01[0-9a-f]{64}$/i.test(text)) {
    const row = findIssued(r, Buffer.from(text, "hex"));
    if (row !== undefined && row.exp > r.nowSeconds()) return row;
    return refuse("registry.not-found", `no live token with the hash ${text.toLowerCase()}`);
  }
  try {
    toToken(text);
    inspectToken(text);
  } catch (error) {
    if (error instanceof Refusal) refuse("registry.invalid", "tokens: neither a token nor a token hash in hex");
    throw error;
  }
  try {
    return readLiveToken(r, text, issuer);
  } catch (error) {
    if (error instanceof Refusal) refuse("registry.not-found", `no such token that is alive (${error.reason})`);
    throw error;
  }
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
