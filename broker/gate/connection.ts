/**
 * A client connection as the gate sees it: the part of the broker's client object that hooks are handed and the gate
 * uses, and what the transport underneath knows of the peer.
 *
 * Written down as our own types, so that the gate depends on these members and on no broker.
 */
import type { X509Certificate } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { TLSSocket } from "node:tls";
import { plainAddress } from "../../shared/network.ts";

/** The members of a broker's client that the gate reads and calls. */
export interface Connection {
  id: string;
  clean: boolean;
  readonly conn: Duplex;
  /** The HTTP upgrade request of a WebSocket connection. */
  readonly req?: IncomingMessage | undefined;
  readonly closed: boolean;
  /** False until CONNACK was written: a subscription before that is one of a resumed session. */
  readonly connackSent: boolean;
  /** Live subscriptions, by filter. */
  readonly subscriptions: Readonly<Record<string, unknown>>;
  /** True after an orderly DISCONNECT; then the broker publishes no will and deletes a stored one. */
  _disconnected: boolean;
  /** The will that is to be published, from when it is stored; and before that the one that was asked for. */
  will: unknown;
  _will: unknown;
  readonly broker: ConnectionBroker;
  publish(packet: NewsPacket, done: (error?: Error | null) => void): void;
  unsubscribe(filters: string[], done: (error?: Error | null) => void): void;
  close(done?: () => void): void;
}

/** The members of the broker itself. */
export interface ConnectionBroker {
  readonly id: string;
  readonly persistence: {
    removeSubscriptions(client: { readonly id: string }, filters: string[]): Promise<unknown>;
    delWill(client: { readonly id: string; readonly brokerId: string }): Promise<unknown>;
  };
  on(event: "unsubscribe", listener: (filters: string[], client: object) => void): unknown;
}

/** A message that goes to one client alone. */
export interface NewsPacket {
  cmd: "publish";
  topic: string;
  payload: Buffer;
  qos: 0;
  retain: boolean;
  dup: boolean;
  brokerId: string;
  brokerCounter: number;
}

/** What the transport knows of the peer. */
export interface Peer {
  /** The TLS socket, also the one under a WebSocket; undefined without TLS. */
  readonly tls: TLSSocket | undefined;
  readonly address: string;
  /** The certificate that the peer proved to hold in the handshake; not yet verified against any authority. */
  readonly certificate: X509Certificate | undefined;
}

/**
 * Finds the socket under a connection, directly or under its WebSocket, and asks it. A certificate that a browser presents
 * says nothing of who asked for the connection, since any page can make the browser present it: it does not count.
 */
export function readPeer(connection: Connection): Peer {
  const socket = connection.conn instanceof Socket ? connection.conn : connection.req?.socket;
  const tls = socket instanceof TLSSocket ? socket : undefined;
  const isPage = connection.req?.headers.origin !== undefined;
  return {
    tls,
    address: plainAddress(socket?.remoteAddress ?? "unknown"),
    certificate: isPage ? undefined : tls?.getPeerX509Certificate(),
  };
}
