/**
 * Who may arrive: connections are counted, in all and by network, before anything of them is read; new ones of a network are
 * counted by the minute before anything cryptographic is done for them; TLS handshakes wait for their turn; and from the
 * accepted connection to CONNACK there is one deadline, whatever a peer does meanwhile.
 *
 * Works on any server of node's: connections reach what listened to it as soon as they may.
 */
import type { IncomingMessage } from "node:http";
import type { Server, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { Server as TlsServer } from "node:tls";
import type { TLSSocket } from "node:tls";
import { pino } from "pino";
import type { Logger } from "pino";
import { RateLimiterMemory } from "rate-limiter-flexible";
import { networkOf, plainAddress } from "../../shared/network.ts";
import type { Reason } from "../../shared/refusal.ts";
import { openHandshakes } from "./handshakes.ts";
import { defaultLimits } from "./limits.ts";
import type { WireLimits } from "./limits.ts";
import { noMeter } from "./meter.ts";
import type { EngineMeter } from "./meter.ts";
import { openRefusalLines } from "./refusal-lines.ts";

/** What arrivals are judged by, and who is told of them. */
export interface ArrivalOptions {
  readonly limits?: Partial<WireLimits> | undefined;
  readonly log?: Logger | undefined;
  readonly meter?: EngineMeter | undefined;
  /** Told of every connection that is refused; the log has fewer lines. */
  readonly refused?: ((reason: Reason) => void) | undefined;
}

/** Judges the connections of one or several servers together. */
export interface Arrivals {
  readonly limits: WireLimits;
  /**
   * Puts itself between a server (TCP, TLS, HTTP or HTTPS) and those who listen to its connections; to be called when they do
   * already. Throws a TypeError when nobody does. What arrives there and is not settled ends at the deadline. A TLS server must
   * ask for client certificates and let all in, if the gate is to verify them.
   */
  watch(server: Server): void;
  /**
   * CONNACK was sent: the deadline is over. The connection is the one that was given to the broker, the request that of a
   * WebSocket. Without effect for one that did not arrive here.
   */
  settle(connection: Duplex, request?: IncomingMessage): void;
  /** Ends this connection when it has received more than so many bytes from now on and is not settled. */
  bound(connection: Socket, bytes: number): void;
  /** Stops the timers. Servers and connections are for whoever opened them. */
  close(): void;
}

/** A connection that is not settled. */
interface Arrival {
  readonly socket: Socket;
  readonly network: string;
  readonly deadline: NodeJS.Timeout;
  /** Listens to the end of the socket. */
  readonly gone: () => void;
  waitsFor: "a handshake" | "CONNECT";
  settled?: () => void;
}

const keepAliveMilliseconds = 60_000;

/** Opens the judge. */
export function openArrivals(options: ArrivalOptions = {}): Arrivals {
  const limits: WireLimits = { ...defaultLimits, ...options.limits };
  const { meter = noMeter, refused = () => {}, log = pino({ level: "silent" }) } = options;
  const limiter = new RateLimiterMemory({ points: limits.connectsPerMinute, duration: 60 });
  const lines = openRefusalLines(log);
  const networks = new Map<string, number>();
  /** By their endpoints, which a TLS connection has in common with the one beneath it. */
  const pending = new Map<string, Arrival>();
  let connections = 0;

  const refuse = (socket: Socket, network: string, reason: Reason, detail: string): void => {
    refused(reason);
    lines.note(reason, network, detail);
    socket.destroy();
  };
  const handshakes = openHandshakes({
    most: limits.handshakes,
    isServing: () => connections > pending.size,
    ended: (socket) => refuse(socket, networkOf(socket.remoteAddress ?? ""), "limit.reached", "unfinished handshakes"),
  });

  const count = (socket: Socket, network: string): void => {
    connections++;
    networks.set(network, (networks.get(network) ?? 0) + 1);
    socket.on("close", () => {
      connections--;
      const left = networks.get(network)! - 1;
      if (left === 0) networks.delete(network);
      else networks.set(network, left);
    });
  };

  const forget = (key: string, arrival: Arrival): void => {
    clearTimeout(arrival.deadline);
    if (pending.get(key) === arrival) pending.delete(key);
    arrival.socket.off("close", arrival.gone);
    arrival.settled?.();
  };

  const setDeadline = (socket: Socket, network: string): Arrival | undefined => {
    const key = endpointsOf(socket);
    // a connection without a port is none of a network, and cannot be told from others beneath TLS
    if (key === undefined) return undefined;
    const end = (): void => {
      refuse(socket, network, "connect.deadline", `waited for ${arrival.waitsFor}`);
    };
    const deadline = setTimeout(end, limits.connectMilliseconds);
    const gone = (): void => forget(key, arrival);
    const arrival: Arrival = { socket, network, deadline, gone, waitsFor: "CONNECT" };
    pending.set(key, arrival);
    socket.on("close", gone);
    return arrival;
  };

  const arrive = async (socket: Socket, isTls: boolean, serve: () => void): Promise<void> => {
    // one that waits has nobody else to notice that it failed
    socket.on("error", ignore);
    const network = networkOf(socket.remoteAddress ?? "local");
    if (connections >= limits.connections) return refuse(socket, network, "limit.reached", "connections");
    if ((networks.get(network) ?? 0) >= limits.connectionsPerAddress) {
      return refuse(socket, network, "limit.reached", "connections of one address");
    }
    count(socket, network);
    const arrival = setDeadline(socket, network);
    try {
      await limiter.consume(network);
    } catch {
      return refuse(socket, network, "rate.limited", "connects of one address");
    }
    if (socket.destroyed) return;
    meter.accepted();
    socket.setNoDelay(true);
    // without it a peer that vanished would be kept for ever where it set no keep-alive of MQTT
    socket.setKeepAlive(true, keepAliveMilliseconds);
    if (!isTls || arrival === undefined) return serve();
    arrival.waitsFor = "a handshake";
    handshakes.queue(socket, network, serve);
  };

  return {
    limits,
    watch(server) {
      const listeners = server.listeners("connection");
      if (listeners.length === 0) throw new TypeError("nobody listens to the connections of this server yet");
      const isTls = server instanceof TlsServer;
      server.removeAllListeners("connection");
      server.on("connection", (socket: Socket) => {
        arrive(socket, isTls, () => {
          for (const listener of listeners) listener.call(server, socket);
        }).catch((error: unknown) => {
          log.error({ err: error }, "connection failed");
          socket.destroy();
        });
      });
      if (!isTls) return;
      server.on("secureConnection", (socket: TLSSocket) => {
        // asking for the certificate once the handshake is done clears what OpenSSL noted of one whose signature is wrong,
        // which would end the connection at the next read, before the gate could refuse it
        socket.getPeerX509Certificate();
        const arrival = pending.get(endpointsOf(socket) ?? "");
        if (arrival === undefined) return;
        arrival.waitsFor = "CONNECT";
        handshakes.finish(arrival.socket);
      });
      // after a failed handshake node emits this event and leaves the socket to us
      server.on("tlsClientError", (error: Error, socket: TLSSocket) => {
        log.debug({ err: error, address: plainAddress(socket.remoteAddress ?? "unknown") }, "handshake failed");
        socket.destroy();
      });
    },
    settle(connection, request) {
      const key = endpointsOf(request?.socket ?? (connection as Socket));
      const arrival = pending.get(key ?? "");
      if (arrival !== undefined) forget(key!, arrival);
    },
    bound(connection, bytes) {
      const arrival = pending.get(endpointsOf(connection) ?? "");
      if (arrival === undefined) return;
      let received = 0;
      const weigh = (chunk: Buffer): void => {
        received += chunk.length;
        if (received <= bytes) return;
        connection.off("data", weigh);
        refuse(arrival.socket, arrival.network, "packet.too-large", "before CONNECT was accepted");
      };
      connection.on("data", weigh);
      arrival.settled = () => connection.off("data", weigh);
    },
    close() {
      for (const { deadline } of pending.values()) clearTimeout(deadline);
      handshakes.close();
      lines.close();
    },
  };
}

function ignore(): void {}

/** Both ends of a connection; undefined when it has none, or none any more. */
function endpointsOf(socket: Partial<Socket>): string | undefined {
  const { remoteAddress, remotePort, localAddress, localPort } = socket;
  return remotePort === undefined ? undefined : `${remoteAddress} ${remotePort} ${localAddress} ${localPort}`;
}
