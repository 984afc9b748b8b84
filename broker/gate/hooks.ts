/**
 * The gate: opens everything it is made of and hands out the five hooks of an MQTT broker.
 *
 * A hook never throws, never hangs and calls back exactly once. A refusal is counted and logged, one line each; a fault of ours is
 * refused as `internal` and logged with its stack. The peer learns what `meanings` says and no more. Publish, subscribe
 * and delivery are answered synchronously, so that nothing overtakes and nothing is decided for a client that is gone.
 */
import { pino } from "pino";
import type { Logger } from "pino";
import { Refusal } from "../../shared/refusal.ts";
import type { Reason } from "../../shared/refusal.ts";
import { NO_FILTER, SESSION_NEWS } from "../../shared/topic.ts";
import type { Trust } from "../trust/trust.ts";
import type { Desk } from "./admit.ts";
import { openAuthzInfo } from "./authz-info.ts";
import { openCertificates } from "./certificates.ts";
import { openConnect } from "./connect.ts";
import type { Authenticate, PreConnect } from "./connect.ts";
import type { Connection } from "./connection.ts";
import { openEndings } from "./endings.ts";
import { defaultLimits } from "./limits.ts";
import type { GateLimits } from "./limits.ts";
import { noGateMeter } from "./meter.ts";
import type { Gateway, GateMeter } from "./meter.ts";
import { hearsOfFilter, isNews, refusalNews, tell } from "./news.ts";
import { openAuthorizePublish } from "./publish.ts";
import type { AuthorizePublish } from "./publish.ts";
import { openReceiver } from "./receive-token.ts";
import { namesOf, openReporter } from "./report.ts";
import type { RefusedAtGate, Report } from "./report.ts";
import type { Session } from "./session.ts";
import { openSessions } from "./sessions.ts";
import type { Sessions } from "./sessions.ts";
import { forgetStored, grantFilter } from "./subscriptions.ts";
import { isOwnerTakenBack, openPurges, openTakenBackNews } from "./taken-back.ts";
import type { Purges, TakenBack, TakenBackListener } from "./taken-back.ts";
import { openTokens } from "./tokens.ts";
import { followTrust } from "./trust-news.ts";
import { assertMayFireStored, readGrounds } from "./will-grounds.ts";
import type { WillGrounds } from "./will-grounds.ts";

/** What a gate stands on. */
export interface GateOptions {
  readonly trust: Trust;
  readonly log?: Logger | undefined;
  /** Seconds since 1970, fractions welcome. Default: the clock. */
  readonly nowSeconds?: (() => number) | undefined;
  readonly limits?: Partial<GateLimits> | undefined;
  readonly meter?: GateMeter | undefined;
  /** Refuses connections that did not come in through the wire guard. Default false. */
  readonly isGuardNeeded?: boolean | undefined;
  /** Whether the broker shares: where it does not, `$share/…` is refused. Default true. */
  readonly isSharing?: boolean | undefined;
  /** Whether a session may be kept for a client that wants it; asked at CONNECT. Default yes. */
  readonly mayKeepSession?: ((clientId: string) => boolean) | undefined;
  /** Told of each refusal beside the log, also of those that the log leaves out; must return at once and never throw. */
  readonly refused?: ((refused: RefusedAtGate) => void) | undefined;
}

/** The hooks of an Aedes broker. `client` is the broker's own object. */
export interface Hooks {
  readonly preConnect: PreConnect;
  readonly authenticate: Authenticate;
  readonly authorizePublish: AuthorizePublish;
  authorizeSubscribe<S extends { topic: string }>(
    client: object,
    subscription: S,
    done: (error: Error | null, subscription?: S | null) => void,
  ): void;
  authorizeForward<P extends { topic: string; brokerId?: string }>(client: object, packet: P): P | null;
}

/** An open gate: the hooks, and what the store and the embedding program ask. */
export interface Gate {
  readonly hooks: Hooks;
  readonly sessions: Sessions;
  /** Whether this filter may be stored for this client. Asks its session and changes nothing. */
  mayStore(client: object, filter: string): boolean;
  /** Whether a live session of this client may not have this message. False for a session that is over. */
  isRefused(client: object, topic: string): boolean;
  /** The connections that came in through the wire guard, which puts them here. */
  readonly guarded: WeakSet<object>;
  /** Counts and logs what the engine refuses, as the gate does itself. */
  readonly report: Report;
  /** Counts a refusal that the engine logs itself. */
  count(at: Gateway, reason: Reason): void;
  /** What allowed the will of a live client, for whoever stores the will; undefined without a session. */
  groundsOf(client: object): WillGrounds | undefined;
  /** Whether a will that was stored on these grounds may be published now; a no is logged. */
  mayFireStored(grounds: WillGrounds, topic: string): boolean;
  /** Calls back when a session or a client was taken back, until the returned function is called. */
  onTakenBack(listener: TakenBackListener): () => void;
  /** Whether the client that this MQTT client id belongs to is gone or disabled, for whoever starts with what it had stored. */
  isTakenBack(clientId: string): boolean;
  /** Whether what is known is too old to go by: then nobody new is admitted. */
  readonly isStale: boolean;
  /** Which retained messages go, for whoever goes on with a purge that had begun. */
  purgesOf(kind: TakenBack["kind"]): Purges;
  /** Stops the timers and the listening to trust. Connections are for the broker to close. */
  close(): void;
}

