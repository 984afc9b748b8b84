/**
 * Every limit that an operator can set, in one flat list: those of the engine room, of the gate and of the authority. What
 * each is for, and what happens beyond it, is in docs/operating.md.
 */
import { defaultLimits as authorityLimits, type AuthorityLimits } from "./authority/context.ts";
import { defaultLimits as gateLimits } from "./gate/limits.ts";
import type { GateLimits } from "./gate/limits.ts";
import { defaultLimits as engineLimits } from "./mqtt/limits.ts";
import type { EngineLimits } from "./mqtt/limits.ts";

/** The limits of an installation. The unit is the last word of a name; without one it is a number of things. */
export interface PosternLimits extends EngineLimits, GateLimits {
  /** The body of a request to the authority. */
  readonly httpBodyBytes: number;
  /** Of a token: what the authority issues and what the gate takes. */
  readonly tokenBytes: number;
  /** Tokens that one client gets in a minute. */
  readonly tokensPerMinute: number;
  /** Failures of one client or api at one address to prove itself. */
  readonly clientFailuresPerMinute: number;
  /** The same of all at one address. */
  readonly addressFailuresPerMinute: number;
  /** Wrong passwords and codes of one account in a quarter of an hour. */
  readonly accountFailures: number;
  /** The same of all accounts that are tried from one address. */
  readonly accountFailuresPerAddress: number;
  /** Accounts and codes that are asked for from one address, and invitations of one developer. */
  readonly accountWishesPerHour: number;
  /** Mails of one kind to one address. */
  readonly mailsPerHour: number;
  /** Hashes of passwords that wait for their turn. */
  readonly hashesWaiting: number;
}

/** What applies where nothing else is set. */
export const defaultLimits: PosternLimits = {
  ...engineLimits,
  ...gateLimits,
  httpBodyBytes: authorityLimits.bodyBytes,
  tokensPerMinute: authorityLimits.tokensPerMinute,
  clientFailuresPerMinute: authorityLimits.clientFailuresPerMinute,
  addressFailuresPerMinute: authorityLimits.addressFailuresPerMinute,
  accountFailures: authorityLimits.accountFailures,
  accountFailuresPerAddress: authorityLimits.accountFailuresPerAddress,
  accountWishesPerHour: authorityLimits.accountWishesPerHour,
  mailsPerHour: authorityLimits.mailsPerHour,
  hashesWaiting: authorityLimits.hashesWaiting,
};

const million = 1_000_000;
const mebibyte = 1024 * 1024;
const hourMilliseconds = 3_600_000;
const tenYearsSeconds = 10 * 365 * 24 * 3600;

/**
 * The most that each may be set to; the least is 1. Beyond it lies what no machine would hold, what a timer cannot
 * measure, or what both ends have agreed on: 32 levels and 4 KiB are part of the protocol, and can only be lowered.
 */
export const highestLimits: Readonly<Record<keyof PosternLimits, number>> = {
  connections: million,
  connectionsPerAddress: million,
  connectsPerMinute: 100 * million,
  handshakes: 10_000,
  connectMilliseconds: hourMilliseconds,
  connectBytes: 256 * mebibyte,
  packetBytes: 256 * mebibyte,
  filtersPerPacket: million,
  packetsPerSecond: 100 * million,
  receipts: 65_535,

  window: 65_535,
  sendBytes: 1024 * mebibyte,
  holdMilliseconds: hourMilliseconds,
  stallMilliseconds: hourMilliseconds,
  waitingMessages: million,
  waitingBytes: 1024 * mebibyte,

  queueMessages: 100 * million,
  queueBytes: 1024 * 1024 * mebibyte,
  queueSeconds: tenYearsSeconds,
  storeBytes: 1024 * 1024 * mebibyte,
  sessions: 100 * million,
  sessionsPerClient: million,
  sessionSeconds: tenYearsSeconds,
  retainedTopics: 100 * million,
  retainedPerClient: 100 * million,
  retainedBytes: 2 ** 40,
  retainedBytesPerClient: 2 ** 40,

  strangers: million,
  strangersPerAddress: million,
  strangerSeconds: 3600,
  strangerTokensPerMinute: million,
  subscriptions: million,
  willBytes: 256 * mebibyte,
  topicLevels: gateLimits.topicLevels,
  tokenBytes: gateLimits.tokenBytes,
  verifiedTokens: million,
  verifiedCertificates: million,
  keptTokens: million,
  refreshSeconds: 60,
  refusalLines: million,
  refusalLinesPerAddress: million,

  httpBodyBytes: 64 * mebibyte,
  tokensPerMinute: 100 * million,
  clientFailuresPerMinute: million,
  addressFailuresPerMinute: 100 * million,
  accountFailures: million,
  accountFailuresPerAddress: million,
  accountWishesPerHour: million,
  mailsPerHour: million,
  hashesWaiting: 10_000,
};

/** Those of the authority, as it calls them; what is not among them it has of its own. */
export function authorityLimitsOf(limits: PosternLimits): Partial<AuthorityLimits> {
  const { httpBodyBytes: bodyBytes, tokenBytes, tokensPerMinute } = limits;
  const { clientFailuresPerMinute, addressFailuresPerMinute } = limits;
  const { accountFailures, accountFailuresPerAddress, accountWishesPerHour, mailsPerHour, hashesWaiting } = limits;
  return {
    bodyBytes,
    tokenBytes,
    tokensPerMinute,
    clientFailuresPerMinute,
    addressFailuresPerMinute,
    accountFailures,
    accountFailuresPerAddress,
    accountWishesPerHour,
    mailsPerHour,
    hashesWaiting,
  };
}
