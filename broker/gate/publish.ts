/**
 * The hook for PUBLISH and for wills that are due.
 *
 * A publish is decided from the session's rights. A token on `authz-info` is consumed here and never routed. A will was
 * approved at CONNECT and is published even when the token has expired since (RFC 9431, section 5), but not when what allowed
 * it was taken back.
 */
import { ownerOf } from "../../shared/names.ts";
import { Refusal } from "../../shared/refusal.ts";
import { AUTHZ_INFO } from "../../shared/topic.ts";
import type { Trust } from "../trust/trust.ts";
import { assertNotTakenBack } from "./liveness.ts";
import { isListening, partWith } from "./news.ts";
import type { ReceiveToken } from "./receive-token.ts";
import type { Report } from "./report.ts";
import { refusalToPublish } from "./session.ts";
import type { Session } from "./session.ts";
import { assertMayFire } from "./will-grounds.ts";

/** The parts of a PUBLISH that are read, and overwritten when it is consumed. */
export interface PublishPacket {
  topic: string;
  payload: string | Uint8Array;
  retain: boolean;
  clientId?: string;
}

/** Aedes calls it for each PUBLISH and will; without a client for the will that a dead broker left. */
export type AuthorizePublish = (
  client: object | null,
  packet: PublishPacket,
  done: (error?: Error | null) => void,
) => void;

/** What the hook asks. `sessionOf` throws for a client whose session is over. */
export interface PublishDesk {
  readonly trust: Trust;
  readonly wills: WeakMap<object, Session>;
  readonly receive: ReceiveToken;
  readonly report: Report;
  readonly sessionOf: (client: object) => Session;
  readonly nowSeconds: () => number;
}

/** Nobody can subscribe to it, and the broker matches no stored wildcard with what starts `$SYS/`. */
const consumedTopic = "$SYS/postern/consumed";

/** The hook for PUBLISH. */
export function openAuthorizePublish(desk: PublishDesk): AuthorizePublish {
  const { trust, wills, receive, report, sessionOf, nowSeconds } = desk;

  /** Whether a will that is due may be published: one of a live broker by its session, else by what it says itself. */
  const assertMayFireDue = (packet: PublishPacket): void => {
    const session = wills.get(packet);
    if (session !== undefined) return assertMayFire(trust, session, packet.topic);
    assertNotTakenBack(trust, { subject: ownerOf(packet.clientId ?? "") }, nowSeconds());
    const reason = refusalToPublish([{ filter: "#", pub: true, sub: false }], packet.topic);
    if (reason !== null) throw new Refusal("will.topic", "not published");
  };

  const fireWill = (client: object | null, packet: PublishPacket): void => {
    try {
      assertMayFireDue(packet);
    } catch (error) {
      report(error, client, "will", packet.topic);
      // answered with an error, a will that a dead broker left would be tried again for ever
      consume(packet);
    }
  };

  const takeToken = (session: Session, packet: PublishPacket, done: (error?: Error | null) => void): void => {
    const payload = typeof packet.payload === "string" ? Buffer.from(packet.payload) : packet.payload;
    receive(session, payload, (error) => {
      if (error === undefined) {
        consume(packet);
        return done(null);
      }
      const refusal = report(error, session.connection, "authz-info", undefined, isListening(session));
      partWith(session, refusal, () => done(refusal));
    });
  };

  return (client, packet, done) => {
    if (client === null || wills.has(packet)) {
      fireWill(client, packet);
      return done(null);
    }
    let session: Session | undefined;
    let refusal: Refusal | null = null;
    try {
      session = sessionOf(client);
      const reason = packet.topic === AUTHZ_INFO ? null : session.refusalOf("pub", packet.topic);
      if (reason !== null) throw new Refusal(reason);
    } catch (error) {
      refusal = report(error, client, "publish", packet.topic, session !== undefined && isListening(session));
    }
    if (refusal === null && packet.topic === AUTHZ_INFO) return takeToken(session!, packet, done);
    if (refusal !== null && session !== undefined) return partWith(session, refusal, () => done(refusal));
    done(refusal);
  };
}

/** Leaves nothing of a message that goes no further; what is left is acknowledged and reaches nobody. */
function consume(packet: PublishPacket): void {
  packet.topic = consumedTopic;
  packet.payload = Buffer.alloc(0);
  packet.retain = false;
}
