/**
 * What happens to live sessions when trust changes: a client disabled or deleted, a signing key or an api taken back
 * end the sessions that stand on them, at once and without their wills; a change of roles replaces the rights of the
 * sessions that stand on roles.
 */
import type { Logger } from "pino";
import type { Reason } from "../../shared/refusal.ts";
import type { Trust, TrustNews } from "../trust/trust.ts";
import { namesOf } from "./report.ts";
import type { Session } from "./session.ts";
import type { Sessions } from "./sessions.ts";
import { dropUncovered } from "./subscriptions.ts";

/** Listens to trust until the returned function is called. Never throws into whoever changed trust. */
export function followTrust(trust: Trust, sessions: Sessions, log: Logger): () => void {
  const end = (session: Session, reason: Reason): void => {
    log.info({ ...namesOf(session.connection), reason }, "session taken back");
    sessions.close(session, true);
  };

  const follow = (news: TrustNews): void => {
    switch (news.kind) {
      case "client": {
        if (!trust.knowsClients) return;
        const client = trust.client(news.id);
        for (const session of sessions.by("client", news.id)) {
          if (client === undefined) end(session, "client.unknown");
          else if (!client.enabled) end(session, "client.disabled");
          else if (session.rights.kind === "roles") {
            session.replace({ ...session.rights, grants: client.grants });
            dropUncovered(session, log);
          }
        }
        return;
      }
      case "key":
        if (trust.keyFor(news.kid) !== undefined) return;
        for (const session of sessions.by("kid", news.kid)) end(session, "token.key-unknown");
        return;
      case "api": {
        const api = trust.api(news.audience);
        for (const session of sessions.all()) {
          const claims = session.rights.token?.claims;
          if (claims?.aud !== news.audience) continue;
          if (api?.kind !== "mqtt") end(session, "token.audience");
          else if (claims.cnf === undefined && !api.bearer) end(session, "token.unbound");
        }
      }
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
