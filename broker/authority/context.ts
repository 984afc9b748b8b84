/**
 * What every route of the authority is given: the registry it speaks for, its name, its keys and its limits.
 */
import type { Logger } from "pino";
import type { Registry } from "../registry/registry.ts";
import type { AuthFailures } from "./oauth/auth-failures.ts";
import type { CertificateAuthority } from "./certificates/certificates.ts";
import type { Quota } from "./oauth/quota.ts";

/** What a scrape gives: a text and what it is. */
export type ReadMetrics = () => Promise<{ readonly contentType: string; readonly text: string }>;

/** Where the token endpoint answers; metadata names the first. */
export const tokenPaths = ["/token", "/get-access-token"] as const;

/** Where the list of revoked tokens is. */
export const trlPath = "/revoke/trl";

/** Where the brokers are, as clients are told; null where a listener is off. Read at each request. */
export interface BrokerAddresses {
  mqtts: string | null;
  wss: string | null;
  mqtt: string | null;
}

/** Bounds on what a stranger may cost. */
export interface AuthorityLimits {
  /** Size of an HTTP body. */
  readonly bodyBytes: number;
  /** Size of a certification request in DER. */
  readonly csrBytes: number;
  /** Size of a token; what brokers accept at most. */
  readonly tokenBytes: number;
  /** How far ahead a client assertion may expire. */
  readonly assertionSeconds: number;
  /** Validity of a device certificate. */
  readonly certificateDays: number;
  /** TCP connections at a time. */
  readonly connections: number;
  /** From the first byte of a request to the last. */
  readonly requestMs: number;
  /** A connection on which nothing moves any more, in either direction; longer than anybody is held for news. */
  readonly silenceMs: number;
  /** Tokens that one client gets in a minute. */
  readonly tokensPerMinute: number;
  /** How often somebody at one address may fail in a minute to prove that they are one client or api. */
  readonly clientFailuresPerMinute: number;
  /** The same for all that is tried from one address. */
  readonly addressFailuresPerMinute: number;
  /** How often a password or a code of one account may be wrong in a quarter of an hour. */
  readonly accountFailures: number;
  /** The same for all accounts that are tried from one address. */
  readonly accountFailuresPerAddress: number;
  /** How often accounts and codes may be asked for from one address in an hour. */
  readonly accountWishesPerHour: number;
  /** Mails of one kind to one address in an hour. */
  readonly mailsPerHour: number;
  /** Hashes of passwords that wait for those that are made. */
  readonly hashesWaiting: number;
}

/** What applies where an authority is told nothing else. */
export const defaultLimits: AuthorityLimits = {
  bodyBytes: 16 * 1024,
  csrBytes: 4 * 1024,
  tokenBytes: 4 * 1024,
  assertionSeconds: 300,
  certificateDays: 90,
  connections: 10_000,
  requestMs: 20_000,
  silenceMs: 120_000,
  tokensPerMinute: 600,
  clientFailuresPerMinute: 20,
  addressFailuresPerMinute: 1_000,
  accountFailures: 10,
  accountFailuresPerAddress: 50,
  accountWishesPerHour: 20,
  mailsPerHour: 3,
  hashesWaiting: 32,
};

/** A mail to one address; the text is plain. */
export interface Mail {
  readonly to: string;
  readonly subject: string;
  readonly text: string;
}

/** Takes a mail and sends it in its own time; never throws and never rejects. */
export type SendMail = (mail: Mail) => void;

/** Who may register as a developer: anybody, whoever was invited, nobody. */
export type Registration = "open" | "invite" | "closed";

/** How the accounts of developers are kept. */
export interface AccountSettings {
  readonly registration: Registration;
  readonly sendMail: SendMail;
  /** Whether that reaches anybody but the log. */
  readonly isMailed?: boolean | undefined;
}

/** What the routes share. */
export interface AuthorityContext {
  readonly registry: Registry;
  /** The `iss` of every token: the origin under which the authority is reached, without a slash at the end. */
  readonly issuer: string;
  readonly ca: CertificateAuthority;
  readonly brokers: BrokerAddresses;
  readonly adminKey: string;
  readonly accounts: AccountSettings;
  readonly log: Logger;
  readonly limits: AuthorityLimits;
  /** What each client gets. */
  readonly quota: Quota;
  /** Attempts of clients and apis that failed. */
  readonly failures: AuthFailures;
  /** What `/metrics` says; there is none without. */
  readonly metrics: ReadMetrics | undefined;
}
