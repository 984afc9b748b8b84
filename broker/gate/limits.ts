/**
 * How much of everything one gate keeps and allows.
 */

/** Every limit has a default; see {@link defaultLimits}. */
export interface GateLimits {
  /** Anonymous clients at one time, in all and of one address. */
  readonly strangers: number;
  readonly strangersPerAddress: number;
  /** How long an anonymous client may stay. */
  readonly strangerSeconds: number;
  /** Tokens that the anonymous clients of one address may put on authz-info in a minute. */
  readonly strangerTokensPerMinute: number;
  /** Subscriptions of one session. */
  readonly subscriptions: number;
  /** Tokens and certificates whose verification is remembered. */
  readonly verifiedTokens: number;
  readonly verifiedCertificates: number;
  /** Tokens kept from authz-info. */
  readonly keptTokens: number;
  /** How long a CONNECT waits for keys that are being fetched. */
  readonly refreshSeconds: number;
}

/** What applies where a gate is told nothing else. */
export const defaultLimits: GateLimits = {
  strangers: 100,
  strangersPerAddress: 20,
  strangerSeconds: 30,
  strangerTokensPerMinute: 60,
  subscriptions: 1000,
  verifiedTokens: 4096,
  verifiedCertificates: 4096,
  keptTokens: 10_000,
  refreshSeconds: 5,
};
