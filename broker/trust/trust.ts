/**
 * What a gate must know to admit a client: the issuer's keys, the apis, the clients, the device authorities.
 *
 * Two faces of one thing. `Trust` is what the gate asks: in memory, synchronous, no I/O, because it is asked at every
 * CONNECT. `TrustSink` is what fills it: the registry in the same process, or a feed from an authority elsewhere.
 */
import type { X509Certificate } from "node:crypto";
import type { PublicKey } from "../../shared/cose-key.ts";
import type { Grant } from "../../shared/scope.ts";

/** An api as a gate sees it. `bearer`: tokens without a bound key are let in. */
export interface ApiTrust {
  readonly audience: string;
  readonly kind: "mqtt" | "http";
  readonly bearer: boolean;
}

/** A client as a gate sees it. `grants`: what its roles allow on all apis of kind mqtt, placeholders filled. */
export interface ClientTrust {
  readonly id: string;
  readonly enabled: boolean;
  readonly grants: readonly Grant[];
}

/** What changed; ask again to learn how. */
export type TrustNews =
  | { readonly kind: "client"; readonly id: string }
  | { readonly kind: "key"; readonly kid: string }
  | { readonly kind: "api"; readonly audience: string };

/** What a gate asks. */
export interface Trust {
  /** The `iss` of every token that is accepted. */
  readonly issuer: string;
  /** False where nobody tells of clients; then a client is not asked for and certificates alone need a token. */
  readonly knowsClients: boolean;
  /** Who issues device certificates; empty where certificates are not accepted. */
  readonly deviceAuthorities: readonly X509Certificate[];
  keyFor(kid: string): PublicKey | undefined;
  api(audience: string): ApiTrust | undefined;
  client(id: string): ClientTrust | undefined;
  /** Calls back after each change, until the returned function is called. */
  onNews(listener: (news: TrustNews) => void): () => void;
  /**
   * Asked when a token names a key that is not known. Resolves, never rejects, when the keys are as new as the source
   * lets them be; absent where keys are pushed.
   */
  refreshKeys?(): Promise<void>;
}

/** What fills a trust. Every call is idempotent; news go out only when something changed. */
export interface TrustSink {
  learnKey(kid: string, key: PublicKey): void;
  forgetKey(kid: string): void;
  learnApi(api: ApiTrust): void;
  forgetApi(audience: string): void;
  learnClient(client: ClientTrust): void;
  forgetClient(id: string): void;
}
