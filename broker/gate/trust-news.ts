/**
 * What happens to live sessions when trust changes. What was taken back (a client, a token, a certificate, a signing key, the
 * tokens of a project, an api, an authority) ends the sessions that stand on it, at once and without their wills; a change
 * of roles decides sessions anew.
 *
 * News only say where to look; what is true is asked of trust, by the rule that a CONNECT is decided by.
 */
import { isDeepStrictEqual } from "node:util";
import type { Logger } from "pino";
import type { Reason } from "../../shared/refusal.ts";
import type { Trust, TrustNews } from "../trust/trust.ts";
import { effectiveGrants, roleGrants } from "./effective-grants.ts";
import type { End, Ending } from "./endings.ts";
import { whyTakenBack } from "./liveness.ts";
import { tell } from "./news.ts";
import { refusalToPublish } from "./session.ts";
import type { Rights, Session } from "./session.ts";
import type { Sessions } from "./sessions.ts";
import { dropUncovered } from "./subscriptions.ts";
import { takeBackWill } from "./will-grounds.ts";

/** What following stands on. */
export interface FollowDesk {
  readonly trust: Trust;
  readonly sessions: Sessions;
  readonly end: End;
  readonly log: Logger;
}

/** Listens to trust until the returned function is called. Never throws into whoever changed trust. */
export function followTrust({ trust, sessions, end, log }: FollowDesk): () => void {
  /** Ends those that may not go on. */
  const recheck = (some: readonly Session[]): void => end(endingsOf(some, (session) => whyEnds(trust, session)));

  const followClient = ({ id, isTakenBack }: Extract<TrustNews, { kind: "client" }>): void => {
    if (!trust.knowsClients) return;
    const client = trust.client(id);
    const own = sessions.by("client", id);
    // disabled, and perhaps enabled again since: what was before is not what was enabled
    if (client?.enabled !== true || isTakenBack === true) {
      return end(
        endingsOf(own, (session) => whyEnds(trust, session) ?? "client.disabled"),
        id,
      );
    }
    end(endingsOf(own, (session) => whyEnds(trust, session) ?? whyUnclear(session)));
  };

  /** Decides anew what a session may do; where that cannot be told it may do nothing. */
  const whyUnclear = (session: Session): Reason | null => {
    try {
      if (!session.isClosed) followRoles(trust, session, log);
      return null;
    } catch (error) {
      log.error({ err: error, clientId: session.admission.clientId }, "the rights of a session cannot be told");
      return "client.grants";
    }
  };

  const followApi = (audience: string): void => {
    const api = trust.api(audience);
    const ofApi = sessions.all().filter((session) => session.rights.token?.claims.aud === audience);
    end(
      endingsOf(ofApi, (session) => {
        if (api?.kind !== "mqtt") return "token.audience";
        return session.rights.token?.claims.cnf === undefined && !api.bearer ? "token.unbound" : null;
      }),
    );
  };

  const follow = (news: TrustNews): void => {
    switch (news.kind) {
      case "client":
        return followClient(news);
      case "key":
        if (trust.keyFor(news.kid) !== undefined) return;
        return end(endingsOf(sessions.by("kid", news.kid), () => "token.key-unknown"));
      case "api":
        return followApi(news.audience);
      case "tokens":
        return recheck(news.hashes?.flatMap((hash) => sessions.by("token", hash)) ?? sessions.all());
      case "certificates":
        return recheck(news.names.flatMap((name) => sessions.by("certificate", name)));
      case "project":
        return recheck(sessions.by("project", news.slug));
      case "authority":
        return recheck(sessions.all().filter(({ admission }) => admission.certificate?.authority === news.id));
    }
  };

  return trust.onNews((news) => {
    try {
      follow(news);
    } catch (error) {
      log.error({ err: error, news }, "news of trust could not be followed");
    }
  });
}

/** Each session once, with its reason; those without one are left out. */
function endingsOf(some: readonly Session[], why: (session: Session) => Reason | null): Ending[] {
  const endings: Ending[] = [];
  for (const session of new Set(some)) {
    const reason = why(session);
    if (reason !== null) endings.push({ session, reason });
  }
  return endings;
}

/** By what the session stands on now: a token that was renewed away is no longer part of it. */
function whyEnds(trust: Trust, { admission, rights }: Session): Reason | null {
  if (rights.kind === "anonymous") return null;
  return whyTakenBack(trust, {
    subject: admission.subject,
    token: rights.token,
    certificate: admission.certificate,
  });
}

/**
 * Decides a session anew when the roles of its client have changed: from now on it may do what it would be let in with.
 * Subscriptions that this does not cover end, a will that it does not cover is taken back, and the client is told. Throws
 * where the rights cannot be told; then they are what they were.
 */
function followRoles(trust: Trust, session: Session, log: Logger): void {
  const { admission, rights } = session;
  const present = presentGrants(trust, admission.subject, rights);
  const ofWill = admission.will && presentGrants(trust, admission.subject, admission);
  const isChanged = present !== rights.grants && !isDeepStrictEqual(present, rights.grants);
  const losesWill = ofWill !== undefined && refusalToPublish(ofWill, admission.will!.topic) !== null;
  if (losesWill) takeBackWill(session, log);
  if (!isChanged) return;
  session.replace({ ...rights, grants: present });
  const removed = dropUncovered(session, log);
  log.info({ clientId: admission.clientId, removed: removed.length, losesWill }, "rights changed with the roles");
  tell(session, { event: "changed", removed });
}

/** What these rights are worth now. Those of an anonymous client do not come of roles. */
function presentGrants(trust: Trust, subject: string, rights: Rights): Rights["grants"] {
  if (rights.token !== undefined) return effectiveGrants(trust, rights.token);
  return rights.kind === "roles" ? (roleGrants(trust, subject) ?? []) : rights.grants;
}
