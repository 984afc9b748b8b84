/**
 * How much of everything one gate keeps and allows.
 */
import { MAX_TOKEN_BYTES } from "../../shared/token.ts";
import { MAX_TOPIC_LEVELS } from "../../shared/topic.ts";

/** Every limit has a default; see {@link defaultLimits}. */
export interface GateLimits {
  /** Anonymous clients at one time, in all and of one address. */
  readonly strangers: number;
  readonly strangersPerAddress: number;
  /** How long an anonymous client may stay. */
  readonly strangerSeconds: number;
  /** Tokens that the anonymous clients of one address may put on authz-info in a minute. */
  readonly strangerTokensPerMinute: number;
  /** Bytes of the payload of a will. */
  readonly willBytes: number;
  /** Subscriptions of one session. */
  readonly subscriptions: number;
  /** Levels of a topic or filter that is published or subscribed; at most {@link MAX_TOPIC_LEVELS}. */
  readonly topicLevels: number;
  /** Bytes of a token that is presented; at most {@link MAX_TOKEN_BYTES}. */
  readonly tokenBytes: number;
  /** Tokens and certificates whose verification is remembered. */
  readonly verifiedTokens: number;
  readonly verifiedCertificates: number;
  /** Tokens kept from authz-info. */
  readonly keptTokens: number;
  /** How long a CONNECT waits for keys that are being fetched. */
  readonly refreshSeconds: number;
  /** Log lines of refusals in a second, in all and of one reason and address; what is left out is counted in one line. */
  readonly refusalLines: number;
  readonly refusalLinesPerAddress: number;
}

/** What applies where a gate is told nothing else. */
export const defaultLimits: GateLimits = {
  strangers: 100,
  strangersPerAddress: 20,
  strangerSeconds: 30,
  strangerTokensPerMinute: 60,
  willBytes: 8192,
  subscriptions: 1000,
  topicLevels: MAX_TOPIC_LEVELS,
  tokenBytes: MAX_TOKEN_BYTES,
  verifiedTokens: 4096,
  verifiedCertificates: 4096,
  keptTokens: 10_000,
  refreshSeconds: 5,
  refusalLines: 100,
  refusalLinesPerAddress: 10,
};
