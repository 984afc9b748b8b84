/**
 * Who is asking: a client proves itself by its device certificate (RFC 8705, section 2), by an assertion that its key signed
 * (RFC 7523, and the same as a CWT), or by its secret (RFC 6749, section 2.3.1). The key of an assertion is that of a good
 * certificate or one that is registered for the client; what an assertion brings along itself is not looked at.
 *
 * Refuses more than one way in a request (RFC 6749, section 2.3), and whoever failed too often. A client that does not exist
 * and one that fails to prove itself cost the same and hear the same; only the log tells them apart.
 */
import type { TLSSocket } from "node:tls";
import { readAssertion, type Assertion, type AssertionClaims } from "../../../shared/assertion.ts";
import type { PublicKey } from "../../../shared/cose-key.ts";
import type { DeviceCertificate } from "../../../shared/device-certificate.ts";
import { isCallerName } from "../../../shared/names.ts";
import { refuse } from "../../../shared/refusal.ts";
import { assertUnspent } from "../../registry/assertions.ts";
import { findCertificate, liveCertificateKeys } from "../../registry/certificates.ts";
import { findClient, type Client } from "../../registry/clients.ts";
import { liveKeys } from "../../registry/public-keys.ts";
import { checkInVain, checkSecret } from "../../registry/secrets.ts";
import { assertMeant, findSigner, type NamedKey } from "./assertion-auth.ts";
import { readBasic } from "../basic.ts";
import { readFormText } from "../body.ts";
import type { AuthorityContext } from "../context.ts";
import { asKnown } from "../refusal-audit.ts";
import { hasPeerCertificate, readPeerCertificate } from "../peer-certificate.ts";

/** What a request brings to prove who it is from. */
export interface Evidence {
  readonly socket: TLSSocket;
  /** The Authorization header. */
  readonly authorization?: string | undefined;
  readonly clientId?: string | undefined;
  readonly clientSecret?: string | undefined;
  /** CWT bytes or JWT text. */
  readonly assertion?: Uint8Array | string | undefined;
}

/** A client that proved itself, and with what. */
export interface Asker {
  readonly client: Client;
  readonly method: "certificate" | "assertion" | "secret";
  /** The key it holds: that of the certificate, or the one that signed the assertion. */
  readonly key?: PublicKey;
  readonly certificate?: DeviceCertificate;
  /** To be spent in the transaction that acts on it. */
  readonly assertion?: AssertionClaims;
}

/** The one way in which a request proves itself, read and not yet checked. `user` is who it says that it is from. */
export type Claimed =
  | { readonly way: "certificate"; readonly clientId: string | undefined }
  | { readonly way: "assertion"; readonly user: string; readonly assertion: Assertion }
  | { readonly way: "secret"; readonly user: string; readonly secret: string };

/**
 * Finds out who is asking. Throws `credential.*`, `client.*`, `secret.*`, `assertion.*`, `certificate.*`,
 * `request.malformed` or `rate.limited`.
 */
export function authenticateClient(context: AuthorityContext, evidence: Evidence, nowSeconds: number): Asker {
  return proveSomeone(context, evidence, nowSeconds, (claimed) => proveClient(context, evidence, claimed, nowSeconds));
}

/** Reads who a request says that it is from, and has that proven, unless there were too many failures. */
export function proveSomeone<T>(
  context: AuthorityContext,
  evidence: Evidence,
  nowSeconds: number,
  prove: (claimed: Claimed) => T,
): T {
  const claimed = readClaimed(evidence);
  // there is nothing to guess about a certificate
  if (claimed.way === "certificate") return prove(claimed);
  const attempt = { address: evidence.socket.remoteAddress, claimed: claimed.user };
  return context.failures.guard(attempt, nowSeconds * 1000, () => prove(claimed));
}

