/**
 * The agent's folder: its key, its certificate, the authority's certificate, what it is enrolled as, and the token cache.
 *
 * The folder is 0700, every file 0600 (`folder.ts`). `key.pem` is written before the first request goes out; `agent.json` comes last
 * and is what makes the agent enrolled. The private key never leaves the folder.
 */
import { homedir } from "node:os";
import { join } from "node:path";
import type { RememberedTime } from "./clock.ts";
import { AgentFailure } from "./failure.ts";
import { parseJson, readText, writeAtomically } from "./folder.ts";

/** One api this agent may ask tokens for, as the authority told it. */
export interface AgentApi {
  readonly name: string;
  readonly audience: string;
  readonly kind: "mqtt" | "http";
}

/** Where the brokers are; null where a listener is off. */
export interface AgentBrokers {
  readonly mqtts: string | null;
  readonly wss: string | null;
}

/** agent.json: everything about the enrolment that is no secret. */
export interface Enrolment {
  readonly authority: string;
  readonly clientId: string;
  readonly issuer: string;
  readonly brokers: AgentBrokers;
  readonly apis: readonly AgentApi[];
}

/** One entry of tokens.json, by audience. Times are the authority's. */
export interface CachedToken {
  /** base64url of the token's bytes. */
  readonly token: string;
  readonly expiresAtSeconds: number;
  readonly lifetimeSeconds: number;
}

/** tokens.json. */
export interface TokenCache {
  readonly time: RememberedTime | undefined;
  readonly tokens: Readonly<Record<string, CachedToken>>;
}

/** What an enrolled agent holds. */
export interface AgentIdentity {
  readonly enrolment: Enrolment;
  readonly keyPem: string;
  readonly certificatePem: string;
  readonly caPem: string;
}

const files = {
  key: "key.pem",
  certificate: "certificate.pem",
  ca: "ca.pem",
  enrolment: "agent.json",
  tokens: "tokens.json",
} as const;

/** /var/lib/postern-agent as root, else $XDG_DATA_HOME/postern-agent or ~/.local/share/postern-agent. */
export function defaultAgentDir(
  environment: NodeJS.ProcessEnv = process.env,
  userId: number | undefined = process.getuid?.(),
): string {
  if (userId === 0) return "/var/lib/postern-agent";
  const dataHome = environment["XDG_DATA_HOME"];
  const base = dataHome !== undefined && dataHome.startsWith("/") ? dataHome : join(homedir(), ".local", "share");
  return join(base, "postern-agent");
}

/** Reads everything; `not-enrolled` when the folder holds no finished enrolment. */
export function readIdentity(dir: string): AgentIdentity {
  const enrolment = readEnrolment(dir);
  const keyPem = readKey(dir);
  const certificatePem = readCertificate(dir);
  const caPem = readCa(dir);
  if (enrolment === undefined || keyPem === undefined || certificatePem === undefined || caPem === undefined) {
    throw new AgentFailure("not-enrolled", `no enrolled agent in ${dir}; run postern agent enrol with a ticket`);
  }
  return { enrolment, keyPem, certificatePem, caPem };
}

/** agent.json, or undefined before the enrolment is finished. */
export function readEnrolment(dir: string): Enrolment | undefined {
  const text = readText(dir, files.enrolment);
  if (text === undefined) return undefined;
  const value = parseJson(text) as Partial<Enrolment> | undefined;
  if (typeof value?.authority !== "string" || typeof value.clientId !== "string" || !Array.isArray(value.apis)) {
    throw new AgentFailure("not-enrolled", `${join(dir, files.enrolment)} is damaged`);
  }
  return value as Enrolment;
}

/** Writes agent.json, which makes the agent enrolled. */
export function writeEnrolment(dir: string, enrolment: Enrolment): void {
  writeAtomically(dir, files.enrolment, `${JSON.stringify(enrolment, null, 2)}\n`);
}

/** The private key in PKCS#8 PEM, or undefined. */
export function readKey(dir: string): string | undefined {
  return readText(dir, files.key);
}

/** The device certificate in PEM, or undefined. */
export function readCertificate(dir: string): string | undefined {
  return readText(dir, files.certificate);
}

/** The authority's certificate in PEM, or undefined. */
export function readCa(dir: string): string | undefined {
  return readText(dir, files.ca);
}

/** Writes the private key, PKCS#8 PEM. */
export function writeKey(dir: string, pem: string): void {
  writeAtomically(dir, files.key, pem);
}

/** Writes the device certificate, PEM. */
export function writeCertificate(dir: string, pem: string): void {
  writeAtomically(dir, files.certificate, pem);
}

/** Writes the authority's certificate, PEM. */
export function writeCa(dir: string, pem: string): void {
  writeAtomically(dir, files.ca, pem);
}

/** The token cache; a damaged one is an empty one, since tokens can be asked for again. */
export function readTokens(dir: string): TokenCache {
  const value = parseJson(readText(dir, files.tokens) ?? "") as Partial<TokenCache> | undefined;
  const tokens = typeof value?.tokens === "object" && value.tokens !== null ? value.tokens : {};
  const time = typeof value?.time?.lastSeenSeconds === "number" ? value.time : undefined;
  return { time, tokens: Object.fromEntries(Object.entries(tokens).filter(([, entry]) => isCachedToken(entry))) };
}

/** Writes the token cache. */
export function writeTokens(dir: string, cache: TokenCache): void {
  writeAtomically(dir, files.tokens, `${JSON.stringify(cache)}\n`);
}

function isCachedToken(entry: unknown): entry is CachedToken {
  const { token, expiresAtSeconds, lifetimeSeconds } = (entry ?? {}) as Partial<CachedToken>;
  return typeof token === "string" && typeof expiresAtSeconds === "number" && typeof lifetimeSeconds === "number";
}