/** Opens a gate on a trust. */
export function openGate(options: GateOptions): Gate {
  const { trust } = options;
  const log = options.log ?? pino({ level: "silent" });
  const nowSeconds = options.nowSeconds ?? (() => Date.now() / 1000);
  const limits: GateLimits = { ...defaultLimits, ...options.limits };
  const meter = options.meter ?? noGateMeter;
  const reporter = openReporter(log, meter, limits, {
    refused: options.refused,
    sessionOf: (client) => sessions.of(client),
  });
  const { report } = reporter;
  const wills = new WeakMap<object, Session>();
  const guarded = new WeakSet<object>();

  const expire = (session: Session): void => {
    if (session.isClosed) return;
    log.info({ ...namesOf(session.connection), reason: "session.expired" }, "session over");
    sessions.close(session, false);
  };
  const sessions = openSessions({ expiring: tellOfEnd, expired: expire, ended: () => meter.ended() }, nowSeconds);

  /** The live session of a client. One whose time is up is closed on the way. */
  const sessionOf = (client: object): Session => {
    const session = sessions.of(client);
    if (session === undefined || session.isClosed) throw new Refusal("session.closed");
    if (nowSeconds() < session.rights.expiresAt) return session;
    expire(session);
    throw new Refusal("session.expired");
  };

  /** A filter of a resumed session that is no longer allowed is not kept for the next one either. */
  const forgetIfResumed = (connection: Connection, filter: string): void => {
    const session = sessions.of(connection);
    if (connection.connackSent || session === undefined || session.isClosed || session.may("sub", filter)) return;
    forgetStored(connection, [filter], log);
  };

  const tokens = openTokens(trust, limits.verifiedTokens, limits.tokenBytes);
  const desk: Desk = {
    trust,
    tokens,
    certificates: openCertificates(trust, limits.verifiedCertificates),
    authzInfo: openAuthzInfo(trust, tokens, limits.keptTokens),
    sessions,
    limits,
    nowSeconds,
  };
  const receive = openReceiver(desk, log);
  const takenBack = openTakenBackNews(log);
  const end = openEndings({ trust, sessions, takenBack, meter, log });
  const stopFollowing = followTrust({ trust, sessions, end, log });

  const isGuarded = (client: object): boolean => options.isGuardNeeded !== true || guarded.has(client);

  const hooks: Hooks = {
    ...openConnect({ desk, wills, report, meter, log, isGuarded, mayKeepSession: options.mayKeepSession }),
    authorizePublish: openAuthorizePublish({ trust, wills, receive, report, sessionOf, nowSeconds }),

    authorizeSubscribe(client, subscription, done) {
      if (subscription.topic === NO_FILTER) return done(null, null);
      let isGranted = false;
      try {
        const session = sessionOf(client);
        if (options.isSharing === false && subscription.topic.startsWith("$share/")) {
          throw new Refusal("subscribe.shared", "this broker does not share");
        }
        grantFilter(session, subscription.topic, limits.subscriptions);
        isGranted = true;
      } catch (error) {
        const session = sessions.of(client);
        const isTold = session !== undefined && hearsOfFilter(session, nowSeconds());
        const refusal = report(error, client, "subscribe", subscription.topic, isTold);
        if (isTold) tell(session, refusalNews(refusal));
        forgetIfResumed(client as Connection, subscription.topic);
      }
      // null is answered 0x80 for this filter; an error would end the connection and leave the others unanswered
      done(null, isGranted ? subscription : null);
    },

    authorizeForward(client, packet) {
      try {
        if (packet.topic === SESSION_NEWS) return isNews(packet) ? packet : null;
        const session = sessions.of(client);
        if (session === undefined || session.isClosed) return null;
        if (nowSeconds() >= session.rights.expiresAt) expire(session);
        else if (session.may("sub", packet.topic)) return packet;
        else {
          const reason = "deliver.topic";
          meter.refused("deliver", reason);
          log.debug({ clientId: session.admission.clientId, reason, topic: packet.topic }, "refused");
        }
      } catch (error) {
        report(error, client, "deliver", packet.topic);
      }
      return null;
    },
  };

  return {
    hooks,
    sessions,
    guarded,
    report,
    count: (at, reason) => meter.refused(at, reason),
    groundsOf(client) {
      const session = sessions.of(client);
      return session && readGrounds(trust, session);
    },
    mayFireStored(grounds, topic) {
      try {
        assertMayFireStored(trust, grounds, topic, nowSeconds());
        return true;
      } catch (error) {
        report(error, null, "will", topic);
        return false;
      }
    },
    onTakenBack: (listener) => takenBack.on(listener),
    isTakenBack: (clientId) => isOwnerTakenBack(trust, clientId),
    get isStale() {
      return trust.isStale;
    },
    purgesOf: (kind) => openPurges(trust, kind),
    mayStore(client, filter) {
      const session = sessions.of(client);
      return session !== undefined && session.filters.has(filter) && session.may("sub", filter);
    },
    isRefused(client, topic) {
      const session = sessions.of(client);
      return session !== undefined && !session.isClosed && !session.may("sub", topic);
    },
    close() {
      stopFollowing();
      sessions.stop();
      reporter.close();
    },
  };
}

function tellOfEnd(session: Session): void {
  tell(session, { event: "expiring", exp: session.rights.expiresAt });
}
