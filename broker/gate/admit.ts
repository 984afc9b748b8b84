/**
 * Admits a CONNECT, or refuses it: the one place where a connection becomes a session (RFC 9431, sections 2.2.2, 2.2.5,
 * 2.3 and 6.1; docs/protocol.md, section 7).
 *
 * Read `admit` from top to bottom: every line assumes what the lines above have established. It is synchronous, does no
 * I/O and changes nothing; whoever calls it opens the session.
 */
import { randomBytes } from "node:crypto";
import { samePublicKey } from "../../shared/cose-key.ts";
import type { PublicKey } from "../../shared/cose-key.ts";
import type { DeviceCertificate } from "../../shared/device-certificate.ts";
import { isClientIdOf } from "../../shared/names.ts";
import { exporterValue, verifyProof } from "../../shared/proof.ts";
import { refuse } from "../../shared/refusal.ts";
import type { VerifiedToken } from "../../shared/token.ts";
import type { Trust } from "../trust/trust.ts";
import { assertBinding } from "./authz-info.ts";
import type { AuthzInfo } from "./authz-info.ts";
import type { Certificates } from "./certificates.ts";
import type { Peer } from "./connection.ts";
import { readCredential } from "./credential.ts";
import type { Credential } from "./credential.ts";
import { admittedGrants } from "./effective-grants.ts";
import type { GateLimits } from "./limits.ts";
import { assertNotTakenBack } from "./liveness.ts";
import { asProven } from "./proven.ts";
import { refusalToPublish } from "./session.ts";
import type { Admission } from "./session.ts";
import type { Sessions } from "./sessions.ts";
import type { Tokens } from "./tokens.ts";

/** What a CONNECT says, and what the transport knows of who says it. */
export interface Connect {
  readonly clientId: string;
  readonly clean: boolean;
  readonly username: string | undefined;
  readonly password: Uint8Array | undefined;
  readonly will: { readonly topic: string; readonly payload?: Uint8Array | string } | undefined;
  readonly peer: Peer;
}

/** What is asked on the way. */
export interface Desk {
  readonly trust: Trust;
  readonly tokens: Tokens;
  readonly certificates: Certificates;
  readonly authzInfo: AuthzInfo;
  readonly sessions: Sessions;
  readonly limits: GateLimits;
  readonly nowSeconds: () => number;
}

/** Decides on a CONNECT; throws a Refusal. */
export function admit(connect: Connect, desk: Desk): Admission {
  const { trust, tokens, certificates, authzInfo } = desk;
  const { peer, will } = connect;
  const now = desk.nowSeconds();

  // What is presented, by size and form alone.
  const { tokenBytes, topicLevels } = desk.limits;
  const hasCertificate = peer.certificate !== undefined;
  const credential = readCredential(connect.username, connect.password, hasCertificate, tokenBytes);

  // Who has not heard for too long what was taken back admits nobody new, strangers neither.
  if (trust.isStale) refuse("trust.stale");
  if (credential.kind === "anonymous") return admitStranger(connect, desk, now);

  // A certificate must be good even where something else would do: a bad one is never overlooked.
  const certificate = peer.certificate && certificates.verify(peer.certificate, now);

  // The token: signed by the issuer, for an api of ours, not expired, bound to a key unless the api says otherwise.
  // A certificate alone stands for the token that was last put on authz-info for its key.
  const token = "token" in credential ? tokens.verify(credential.token, now) : authzInfo.find(certificate!, now);
  if (token !== undefined) assertBinding(trust, token);

  // Possession of the key that the token is bound to: a signature over this TLS connection, or the handshake itself.
  const key = provePossession(credential, token, certificate, peer);

  // Whose connection it is. Where there are two names they are the same.
  const subject = token?.claims.sub ?? certificate!.clientId;
  if (certificate !== undefined && certificate.clientId !== subject) {
    refuse("token.subject", "token and certificate name different clients");
  }

  // Whoever is refused from here on has shown who they are, and the record of refusals says so.
  return asProven(subject, () => {
    // Is all of it still live: the client, the token, the certificate. Nothing that was taken back passes here.
    assertNotTakenBack(trust, { subject, token, certificate }, now);

    // What it may do, and until when: the token's grants as far as the roles allow them, or the roles themselves.
    const grants = admittedGrants(trust, subject, token);
    const expiresAt = Math.min(token?.claims.exp ?? Infinity, certificate?.notAfter ?? Infinity);

    // The MQTT client id is its own, before the broker takes over whoever has that id.
    const clientId = connect.clientId === "" ? inventClientId(subject, connect.clean) : connect.clientId;
    if (!isClientIdOf(clientId, subject)) refuse("client-id.foreign", `not of ${subject}`);

    // The will is a publish to come, and is allowed or refused now.
    const reason = will === undefined ? null : refusalToPublish(grants, will.topic, topicLevels);
    if (reason !== null) refuse(reason === "publish.topic" ? "will.topic" : reason, "will");
    if ((will?.payload?.length ?? 0) > desk.limits.willBytes) refuse("limit.reached", "bytes of a will");

    return {
      kind: token === undefined ? "roles" : "token",
      clientId,
      subject,
      address: peer.address,
      grants,
      expiresAt,
      ...(token && { token }),
      ...(key && { key }),
      ...(certificate && { certificate }),
      ...(will && { will }),
    };
  });
}

