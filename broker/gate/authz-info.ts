/**
 * The topic `authz-info`: a client puts a token there, for a later connection with its key alone (RFC 9431, section
 * 2.2.2) or to renew the session it is in (RFC 9202, section 4).
 *
 * Anybody over TLS may publish there, so nothing is kept that does not verify, one token a key, a bounded number. Of two
 * tokens for a key the one issued later stays, so that nobody puts an older one back.
 */
import type { Confirmation } from "../../shared/claims.ts";
import type { DeviceCertificate } from "../../shared/device-certificate.ts";
import { Refusal, refuse } from "../../shared/refusal.ts";
import type { VerifiedToken } from "../../shared/token.ts";
import type { Trust } from "../trust/trust.ts";
import { BoundedMap } from "./bounded-map.ts";
import { assertNotTakenBack } from "./liveness.ts";
import type { Session } from "./session.ts";
import type { Tokens } from "./tokens.ts";

/** The tokens that were put on the topic. */
export interface AuthzInfo {
  /** Verifies and keeps a bound token; throws as a CONNECT with it would. */
  put(presented: Uint8Array, nowSeconds: number): VerifiedToken;
  /** The token that renews this session; throws when it is another's or bound to another key. */
  renewal(session: Session, presented: Uint8Array, nowSeconds: number): VerifiedToken;
  /** The token last put for the key of this certificate, if it would still be accepted. */
  find(certificate: DeviceCertificate, nowSeconds: number): VerifiedToken | undefined;
}

interface Kept {
  readonly presented: Uint8Array;
  readonly issuedAt: number;
}

/** Opens the store for at most `capacity` tokens. */
export function openAuthzInfo(trust: Trust, tokens: Tokens, capacity: number): AuthzInfo {
  const kept = new BoundedMap<string, Kept>(capacity);

  /** What is kept, if it would still be accepted; else it is kept no longer. */
  const read = (name: string, subject: string, nowSeconds: number): VerifiedToken | undefined => {
    const known = kept.get(name);
    if (known === undefined) return undefined;
    try {
      const token = tokens.verify(known.presented, nowSeconds);
      assertNotTakenBack(trust, { subject, token }, nowSeconds);
      return token;
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      kept.delete(name);
      return undefined;
    }
  };
  const keep = (presented: Uint8Array, token: VerifiedToken, confirmation: Confirmation, nowSeconds: number): void => {
    const { sub: subject, iat } = token.claims;
    const name = nameOf(subject, confirmation);
    // one that was taken back is in nobody's way
    if ((kept.get(name)?.issuedAt ?? 0) > iat && read(name, subject, nowSeconds) !== undefined) return;
    kept.set(name, { presented: Uint8Array.from(presented), issuedAt: iat });
  };

  return {
    put(presented, nowSeconds) {
      const token = tokens.verify(presented, nowSeconds);
      const confirmation = token.claims.cnf ?? refuse("token.unbound");
      assertNotTakenBack(trust, { subject: token.claims.sub, token }, nowSeconds);
      keep(presented, token, confirmation, nowSeconds);
      return token;
    },
    renewal(session, presented, nowSeconds) {
      const token = tokens.verify(presented, nowSeconds);
      assertBinding(trust, token);
      const { certificate } = session.admission;
      assertNotTakenBack(trust, { subject: token.claims.sub, token, certificate }, nowSeconds);
      if (token.claims.sub !== session.admission.subject) refuse("token.subject", "of another client");
      if (!session.holds(token.claims.cnf)) refuse("token.key-changed");
      if (token.claims.cnf !== undefined) keep(presented, token, token.claims.cnf, nowSeconds);
      return token;
    },
    find(certificate, nowSeconds) {
      const { clientId, key, sha256 } = certificate;
      const names = [nameOf(clientId, { kind: "key", key }), nameOf(clientId, { kind: "certificate", sha256 })];
      for (const name of names) {
        const token = read(name, clientId, nowSeconds);
        if (token !== undefined) return token;
      }
      return undefined;
    },
  };
}

/** Throws `token.unbound` for a token without a key, unless its api lets bearer tokens in. */
export function assertBinding(trust: Trust, token: VerifiedToken): void {
  if (token.claims.cnf === undefined && trust.api(token.claims.aud)?.bearer !== true) refuse("token.unbound");
}

/** With the subject, so that a token of one client never takes the place of another's. */
function nameOf(subject: string, confirmation: Confirmation): string {
  if (confirmation.kind === "thumbprint") return refuse("proof.key", "bound by DPoP, which no connection proves");
  if (confirmation.kind === "key") return `key ${confirmation.key.thumbprint} ${subject}`;
  return `x5t ${Buffer.from(confirmation.sha256).toString("hex")} ${subject}`;
}
