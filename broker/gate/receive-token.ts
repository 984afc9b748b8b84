/**
 * A token that arrives on `authz-info` (RFC 9431, section 2.2.2): from a session it renews that session, from an
 * anonymous client it is kept for the key it is bound to. Anonymous clients are counted by address.
 *
 * Renewal is synchronous, so that what a client publishes right after it already has the new rights.
 */
import type { Logger } from "pino";
import { RateLimiterMemory } from "rate-limiter-flexible";
import { Refusal } from "../../shared/refusal.ts";
import type { Desk } from "./admit.ts";
import { admittedGrants } from "./effective-grants.ts";
import { tell } from "./news.ts";
import type { Session } from "./session.ts";
import { dropUncovered } from "./subscriptions.ts";

/** Calls back once: with nothing when the token was taken, else with what was thrown. */
export type ReceiveToken = (session: Session, presented: Uint8Array, done: (error?: unknown) => void) => void;

/** Renewals of one session in a second. */
const renewalsASecond = 10;

/** Opens the receiver, with its count of anonymous tokens. */
export function openReceiver(desk: Desk, log: Logger): ReceiveToken {
  const { trust, sessions, authzInfo, limits, nowSeconds } = desk;
  const limiter = new RateLimiterMemory({ points: limits.strangerTokensPerMinute, duration: 60 });

  const putOfStranger = async (session: Session, presented: Uint8Array): Promise<void> => {
    try {
      await limiter.consume(session.admission.address);
    } catch {
      throw new Refusal("rate.limited", "tokens of one address");
    }
    const token = authzInfo.put(presented, nowSeconds());
    log.info({ sub: token.claims.sub, address: session.admission.address }, "token kept");
  };

  const renewals = new WeakMap<Session, { second: number; count: number }>();

  /** A renewal is logged and told, and asks for every subscription whether it may stay. */
  const countRenewal = (session: Session): void => {
    const second = Math.floor(nowSeconds());
    const known = renewals.get(session);
    if (known?.second !== second) renewals.set(session, { second, count: 1 });
    else if (++known.count > renewalsASecond) throw new Refusal("rate.limited", "renewals of one session");
  };

  const renew = (session: Session, presented: Uint8Array): void => {
    countRenewal(session);
    const token = authzInfo.renewal(session, presented, nowSeconds());
    const notAfter = session.admission.certificate?.notAfter ?? Infinity;
    const expiresAt = Math.min(token.claims.exp, notAfter);
    const grants = admittedGrants(trust, session.admission.subject, token);
    session.replace({ kind: "token", grants, expiresAt, token });
    sessions.update(session);
    dropUncovered(session, log);
    log.info({ clientId: session.admission.clientId, exp: expiresAt }, "session renewed");
    tell(session, { event: "renewed", exp: expiresAt });
  };

  return (session, presented, done) => {
    if (session.rights.kind === "anonymous") {
      void answer(putOfStranger(session, presented), done);
      return;
    }
    let failure: { readonly error: unknown } | undefined;
    try {
      renew(session, presented);
    } catch (error) {
      failure = { error };
    }
    if (failure === undefined) done();
    else done(failure.error);
  };
}

async function answer(outcome: Promise<void>, done: (error?: unknown) => void): Promise<void> {
  let failure: { readonly error: unknown } | undefined;
  try {
    await outcome;
  } catch (error) {
    failure = { error };
  }
  done(failure?.error);
}