/**
 * Checks that the peer holds what the token is bound to, and says which key it has shown to hold. Throws `proof.*`.
 * An unbound token (its api lets bearer tokens in) proves nothing and needs nothing.
 */
function provePossession(
  credential: Credential,
  token: VerifiedToken | undefined,
  certificate: DeviceCertificate | undefined,
  peer: Peer,
): PublicKey | undefined {
  const bound = token?.claims.cnf;
  if (bound?.kind === "thumbprint") return refuse("proof.key", "the token is bound by DPoP, which is for HTTP alone");
  if (bound?.kind === "certificate") {
    if (certificate === undefined) refuse("certificate.missing", "the token is bound to a certificate");
    if (!Buffer.from(certificate.sha256).equals(bound.sha256)) refuse("proof.key", "another certificate");
  }
  const boundKey = bound?.kind === "certificate" ? certificate?.key : bound?.key;

  if (credential.kind === "proof") {
    const key = boundKey ?? refuse("proof.key", "the token names no key to check the signature with");
    verifyProof(key, exporterValue(peer.tls), credential.signature);
    return key;
  }
  if (boundKey !== undefined) {
    if (certificate === undefined) refuse("proof.missing", "a bound token without a proof");
    if (!samePublicKey(boundKey, certificate.key)) refuse("proof.key", "the certificate's key is not the token's");
  }
  return certificate?.key;
}

/** An anonymous client may come over TLS, for a moment, to put a token on authz-info; it owns nothing and leaves nothing. */
function admitStranger(connect: Connect, { sessions, limits }: Desk, now: number): Admission {
  const { peer, will, clientId } = connect;
  if (peer.tls === undefined) refuse("credential.missing");
  if (will !== undefined) refuse("will.topic", "an anonymous client has no will");
  if (sessions.count("stranger", "*") >= limits.strangers) refuse("limit.reached", "anonymous clients");
  if (sessions.count("stranger", peer.address) >= limits.strangersPerAddress) {
    refuse("limit.reached", "anonymous clients of one address");
  }
  const expiresAt = now + limits.strangerSeconds;
  return { kind: "anonymous", clientId, subject: "", address: peer.address, grants: [], expiresAt };
}

/** A client that names itself nothing gets an id of its own, unless it wants to come back to it (MQTT-3.1.3-8). */
function inventClientId(subject: string, clean: boolean): string {
  if (!clean) refuse("client-id.malformed", "no client id for a session that is to be kept");
  return `${subject}:${randomBytes(12).toString("base64url")}`;
}