/** Has a client prove itself. Says nothing of whether it is live, but that one that is disabled signs nothing. */
export function proveClient(
  context: AuthorityContext,
  { socket }: Evidence,
  claimed: Claimed,
  nowSeconds: number,
): Asker {
  if (claimed.way === "certificate") return byDeviceCertificate(context, socket, claimed.clientId, nowSeconds);
  const { registry } = context;
  const client = findClient(registry, claimed.user);
  const owner = client && { project: client.project, client: client.name };
  if (claimed.way === "secret") {
    if (owner === undefined) checkInVain(claimed.secret);
    else checkSecret(registry, owner, claimed.secret);
    return { client: client ?? unknown(claimed), method: "secret" };
  }
  const { assertion } = claimed;
  assertMeant(context, assertion.claims, nowSeconds);
  const keys = owner && [
    ...liveKeys(registry, owner),
    ...liveCertificateKeys(registry, claimed.user, nowSeconds).map(toUnnamed),
  ];
  const key = findSigner(assertion, keys ?? []);
  if (client === undefined) return unknown(claimed);
  if (!client.enabled) return refuse("client.disabled", client.id);
  if (key === undefined) return refuse("assertion.signature", client.id);
  assertUnspent(registry, client.id, assertion.claims.id);
  return { client, method: "assertion", key, assertion: assertion.claims };
}

/**
 * Throws unless the client is enabled and the certificate it proved itself with is one that was recorded for it and not
 * taken back. Asked at each request, because a connection outlives such news.
 */
export function assertLive(context: AuthorityContext, { client, certificate }: Asker): void {
  asKnown({ actor: client.id, subject: client.id }, () => {
    if (!client.enabled) refuse("client.disabled", client.id);
    if (certificate === undefined) return;
    const recorded = findCertificate(context.registry, certificate.serial);
    if (recorded?.clientId !== client.id) refuse("certificate.unknown", certificate.serial);
    if (recorded.revokedAt !== null) refuse("certificate.revoked", recorded.serial);
  });
}

/** What operators read of a name that nobody has: it goes into the log for good, and may be a secret in the wrong place. */
export function sayClaimed(user: string): string {
  return isCallerName(user) ? user : `a name of ${user.length} characters that is no id`;
}

/** Exactly one way, with whom it is said to prove. */
function readClaimed({ socket, authorization, clientId, clientSecret, assertion }: Evidence): Claimed {
  const byCertificate = hasPeerCertificate(socket);
  const ways = [byCertificate, authorization, clientSecret, assertion];
  const tried = ways.filter((way) => way !== undefined && way !== false).length;
  if (tried === 0) refuse("credential.missing");
  if (tried > 1) refuse("request.malformed", "more than one way of client authentication");
  if (byCertificate) return { way: "certificate", clientId };
  if (assertion !== undefined) {
    const read = readAssertion(assertion);
    const { iss, sub } = read.claims;
    if (iss !== sub) refuse("assertion.subject", "iss and sub differ");
    if (clientId !== undefined && clientId !== sub) refuse("assertion.subject", "client_id is another");
    return { way: "assertion", user: sub, assertion: read };
  }
  if (authorization === undefined) {
    if (clientId === undefined) return refuse("credential.malformed", "client_secret without client_id");
    return { way: "secret", user: clientId, secret: clientSecret ?? "" };
  }
  const { user, password } = readOauthBasic(authorization);
  if (clientId !== undefined && clientId !== user) {
    refuse("request.malformed", "client_id is not that of the Authorization header");
  }
  return { way: "secret", user, secret: password };
}

function byDeviceCertificate(
  context: AuthorityContext,
  socket: TLSSocket,
  clientId: string | undefined,
  nowSeconds: number,
): Asker {
  const certificate = readPeerCertificate(socket, context.ca, nowSeconds);
  if (clientId !== undefined && clientId !== certificate.clientId) {
    refuse("certificate.identity", "client_id is not that of the certificate");
  }
  const client = findClient(context.registry, certificate.clientId);
  if (client === undefined) return refuse("client.unknown", certificate.clientId);
  return { client, method: "certificate", key: certificate.key, certificate };
}

/** User and password are form-encoded before they are joined (RFC 6749, section 2.3.1 and appendix B). */
function readOauthBasic(authorization: string): { user: string; password: string } {
  const { user, password } = readBasic(authorization);
  try {
    return { user: readFormText(user), password: readFormText(password) };
  } catch {
    return refuse("credential.malformed", "not form-encoded");
  }
}

function toUnnamed(key: PublicKey): NamedKey {
  return { key, kid: null };
}

function unknown({ user }: { readonly user: string }): never {
  return refuse("client.unknown", sayClaimed(user));
}
