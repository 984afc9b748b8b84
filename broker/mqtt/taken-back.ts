/**
 * What happens in the engine room when the gate takes something back: stored sessions and their queues end, retained messages
 * are purged, and what waits for a connection is dropped with it.
 *
 * The gate has closed a session before it tells of it: nothing passes any more. Where the store is not ours, its sessions and
 * retained messages are not ours to end.
 */
import { Refusal } from "../../shared/refusal.ts";
import type { Gate } from "../gate/hooks.ts";
import type { Session } from "../gate/session.ts";
import type { TakenBack } from "../gate/taken-back.ts";
import type { EngineBroker } from "./aedes-client.ts";
import { storeOf } from "./pieces.ts";

/**
 * Does so until the broker closes; and at once with what was taken back while nobody did. To be called before the broker lets
 * anybody in.
 */
export function followTakenBack(broker: EngineBroker, gate: Gate): void {
  const store = storeOf(broker.persistence);
  catchUpTakenBack(broker, gate);

  const stop = gate.onTakenBack((event) => {
    const { kind, subject, purges } = event;
    for (const session of gate.sessions.by("client", subject)) end(gate, session, event);
    store?.endSessions(subject, kind === "credential" ? event.clientId : undefined);
    store?.purgeRetained(subject, kind, purges);
  });
  broker.once("closed", stop);
}

/** Does so with what was taken back while nobody followed, as far as it is known by now. */
export function catchUpTakenBack(broker: object, gate: Gate): void {
  storeOf((broker as EngineBroker).persistence)?.takeBack({
    isTakenBack: (clientId) => gate.isTakenBack(clientId),
    purgesOf: (kind) => gate.purgesOf(kind),
  });
}

function end(gate: Gate, session: Session, event: TakenBack): void {
  const { admission, connection, isTakenBack } = session;
  const { conn } = connection;
  if (isTakenBack) {
    // its turn to be closed will come; what it has not read would go on leaving until then
    if (conn.writableLength > 0) conn.destroy();
    return;
  }
  // who has just come for the same stored session, with another credential, comes back to find none
  if (event.kind !== "credential" || admission.clientId !== event.clientId || connection.clean) return;
  gate.report(new Refusal("session.closed", "its stored session was taken back"), connection, "wire");
  gate.sessions.close(session, true);
}
