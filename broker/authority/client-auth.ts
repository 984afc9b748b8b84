/**
 * Who is asking: a client proves itself by its device certificate (RFC 8705, section 2), by an assertion that its key signed
 * (RFC 7523, and the same as a CWT), or by its secret (RFC 6749, section 2.3.1).
 *
 * Refuses more than one way in a request (RFC 6749, section 2.3). A client that does not exist and one that fails to prove
 * itself cost the same and hear the same; only the log tells them apart.
 */
import type { TLSSocket } from "node:tls";
import { readAssertion, type AssertionClaims } from "../../shared/assertion.ts";
import { readPublicKey, type PublicKey } from "../../shared/cose-key.ts";
import type { DeviceCertificate } from "../../shared/device-certificate.ts";
import { refuse } from "../../shared/refusal.ts";
import { findCertificate, liveCertificateKeys } from "../registry/certificates.ts";
import { checkClientSecret, findClient, type Client } from "../registry/clients.ts";
import { readBasic } from "./basic.ts";
import { readFormText } from "./body.ts";
import { tokenPaths, type AuthorityContext } from "./context.ts";
import { hasPeerCertificate, readPeerCertificate } from "./peer-certificate.ts";
import { generatePrivateKey } from "../../shared/es256.ts";

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

/** How far ahead of ours a client's clock may be when it says when it signed. */
const skewSeconds = 60;
/** Stands in for the key of a client that has none, so that the answer takes as long. */
const decoy = readPublicKey(generatePrivateKey());

/** Finds out who is asking. Throws `credential.*`, `client.*`, `assertion.*`, `certificate.*` or `request.malformed`. */
export function authenticateClient(context: AuthorityContext, evidence: Evidence, nowSeconds: number): Asker {
  const byCertificate = hasPeerCertificate(evidence.socket);
  const ways = [byCertificate, evidence.authorization, evidence.clientSecret, evidence.assertion];
  const tried = ways.filter((way) => way !== undefined && way !== false).length;
  if (tried === 0) refuse("credential.missing");
  if (tried > 1) refuse("request.malformed", "more than one way of client authentication");
  if (byCertificate) return byDeviceCertificate(context, evidence, nowSeconds);
  if (evidence.assertion !== undefined) return byAssertion(context, evidence.assertion, evidence.clientId, nowSeconds);
  return bySecret(context, evidence);
}

/**
 * Throws unless the client is enabled and the certificate it proved itself with is one that was recorded for it and not
 * taken back. Asked at each request, because a connection outlives such news.
 */
export function assertLive(context: AuthorityContext, asker: Asker): void {
  if (!asker.client.enabled) refuse("client.disabled", asker.client.id);
  if (asker.certificate === undefined) return;
  const recorded = findCertificate(context.registry, asker.certificate.serial);
  if (recorded?.clientId !== asker.client.id) return refuse("certificate.unknown", asker.certificate.serial);
  if (recorded.revokedAt !== null) refuse("certificate.revoked", recorded.serial);
}

function byDeviceCertificate(context: AuthorityContext, evidence: Evidence, nowSeconds: number): Asker {
  const certificate = readPeerCertificate(evidence.socket, context.ca, nowSeconds);
  if (evidence.clientId !== undefined && evidence.clientId !== certificate.clientId) {
    refuse("certificate.identity", "client_id is not that of the certificate");
  }
  const client = findClient(context.registry, certificate.clientId);
  if (client === undefined) return refuse("client.unknown", certificate.clientId);
  return { client, method: "certificate", key: certificate.key, certificate };
}

function byAssertion(
  context: AuthorityContext,
  presented: Uint8Array | string,
  clientId: string | undefined,
  nowSeconds: number,
): Asker {
  const assertion = readAssertion(presented);
  const { claims } = assertion;
  if (claims.iss !== claims.sub) refuse("assertion.subject", "iss and sub differ");
  if (clientId !== undefined && clientId !== claims.sub) refuse("assertion.subject", "client_id is another");
  const audiences = [context.issuer, ...tokenPaths.map((path) => context.issuer + path)];
  if (!audiences.includes(claims.aud)) refuse("assertion.audience");
  if (claims.exp <= nowSeconds) refuse("assertion.expired");
  if (claims.exp > nowSeconds + context.limits.assertionSeconds) refuse("assertion.lifetime", "exp is too far ahead");
  if ((claims.iat ?? 0) > nowSeconds + skewSeconds) refuse("assertion.lifetime", "iat is in the future");
  const client = findClient(context.registry, claims.sub);
  const keys = client === undefined ? [] : liveCertificateKeys(context.registry, client.id, nowSeconds);
  const key = (keys.length === 0 ? [decoy] : keys).find((candidate) => assertion.isSignedBy(candidate));
  if (client === undefined) return refuse("client.unknown", claims.sub.slice(0, 100));
  // a client that is disabled has no live keys to verify with
  if (!client.enabled) return refuse("client.disabled", client.id);
  if (key === undefined) return refuse("assertion.signature", client.id);
  return { client, method: "assertion", key, assertion: claims };
}

function bySecret(context: AuthorityContext, { authorization, clientId, clientSecret }: Evidence): Asker {
  const given =
    authorization === undefined ? { user: clientId, password: clientSecret ?? "" } : readOauthBasic(authorization);
  if (given.user === undefined) return refuse("credential.malformed", "client_secret without client_id");
  if (clientId !== undefined && clientId !== given.user) {
    return refuse("request.malformed", "client_id is not that of the Authorization header");
  }
  const isRight = checkClientSecret(context.registry, given.user, given.password);
  const client = findClient(context.registry, given.user);
  if (client === undefined) return refuse("client.unknown", given.user.slice(0, 100));
  if (!isRight) return refuse("client.secret", client.id);
  return { client, method: "secret" };
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
