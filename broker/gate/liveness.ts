/**
 * Whether what somebody holds was taken back: the one place that says so, for who connects, renews, puts a token on
 * `authz-info` or left a will, and for the sessions that are live when something is taken back.
 *
 * Asks trust alone, in memory. Whether a signature is good, and whether a time is up, is asked where it is read.
 */
import { nameCertificate } from "../../shared/device-certificate.ts";
import type { DeviceCertificate } from "../../shared/device-certificate.ts";
import { refuse } from "../../shared/refusal.ts";
import type { Reason } from "../../shared/refusal.ts";
import type { Trust } from "../trust/trust.ts";

/** What of a token says whether it was taken back. */
export interface TokenHeld {
  readonly hashes: readonly string[];
  readonly claims: { readonly iat: number; readonly id: Uint8Array };
}

/** Who it is, and what it stands on. */
export interface Held {
  readonly subject: string;
  readonly token?: TokenHeld | undefined;
  readonly certificate?: Pick<DeviceCertificate, "authority" | "serial"> | undefined;
}

/** The numbers that an issuer gives tokens: more bytes are not a number of ours. */
const longestNumber = 6;

/**
 * Throws unless the client exists and is enabled (where the gate is told of clients), and neither token nor certificate was
 * taken back; nor is the list on which the certificate would stand too old, where its authority needs one.
 */
export function assertNotTakenBack(trust: Trust, held: Held, nowSeconds: number): void {
  const reason = whyTakenBack(trust, held);
  if (reason !== null) refuse(reason);
  if (held.certificate === undefined) return;
  const authority = trust.deviceAuthorities.find(({ id }) => id === held.certificate!.authority);
  if (authority?.needsList !== true) return;
  if (authority.listEndsAt === undefined) refuse("certificate.list", "no list of its authority");
  if (nowSeconds >= authority.listEndsAt) refuse("certificate.list", "the list of its authority is too old");
}

/**
 * Why a session may not go on, or null. A list that is late ends nobody: it says of nobody that something was taken back, and
 * what is needed to admit is not needed to stay.
 */
export function whyTakenBack(trust: Trust, { subject, token, certificate }: Held): Reason | null {
  const client = trust.client(subject);
  if (trust.knowsClients && client === undefined) return "client.unknown";
  if (trust.knowsClients && client?.enabled !== true) return "client.disabled";
  if (token !== undefined) {
    const { iat, id } = token.claims;
    if (trust.isTokenRevoked(token.hashes)) return "token.revoked";
    if (isNumberedUpTo(id, client?.tokensAfter ?? 0)) return "token.revoked";
    if (iat < trust.tokensSince(projectOf(subject))) return "token.revoked";
  }
  if (certificate !== undefined) {
    if (!trust.deviceAuthorities.some(({ id }) => id === certificate.authority)) return "certificate.untrusted";
    if (trust.isCertificateRevoked(nameCertificate(certificate))) return "certificate.revoked";
  }
  return null;
}

/** The project of a client id; of a name that has none, nothing that a project is called. */
export function projectOf(subject: string): string {
  return subject.slice(0, Math.max(subject.indexOf("."), 0));
}

/** Whether a token is one of those up to a number. One without a number of ours may be any, so it is. */
function isNumberedUpTo(id: Uint8Array, last: number): boolean {
  if (last <= 0) return false;
  if (id.length === 0 || id.length > longestNumber) return true;
  return id.reduce((number, byte) => number * 256 + byte, 0) <= last;
}
