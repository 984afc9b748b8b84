/**
 * What allowed a will: asked again when it is due, and kept beside a stored will, so that after a crash it is decided by the
 * rule by which it would have been decided before. It outlives the token (RFC 9431, section 5) and nothing that was taken back.
 */
import type { Logger } from "pino";
import { refuse } from "../../shared/refusal.ts";
import type { Grant } from "../../shared/scope.ts";
import type { Trust } from "../trust/trust.ts";
import { effectiveGrants, roleGrants } from "./effective-grants.ts";
import { assertNotTakenBack, whyTakenBack } from "./liveness.ts";
import type { Held } from "./liveness.ts";
import { refusalToPublish } from "./session.ts";
import type { Session } from "./session.ts";

/** Plain data, to be written as JSON. What an earlier release did not write is absent. */
export interface WillGrounds {
  readonly kind: "token" | "roles" | "anonymous";
  readonly subject: string;
  readonly grants: readonly Grant[];
  /** Up to which number the tokens of the client had been taken back by then. */
  readonly tokensAfter?: number;
  /** Of the token. `cti` in hex. */
  readonly audience?: string;
  readonly kid?: string;
  readonly hashes?: readonly string[];
  readonly iat?: number;
  readonly cti?: string;
  /** Of the certificate. */
  readonly serial?: string;
  readonly authority?: string;
}

/** What allowed the will of a session, which is decided at CONNECT. */
export function readGrounds(trust: Trust, { admission }: Session): WillGrounds {
  const { kind, subject, grants, token, certificate } = admission;
  return {
    kind,
    subject,
    grants,
    tokensAfter: trust.client(subject)?.tokensAfter ?? 0,
    ...(token && {
      audience: token.claims.aud,
      kid: token.kid,
      hashes: token.hashes,
      iat: token.claims.iat,
      cti: Buffer.from(token.claims.id).toString("hex"),
    }),
    ...(certificate && { serial: certificate.serial, authority: certificate.authority }),
  };
}

/** Throws unless the will of a session of this process may be published now. A list that is late keeps none back. */
export function assertMayFire(trust: Trust, session: Session, topic: string): void {
  if (!session.mayFireWill()) refuse("will.topic", "taken back");
  const grounds = readGrounds(trust, session);
  for (const held of heldOf(trust, grounds)) {
    const reason = whyTakenBack(trust, held);
    if (reason !== null) refuse(reason, "of a will");
  }
  assertGrounded(trust, grounds, topic);
}

/** Throws unless a will that was stored on these grounds may be published now. */
export function assertMayFireStored(trust: Trust, grounds: WillGrounds, topic: string, nowSeconds: number): void {
  for (const held of heldOf(trust, grounds)) assertNotTakenBack(trust, held, nowSeconds);
  // the client was disabled since, and enabled again
  if ((trust.client(grounds.subject)?.tokensAfter ?? 0) > (grounds.tokensAfter ?? 0)) refuse("client.disabled");
  assertGrounded(trust, grounds, topic);
}

/** The will of a live session is not published any more, neither by this process nor by one that finds it stored. */
export function takeBackWill({ connection }: Session, log: Logger): void {
  // what a broker that is connecting the client is still to store, and what it has stored
  connection._will = connection.will = null;
  const { id, broker } = connection;
  broker.persistence.delWill({ id, brokerId: broker.id }).catch((error: unknown) => {
    log.error({ err: error, clientId: id }, "a stored will was not removed");
  });
}

/** The rest of what allowed it: key, api and grants. */
function assertGrounded(trust: Trust, grounds: WillGrounds, topic: string): void {
  const { kind, subject, audience, kid } = grounds;
  if (kid !== undefined && trust.keyFor(kid) === undefined) refuse("token.key-unknown", "of a will");
  if (audience !== undefined && trust.api(audience)?.kind !== "mqtt") refuse("token.audience", "of a will");
  const grants =
    kind === "roles"
      ? (roleGrants(trust, subject) ?? [])
      : effectiveGrants(trust, { grants: grounds.grants, claims: { sub: subject, aud: audience ?? "" } });
  const reason = refusalToPublish(grants, topic);
  if (reason !== null) refuse(reason === "publish.topic" ? "will.topic" : reason, "of a will");
}

/**
 * What it stands on. Where it is not written when the token was issued, it may be as old as any; where it is not written
 * whose certificate it was, it may be that of each authority, and is all of them.
 */
function heldOf(trust: Trust, grounds: WillGrounds): Held[] {
  const { subject, hashes, iat, cti, serial, authority } = grounds;
  const token = hashes && { hashes, claims: { iat: iat ?? 0, id: Buffer.from(cti ?? "", "hex") } };
  if (serial === undefined) return [{ subject, token }];
  const authorities = authority === undefined ? trust.deviceAuthorities.map(({ id }) => id) : [authority];
  if (authorities.length === 0) refuse("certificate.untrusted", "of a will");
  return authorities.map((one) => ({ subject, token, certificate: { authority: one, serial } }));
}
