/**
 * Trust held in three maps of this process.
 *
 * Keeps nothing on disk and asks nobody: whoever fills it fills it again after a start.
 */
import type { X509Certificate } from "node:crypto";
import { samePublicKey } from "../../shared/cose-key.ts";
import type { PublicKey } from "../../shared/cose-key.ts";
import type { ApiTrust, ClientTrust, Trust, TrustNews, TrustSink } from "./trust.ts";

/** What a trust is told once. */
export interface MemoryTrustOptions {
  /** Read at each use: an authority on a port that the system chose knows its name only once it listens. */
  readonly issuer: string;
  readonly deviceAuthorities?: readonly X509Certificate[];
  /** Default true: a client that nobody told of is unknown. */
  readonly knowsClients?: boolean;
}

/** Both faces of trust. */
export type MemoryTrust = Trust & TrustSink;

/** Opens an empty trust. */
export function createMemoryTrust(options: MemoryTrustOptions): MemoryTrust {
  const keys = new Map<string, PublicKey>();
  const apis = new Map<string, ApiTrust>();
  const clients = new Map<string, ClientTrust>();
  const listeners = new Set<(news: TrustNews) => void>();

  const tell = (news: TrustNews): void => {
    for (const listener of listeners) listener(news);
  };

  return {
    get issuer() {
      return options.issuer;
    },
    knowsClients: options.knowsClients ?? true,
    deviceAuthorities: options.deviceAuthorities ?? [],
    keyFor: (kid) => keys.get(kid),
    api: (audience) => apis.get(audience),
    client: (id) => clients.get(id),
    onNews(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },

    learnKey(kid, key) {
      const known = keys.get(kid);
      if (known !== undefined && samePublicKey(known, key)) return;
      keys.set(kid, key);
      tell({ kind: "key", kid });
    },
    forgetKey(kid) {
      if (keys.delete(kid)) tell({ kind: "key", kid });
    },
    learnApi(api) {
      const known = apis.get(api.audience);
      if (known?.kind === api.kind && known.bearer === api.bearer) return;
      apis.set(api.audience, api);
      tell({ kind: "api", audience: api.audience });
    },
    forgetApi(audience) {
      if (apis.delete(audience)) tell({ kind: "api", audience });
    },
    learnClient(client) {
      const known = clients.get(client.id);
      if (known !== undefined && isSameClient(known, client)) return;
      clients.set(client.id, client);
      tell({ kind: "client", id: client.id });
    },
    forgetClient(id) {
      if (clients.delete(id)) tell({ kind: "client", id });
    },
  };
}

function isSameClient(a: ClientTrust, b: ClientTrust): boolean {
  return (
    a.enabled === b.enabled &&
    a.grants.length === b.grants.length &&
    a.grants.every((grant, index) => {
      const other = b.grants[index]!;
      return grant.filter === other.filter && grant.pub === other.pub && grant.sub === other.sub;
    })
  );
}
