/**
 * What a gate must know to admit a client: the issuer's keys, the apis, the clients, the device authorities, and what was
 * taken back.
 *
 * Two faces of one thing. `Trust` is what the gate asks: in memory, synchronous, no I/O, because it is asked at every
 * CONNECT. `TrustSink` is what fills it: the registry in the same process, or a feed from an authority elsewhere.
 */
import type { X509Certificate } from "node:crypto";
import type { PublicKey } from "../../shared/cose-key.ts";
import type { Grant } from "../../shared/scope.ts";

/**
 * When the retained messages of a client go: `client`, when it is disabled or deleted; `always`, also when only a credential
 * of it is revoked; `never`.
 */
export type RetainedPurge = "client" | "always" | "never";

/** An api as a gate sees it. `bearer`: tokens without a bound key are let in. */
export interface ApiTrust {
  readonly audience: string;
  readonly kind: "mqtt" | "http";
  readonly bearer: boolean;
  /** The topic filters it consists of; absent where nobody tells of them. */
  readonly topics?: readonly string[];
  /** Default `client`. */
  readonly purge?: RetainedPurge;
}

/** What the roles of a client allow on one api, placeholders filled. */
export interface ApiGrants {
  readonly audience: string;
  readonly grants: readonly Grant[];
}

/** A client as a gate sees it. */
export interface ClientTrust {
  readonly id: string;
  readonly enabled: boolean;
  /**
   * What its roles allow on apis of kind mqtt: a token is worth no more than that. Absent where nobody tells of roles;
   * then a token's word stands, and a certificate alone needs a token.
   */
  readonly grants?: readonly ApiGrants[];
  /** Tokens with this number (their `cti`) or a lower one were taken back. Default 0, none. */
  readonly tokensAfter?: number;
}

/** Who issues device certificates. */
export interface DeviceAuthority {
  /** By which its certificates are told from those of others: {@link nameAuthority}. */
  readonly id: string;
  readonly certificate: X509Certificate;
  /** From then on (seconds since 1970) its list of revoked certificates is too old; absent where there is no such time. */
  readonly listEndsAt?: number;
  /** Whether its certificates are refused while its list is too old or was never there. Default false. */
  readonly needsList?: boolean;
}

/** A revoked certificate, `<id of its authority>:<serial>`, both lower-case hex, the serial without leading zeros. */
export type CertificateName = string;

/** What changed; ask again to learn how. */
export type TrustNews =
  /** `isTakenBack`: what it held until now counts no more, also where it is enabled again by now. */
  | { readonly kind: "client"; readonly id: string; readonly isTakenBack?: boolean }
  | { readonly kind: "key"; readonly kid: string }
  | { readonly kind: "api"; readonly audience: string }
  /** Tokens were revoked; which, as hex hashes, or unsaid where they are too many to name. */
  | { readonly kind: "tokens"; readonly hashes?: readonly string[] }
  | { readonly kind: "certificates"; readonly names: readonly CertificateName[] }
  | { readonly kind: "project"; readonly slug: string }
  /** An authority for device certificates came, went or has another list. */
  | { readonly kind: "authority"; readonly id: string };

/** What a gate asks. */
export interface Trust {
  /** The `iss` of every token that is accepted. */
  readonly issuer: string;
  /** False where nobody tells of clients; then a client is not asked for and certificates alone need a token. */
  readonly knowsClients: boolean;
  /** Who issues device certificates; empty where certificates are not accepted. */
  readonly deviceAuthorities: readonly DeviceAuthority[];
  /** Whether the view is older than may be: then nobody new is admitted. */
  readonly isStale: boolean;
  keyFor(kid: string): PublicKey | undefined;
  api(audience: string): ApiTrust | undefined;
  /** All of them. */
  apis(): Iterable<ApiTrust>;
  client(id: string): ClientTrust | undefined;
  /** Whether one of these RFC 9770 hashes (hex, 33 bytes) is of a revoked token. */
  isTokenRevoked(hashes: readonly string[]): boolean;
  isCertificateRevoked(name: CertificateName): boolean;
  /** Tokens of clients of this project that were issued before (seconds since 1970) were taken back; 0 for none. */
  tokensSince(project: string): number;
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
  /** Says before the first of them how many tokens are on the list, so that there is room for them at once. */
  expectTokens(count: number): void;
  /** Puts tokens on the list. Hashes of 33 bytes (RFC 9770, section 4), one behind the other. */
  revokeTokens(hashes: Uint8Array): void;
  /** Takes tokens off the list, because they have expired. */
  releaseTokens(hashes: Uint8Array): void;
  /** Puts exactly these tokens on the list. */
  replaceTokens(hashes: Uint8Array): void;
  revokeCertificates(names: readonly CertificateName[]): void;
  releaseCertificates(names: readonly CertificateName[]): void;
  /** The time only ever moves forward. */
  learnTokensSince(project: string, seconds: number): void;
  learnAuthority(authority: DeviceAuthority): void;
  forgetAuthority(id: string): void;
}
