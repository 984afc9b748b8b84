/**
 * News of a session to its own client, on `$postern/session`: a warning before the end, a renewal, a change of rights, a
 * refusal.
 *
 * Sent straight to the one connection and never routed, and only where the client has subscribed. Numbered in a series
 * of its own, so that the broker's duplicate check of routed messages is not disturbed. Says no more of a refusal than
 * a stranger may learn.
 */
import { randomUUID } from "node:crypto";
import { meanings } from "../../shared/refusal.ts";
import type { Refusal } from "../../shared/refusal.ts";
import { SESSION_NEWS } from "../../shared/topic.ts";
import type { Session } from "./session.ts";

/** What goes over the wire as JSON. Times in seconds since 1970. */
export type SessionNews =
  | { readonly event: "expiring"; readonly exp: number }
  | { readonly event: "renewed"; readonly exp: number }
  /** With the roles of the client; `removed`: subscriptions that are not covered any more. */
  | { readonly event: "changed"; readonly removed: readonly string[] }
  | { readonly event: "refused"; readonly says: string; readonly id: string };

/** The mark by which delivery knows the gate's own news; nobody outside the process learns it. */
const origin = `postern-news-${randomUUID()}`;
let counter = 0;
/** How long a refused client's news may take to leave. */
const partingMilliseconds = 500;
/**
 * Refused filters that one session, and all of them, are told of in a second, since what is told is logged; the SUBACK says no
 * to each all the same.
 */
const filtersToldASecond = 10;
const filtersToldToAll = 100;
const told = new WeakMap<Session, { second: number; count: number }>();
const toldToAll = { second: 0, count: 0 };

/** Whether a message to be delivered is one of the gate's own. */
export function isNews(packet: { readonly brokerId?: string | undefined }): boolean {
  return packet.brokerId === origin;
}

/** What a client is told of a refusal. */
export function refusalNews(refusal: Refusal): SessionNews {
  return { event: "refused", says: meanings[refusal.reason].says, id: refusal.id };
}

/** Tells the client of the session; calls back once it is written, or at once when the client does not listen. */
export function tell(session: Session, news: SessionNews, done: () => void = () => {}): void {
  const { connection } = session;
  if (!isListening(session)) return done();
  const payload = Buffer.from(JSON.stringify(news));
  connection.publish(
    {
      cmd: "publish",
      topic: SESSION_NEWS,
      payload,
      qos: 0,
      retain: false,
      dup: false,
      brokerId: origin,
      brokerCounter: ++counter,
    },
    () => done(),
  );
}

/**
 * Tells a client of the refusal that ends its connection, waits until that has left, not for long, and calls back; at
 * once when the client does not listen. Nothing is allowed meanwhile.
 */
export function partWith(session: Session, refusal: Refusal, done: () => void): void {
  session.isClosed = true;
  if (!isListening(session)) return done();
  let isDone = false;
  const finish = (): void => {
    if (isDone) return;
    isDone = true;
    clearTimeout(timer);
    done();
  };
  const timer = setTimeout(finish, partingMilliseconds);
  const { conn } = session.connection;
  tell(session, refusalNews(refusal), () => {
    if (conn.destroyed || conn.writableLength === 0) finish();
    else conn.write(Buffer.alloc(0), finish);
  });
}

/**
 * Whether the client is to be told of one more filter that was refused: it listens, and has not been told of too many in
 * this second. Counts those that it says yes to.
 */
export function hearsOfFilter(session: Session, nowSeconds: number): boolean {
  if (!isListening(session)) return false;
  const second = Math.floor(nowSeconds);
  if (toldToAll.second !== second) Object.assign(toldToAll, { second, count: 0 });
  if (++toldToAll.count > filtersToldToAll) return false;
  const known = told.get(session);
  if (known?.second !== second) {
    told.set(session, { second, count: 1 });
    return true;
  }
  return ++known.count <= filtersToldASecond;
}

/** Whether news would be heard. A stored subscription counts once CONNACK is out: nothing may come before it. */
export function isListening({ connection }: Session): boolean {
  return !connection.closed && connection.connackSent && connection.subscriptions[SESSION_NEWS] !== undefined;
}
