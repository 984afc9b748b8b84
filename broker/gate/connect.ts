/**
 * The hooks for CONNECT: hand `admit` what it needs, open the session, answer the broker.
 *
 * Synchronous but for one case: a token that names an unknown key, where trust can fetch its keys, waits for that once
 * and for a bounded time.
 */
import { randomUUID } from "node:crypto";
import type { Logger } from "pino";
import { meanings, Refusal, refuse } from "../../shared/refusal.ts";
import { admit } from "./admit.ts";
import type { Desk } from "./admit.ts";
import { readPeer } from "./connection.ts";
import type { Connection, ConnectionBroker } from "./connection.ts";
import type { GateMeter } from "./meter.ts";
import { asProven } from "./proven.ts";
import type { Report } from "./report.ts";
import { Session } from "./session.ts";

/** The parts of a CONNECT that are read, and changed for an anonymous client. */
export interface ConnectPacket {
  clientId?: string;
  clean?: boolean;
  username?: string;
  password?: Uint8Array | string;
  will?: { topic: string; payload?: Uint8Array | string };
}

/** Aedes calls it with the CONNECT before it looks anything up. */
export type PreConnect = (
  client: object,
  packet: ConnectPacket,
  done: (error: Error | null, isAllowed: boolean) => void,
) => void;

/** Aedes calls it once for each CONNECT; `returnCode` is that of the CONNACK. */
export type Authenticate = (
  client: object,
  username: string | undefined,
  password: Uint8Array | undefined,
  done: (error: (Error & { returnCode: number }) | null, isAllowed: boolean | null) => void,
) => void;

/** What the hooks for CONNECT ask. */
export interface ConnectDesk {
  readonly desk: Desk;
  /** Learns which session an approved will belongs to. */
  readonly wills: WeakMap<object, Session>;
  readonly report: Report;
  readonly meter: GateMeter;
  readonly log: Logger;
  readonly isGuarded: (client: object) => boolean;
  readonly mayKeepSession: ((clientId: string) => boolean) | undefined;
}

/** The two hooks for CONNECT. */
export function openConnect({ desk, wills, report, meter, log, isGuarded, mayKeepSession }: ConnectDesk): {
  preConnect: PreConnect;
  authenticate: Authenticate;
} {
  const { trust, sessions } = desk;
  const packets = new WeakMap<object, ConnectPacket>();
  const brokers = new WeakSet<ConnectionBroker>();

  const openSession = (client: object, username: string | undefined, password: Uint8Array | undefined): void => {
    const connection = client as Connection;
    const packet = packets.get(client);
    if (packet === undefined || connection.closed || connection.conn.destroyed) throw new Refusal("session.closed");
    const clientId = packet.clientId ?? "";
    const connect = { clientId, clean: packet.clean === true, username, password, will: packet.will };
    const admission = admit({ ...connect, peer: readPeer(connection) }, desk);
    if (!connect.clean && mayKeepSession?.(admission.clientId) === false) {
      asProven(admission.subject, () => refuse("limit.reached", "stored sessions"));
    }
    connection.id = admission.clientId;
    const session = new Session(connection, admission, desk.limits.topicLevels);
    if (packet.will !== undefined) wills.set(packet.will, session);
    sessions.open(session);
    meter.admitted(admission.kind);
    countFilters(connection.broker);
    const { kind, subject, address, expiresAt } = admission;
    log.info({ clientId: admission.clientId, sub: subject, kind, address, expiresAt }, "session opened");
  };

  /** Filters that a client gives up count no longer. Asked for once a broker. */
  const countFilters = (broker: ConnectionBroker): void => {
    if (brokers.has(broker)) return;
    brokers.add(broker);
    broker.on("unsubscribe", (filters, client) => {
      const session = sessions.of(client);
      for (const filter of filters) session?.filters.delete(filter);
    });
  };

  return {
    preConnect(client, packet, done) {
      let refusal: Refusal | null = null;
      try {
        if (!isGuarded(client))
          throw new Error("not through the wire guard: listen with guard(broker, gate).handle, not with broker.handle");
        packets.set(client, packet);
        // an anonymous client gets an id that is nobody's before the broker looks anything up by it
        const presentsNothing = (packet.username ?? "") === "" && (packet.password?.length ?? 0) === 0;
        if (presentsNothing && readPeer(client as Connection).certificate === undefined) {
          packet.clientId = `anonymous:${randomUUID()}`;
          packet.clean = true;
        }
      } catch (error) {
        refusal = report(error, client, "connect");
      }
      done(refusal, refusal === null);
    },

    authenticate(client, username, password, done) {
      const attempt = (): { readonly error: unknown } | undefined => {
        try {
          openSession(client, username, password);
          return undefined;
        } catch (error) {
          return { error };
        }
      };
      const answer = (failure: { readonly error: unknown } | undefined): void => {
        // what was presented is not kept
        packets.delete(client);
        if (failure === undefined) return done(null, true);
        const refusal = report(failure.error, client, "connect");
        // a refused CONNECT that asks for a clean session must not wipe what is kept for the owner of the client id
        (client as Connection).clean = false;
        done(Object.assign(refusal, { returnCode: meanings[refusal.reason].connack }), false);
      };

      const failure = attempt();
      if (trust.refreshKeys === undefined || !isKeyUnknown(failure)) return answer(failure);
      void refreshWithin(trust.refreshKeys(), desk.limits.refreshSeconds * 1000).then(() => answer(attempt()));
    },
  };
}

function isKeyUnknown(failure: { readonly error: unknown } | undefined): boolean {
  return failure?.error instanceof Refusal && failure.error.reason === "token.key-unknown";
}

async function refreshWithin(refresh: Promise<void>, milliseconds: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<void>((resolve) => (timer = setTimeout(resolve, milliseconds)));
  await Promise.race([refresh, timeout]).catch(() => undefined);
  clearTimeout(timer);
}
