/**
 * Trust held in memory of this process.
 *
 * Keeps nothing on disk and asks nobody: whoever fills it fills it again after a start.
 */
import { isDeepStrictEqual } from "node:util";
import { samePublicKey } from "../../shared/cose-key.ts";
import type { PublicKey } from "../../shared/cose-key.ts";
import { HASH_BYTES } from "../../shared/trl.ts";
import { HashSet } from "./hash-set.ts";
import type { ApiTrust, CertificateName, ClientTrust, DeviceAuthority, Trust, TrustNews, TrustSink } from "./trust.ts";

/** What a trust is told once. */
export interface MemoryTrustOptions {
  /** Read at each use: an authority on a port that the system chose knows its name only once it listens. */
  readonly issuer: string;
  readonly deviceAuthorities?: readonly DeviceAuthority[];
  /** Default true: a client that nobody told of is unknown. */
  readonly knowsClients?: boolean;
  /** Asked at each CONNECT. Default never. */
  readonly isStale?: () => boolean;
  /** See `Trust`. */
  readonly refreshKeys?: () => Promise<void>;
}

/** Both faces of trust, and how much it holds. */
export interface MemoryTrust extends Trust, TrustSink {
  readonly revokedTokens: number;
  readonly revokedCertificates: number;
  /** Whether the hash that begins at this place of a row of hashes is of a revoked token. */
  isListed(hashes: Uint8Array, at: number): boolean;
}

/** So many revoked tokens at once are named in the news; of more, every session is looked at. */
const namedAtMost = 1000;

/** Opens an empty trust. */
export function createMemoryTrust(options: MemoryTrustOptions): MemoryTrust {
  const keys = new Map<string, PublicKey>();
  const apis = new Map<string, ApiTrust>();
  const clients = new Map<string, ClientTrust>();
  const authorities = new Map((options.deviceAuthorities ?? []).map((authority) => [authority.id, authority]));
  const projects = new Map<string, number>();
  const certificates = new Set<CertificateName>();
  let authorityList = [...authorities.values()];
  let tokens = new HashSet();
  const listeners = new Set<(news: TrustNews) => void>();

  const tell = (news: TrustNews): void => {
    for (const listener of listeners) listener(news);
  };
  const tellRevoked = (hashes: Uint8Array, places: readonly number[]): void => {
    if (places.length === 0) return;
    if (places.length > namedAtMost) return tell({ kind: "tokens" });
    const name = (at: number): string => Buffer.from(hashes.subarray(at, at + HASH_BYTES)).toString("hex");
    tell({ kind: "tokens", hashes: places.map(name) });
  };
  const listAuthorities = (id: string): void => {
    authorityList = [...authorities.values()];
    tell({ kind: "authority", id });
  };

  return {
    get issuer() {
      return options.issuer;
    },
    get isStale() {
      return options.isStale?.() ?? false;
    },
    get deviceAuthorities() {
      return authorityList;
    },
    get revokedTokens() {
      return tokens.size;
    },
    get revokedCertificates() {
      return certificates.size;
    },
    knowsClients: options.knowsClients ?? true,
    ...(options.refreshKeys && { refreshKeys: options.refreshKeys }),
    keyFor: (kid) => keys.get(kid),
    api: (audience) => apis.get(audience),
    apis: () => apis.values(),
    client: (id) => clients.get(id),
    isTokenRevoked: (hashes) => tokens.size > 0 && hashes.some((hash) => tokens.hasHex(hash)),
    isCertificateRevoked: (name) => certificates.has(name),
    tokensSince: (project) => projects.get(project) ?? 0,
    onNews(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },

    learnKey(kid, key) {
      const known = keys.get(kid);
      if (known !== undefined && samePublicKey(known, key)) return;
      // another key of the same name: what stands on the first ends, as it does when that goes
      if (known !== undefined && keys.delete(kid)) tell({ kind: "key", kid });
      keys.set(kid, key);
      tell({ kind: "key", kid });
    },
    forgetKey(kid) {
      if (keys.delete(kid)) tell({ kind: "key", kid });
    },
    learnApi(api) {
      if (isDeepStrictEqual(apis.get(api.audience), api)) return;
      apis.set(api.audience, api);
      tell({ kind: "api", audience: api.audience });
    },
    forgetApi(audience) {
      if (apis.delete(audience)) tell({ kind: "api", audience });
    },
    learnClient(client) {
      const known = clients.get(client.id);
      if (isDeepStrictEqual(known, client)) return;
      clients.set(client.id, client);
      const isTakenBack = known !== undefined && (client.tokensAfter ?? 0) > (known.tokensAfter ?? 0);
      tell({ kind: "client", id: client.id, ...(isTakenBack && { isTakenBack }) });
    },
    forgetClient(id) {
      if (clients.delete(id)) tell({ kind: "client", id });
    },
    expectTokens(count) {
      if (tokens.size === 0) tokens = new HashSet(count);
    },
    revokeTokens(hashes) {
      const added: number[] = [];
      for (const at of eachPlace(hashes)) if (tokens.addAt(hashes, at)) added.push(at);
      tellRevoked(hashes, added);
    },
    releaseTokens(hashes) {
      for (const at of eachPlace(hashes)) tokens.delete(hashes.subarray(at, at + HASH_BYTES));
    },
    replaceTokens(hashes) {
      const next = new HashSet(hashes.length / HASH_BYTES);
      const added: number[] = [];
      for (const at of eachPlace(hashes)) if (next.addAt(hashes, at) && !tokens.hasAt(hashes, at)) added.push(at);
      tokens = next;
      tellRevoked(hashes, added);
    },
    isListed: (hashes, at) => tokens.hasAt(hashes, at),
    revokeCertificates(names) {
      const added = names.filter((name) => !certificates.has(name));
      for (const name of added) certificates.add(name);
      if (added.length > 0) tell({ kind: "certificates", names: added });
    },
    releaseCertificates(names) {
      for (const name of names) certificates.delete(name);
    },
    learnTokensSince(project, seconds) {
      if (seconds <= (projects.get(project) ?? 0)) return;
      projects.set(project, seconds);
      tell({ kind: "project", slug: project });
    },
    learnAuthority(authority) {
      authorities.set(authority.id, authority);
      listAuthorities(authority.id);
    },
    forgetAuthority(id) {
      if (authorities.delete(id)) listAuthorities(id);
    },
  };
}

/** Where the hashes begin that stand one behind the other. Throws TypeError where the last one is cut. */
function* eachPlace(hashes: Uint8Array): Generator<number> {
  if (hashes.length % HASH_BYTES !== 0) throw new TypeError("not a whole number of token hashes");
  for (let at = 0; at < hashes.length; at += HASH_BYTES) yield at;
}
