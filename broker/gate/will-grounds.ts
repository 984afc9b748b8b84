/**
 * What allowed a will: kept beside a stored will, so that after a crash it is decided by the rule by which it would have been
 * decided before. It outlives the token (RFC 9431, section 5) and nothing that was taken back.
 */
import { refuse } from "../../shared/refusal.ts";
import type { Grant } from "../../shared/scope.ts";
import type { Trust } from "../trust/trust.ts";
import { assertLive } from "./authz-info.ts";
import { refusalToPublish } from "./session.ts";
import type { Session } from "./session.ts";

/** Plain data, to be written as JSON. */
export interface WillGrounds {
  readonly kind: "token" | "roles" | "anonymous";
  readonly subject: string;
  readonly grants: readonly Grant[];
  /** Of the token. */
  readonly audience?: string;
  readonly kid?: string;
  readonly hashes?: readonly string[];
  /** Of the certificate. */
  readonly serial?: string;
}

/** What allowed the will of a session, which is decided at CONNECT. */
export function readGrounds({ admission }: Session): WillGrounds {
  const { kind, subject, grants, token, certificate } = admission;
  return {
    kind,
    subject,
    grants,
    ...(token && { audience: token.claims.aud, kid: token.kid, hashes: token.hashes }),
    ...(certificate && { serial: certificate.serial }),
  };
}

/** Throws unless a will that was stored on these grounds may be published now. */
export function assertMayFire(trust: Trust, grounds: WillGrounds, topic: string): void {
  const { kind, subject, audience, kid } = grounds;
  assertLive(trust, subject);
  if (kid !== undefined && trust.keyFor(kid) === undefined) refuse("token.key-unknown", "of a stored will");
  if (audience !== undefined && trust.api(audience)?.kind !== "mqtt") refuse("token.audience", "of a stored will");
  const grants = kind === "roles" ? (trust.client(subject)?.grants ?? []) : grounds.grants;
  const reason = refusalToPublish(grants, topic);
  if (reason !== null) refuse(reason === "publish.topic" ? "will.topic" : reason, "stored will");
}
