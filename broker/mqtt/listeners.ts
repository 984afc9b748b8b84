/**
 * The doors of the broker: MQTT over TLS, over WebSocket over TLS, and plain where asked for.
 *
 * TLS 1.2 or newer. A client certificate is asked for and not demanded, and OpenSSL's verdict on it is not used: the gate
 * verifies it, so that a bad one is refused by CONNACK and logged. Who may arrive, when its handshake begins and how long all
 * of it may take is for `arrivals.ts` to say.
 */
import { constants } from "node:crypto";
import { createServer as createHttpsServer } from "node:https";
import type { IncomingMessage, RequestListener } from "node:http";
import { createServer as createTcpServer } from "node:net";
import type { AddressInfo, Server, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { createServer as createTlsServer } from "node:tls";
import type { SecureContextOptions, TlsOptions } from "node:tls";
import type { Logger } from "pino";
import { createWebSocketStream, WebSocketServer } from "ws";
import type { WebSocket } from "ws";
import type { Arrivals } from "./arrivals.ts";

/** Takes a connection that may speak MQTT; the request is that of a WebSocket. */
export type Accept = (connection: Duplex, request?: IncomingMessage) => void;

/** PEM of the server's certificate and key, and of the authorities that clients are told of when asked for theirs. */
export interface ServerTls {
  readonly cert: string | Buffer;
  readonly key: string | Buffer;
  readonly ca?: string | Buffer | string[] | Buffer[];
}

/** Where to listen; port 0 takes a free one, no host means all addresses. */
export interface Address {
  readonly port: number;
  readonly host?: string | undefined;
}

/** An open port. */
export interface Listener {
  readonly port: number;
  /** Uses another certificate for the handshakes to come. */
  renewTls(tls: ServerTls): void;
  /** Stops listening and ends every connection. */
  close(): Promise<void>;
}

/** What a listener does with its connections. */
export interface Door {
  readonly accept: Accept;
  readonly log: Logger;
  readonly arrivals: Arrivals;
  /** Answers requests that are for no WebSocket. Default: 426. */
  readonly pages?: RequestListener | undefined;
}

/** Beside the packets: what the frames of a WebSocket add, and small packets that are sent at once. */
const frameBytes = 1024;
/** Answers to pings that may wait for a peer to read them. */
const pongBytes = 16_384;

/** Opens MQTT over TLS. */
export function listenTls(tls: ServerTls, address: Address, door: Door): Promise<Listener> {
  const options = { ...tlsOptions(tls), ALPNProtocols: ["mqtt"] };
  const server = createTlsServer(options, (socket) => door.accept(socket));
  return listen(server, address, door, (renewed) => server.setSecureContext(contextOptions(renewed)));
}

/** Opens MQTT over WebSocket over TLS; other HTTP requests are for the pages. */
export function listenWebSocket(tls: ServerTls, address: Address, door: Door): Promise<Listener> {
  const { log, arrivals } = door;
  const server = createHttpsServer({ ...tlsOptions(tls), maxHeaderSize: 8192 }, door.pages ?? noPages);
  server.on("clientError", (_error, socket) => socket.destroy());

  const sockets = new WebSocketServer({
    server,
    maxPayload: arrivals.limits.packetBytes,
    perMessageDeflate: false,
    autoPong: false,
    verifyClient: ({ req }: { req: IncomingMessage }) => offeredProtocol(req) !== undefined,
    handleProtocols: (_protocols, request) => offeredProtocol(request) ?? false,
  });
  sockets.on("error", (error) => log.error({ err: error }, "websocket listener failed"));
  sockets.on("connection", (socket, request) => acceptWebSocket(socket, request, door));
  return listen(server, address, door, (renewed) => server.setSecureContext(contextOptions(renewed)));
}

const noPages: RequestListener = (_request, response) => {
  response.writeHead(426, { upgrade: "websocket", connection: "close" }).end();
};

/** Plain MQTT binds the loopback address unless told otherwise. */
export function listenPlain(address: Address, door: Door): Promise<Listener> {
  const server = createTcpServer((socket) => door.accept(socket));
  return listen(server, { ...address, host: address.host ?? "127.0.0.1" }, door, () => {});
}

function acceptWebSocket(socket: WebSocket, request: IncomingMessage, { accept, log, arrivals }: Door): void {
  socket.on("error", (error) => log.debug({ err: error }, "websocket failed"));
  // a message is held until its last frame has come: one of a stranger is not to hold more than a CONNECT
  arrivals.bound(request.socket, arrivals.limits.connectBytes + frameBytes);
  socket.on("ping", (payload) => {
    // who sends pings and reads no answers finds no memory for them here
    if (socket.bufferedAmount < pongBytes) socket.pong(payload);
  });
  const stream = createWebSocketStream(socket);
  // MQTT-6.0.0-1
  socket.prependListener("message", (_message, isBinary) => {
    if (!isBinary) stream.destroy();
  });
  accept(stream, request);
}

function tlsOptions(tls: ServerTls): TlsOptions {
  return { ...contextOptions(tls), requestCert: true, rejectUnauthorized: false };
}

function contextOptions({ cert, key, ca }: ServerTls): SecureContextOptions {
  // a connection stands for one certificate and one exporter value from its first byte to its last
  const secureOptions = constants.SSL_OP_NO_RENEGOTIATION;
  return { cert, key, minVersion: "TLSv1.2", secureOptions, ...(ca !== undefined && { ca }) };
}

/** `mqtt` is the registered name (MQTT 3.1.1, section 6); clients of MQTT 3.1 say `mqttv3.1`. */
function offeredProtocol(request: IncomingMessage): string | undefined {
  const header = request.headers["sec-websocket-protocol"] ?? "";
  const offered = new Set(header.split(",").map((protocol) => protocol.trim()));
  return ["mqtt", "mqttv3.1"].find((protocol) => offered.has(protocol));
}

async function listen(
  server: Server,
  { port, host }: Address,
  { log, arrivals }: Door,
  renewTls: (tls: ServerTls) => void,
): Promise<Listener> {
  const sockets = new Set<Socket>();
  arrivals.watch(server);
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen({ port, ...(host !== undefined && { host }) }, () => {
      server.off("error", reject);
      resolve();
    });
  });
  server.on("error", (error) => log.error({ err: error }, "listener failed"));
  return {
    port: (server.address() as AddressInfo).port,
    renewTls,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}
