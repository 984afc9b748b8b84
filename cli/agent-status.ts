/** What an agent's folder says: who it is, until when its certificate is good, which tokens it has cached. */
import { X509Certificate } from "node:crypto";
import { openServerClock } from "../agent/clock.ts";
import { readIdentity, readTokens, type AgentApi, type AgentBrokers } from "../agent/state.ts";

/** What a folder says. Times in seconds. */
export interface AgentStatus {
  readonly dir: string;
  readonly clientId: string;
  readonly authority: string;
  readonly issuer: string;
  readonly brokers: AgentBrokers;
  readonly apis: readonly AgentApi[];
  /** Seconds. */
  readonly certificate: { readonly serial: string; readonly expiresAt: number };
  /** Those that are still good by the authority's clock, as far as it is known. */
  readonly tokens: readonly { readonly audience: string; readonly expiresAt: number }[];
}

/** Throws `not-enrolled` when there is no agent. */
export function describeAgent(dir: string, nowSeconds: number): AgentStatus {
  const { enrolment, certificatePem } = readIdentity(dir);
  const { clientId, authority, issuer, brokers, apis } = enrolment;
  const certificate = new X509Certificate(certificatePem);
  const { time, tokens } = readTokens(dir);
  const clock = openServerClock(time, { wallMs: () => nowSeconds * 1000, monotonicMs: () => 0 });
  return {
    dir,
    clientId,
    authority,
    issuer,
    brokers,
    apis,
    certificate: {
      serial: certificate.serialNumber.toLowerCase(),
      expiresAt: Date.parse(certificate.validTo) / 1000,
    },
    tokens: Object.entries(tokens)
      .map(([audience, { expiresAtSeconds }]) => ({ audience, expiresAt: expiresAtSeconds }))
      .filter(({ expiresAt }) => expiresAt > clock.nowSeconds()),
  };
}
