/**
 * The doors of the broker: MQTT over TLS, over WebSocket over TLS, and plain where asked for.
 *
 * TLS 1.2 or newer. A client certificate is asked for and not demanded, and OpenSSL's verdict on it is not used: the gate
 * verifies it, so that a bad one is refused by CONNACK and logged. A failed handshake is a closed socket. A wire guard
 * in front of the parser will stand in `Accept`.
 */
import { constants } from "node:crypto";
import { createServer as createHttpsServer } from "node:https";
import type { IncomingMessage } from "node:http";
import { createServer as createTcpServer } from "node:net";
import type { AddressInfo, Server, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { createServer as createTlsServer } from "node:tls";
import type { SecureContextOptions, TLSSocket, TlsOptions } from "node:tls";
import type { Logger } from "pino";
import { createWebSocketStream, WebSocketServer } from "ws";

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
  /** How long a TLS handshake, and then an HTTP upgrade, may take. */
  readonly handshakeMilliseconds: number;
}

const maxPacketBytes = 256 * 1024;

/** Opens MQTT over TLS. */
export function listenTls(tls: ServerTls, address: Address, door: Door): Promise<Listener> {
  const { accept, log } = door;
  const options = { ...tlsOptions(tls, door), noDelay: true, ALPNProtocols: ["mqtt"] };
  const server = createTlsServer(options, (socket) => accept(socket));
  watchHandshakes(server, log);
  return listen(server, address, log, (renewed) => server.setSecureContext(contextOptions(renewed)));
}

/** Opens MQTT over WebSocket over TLS; other HTTP requests are answered 426. */
export function listenWebSocket(tls: ServerTls, address: Address, door: Door): Promise<Listener> {
  const { accept, log, handshakeMilliseconds } = door;
  const options = {
    ...tlsOptions(tls, door),
    noDelay: true,
    maxHeaderSize: 8192,
    headersTimeout: handshakeMilliseconds,
    requestTimeout: handshakeMilliseconds,
    connectionsCheckingInterval: Math.min(handshakeMilliseconds, 1000),
  };
  const server = createHttpsServer(options, (_request, response) =>
    response.writeHead(426, { upgrade: "websocket", connection: "close" }).end(),
  );
  watchHandshakes(server, log);
  server.on("clientError", (_error, socket) => socket.destroy());

  const sockets = new WebSocketServer({
    server,
    maxPayload: maxPacketBytes,
    perMessageDeflate: false,
    verifyClient: ({ req }: { req: IncomingMessage }) => offeredProtocol(req) !== undefined,
    handleProtocols: (_protocols, request) => offeredProtocol(request) ?? false,
  });
  sockets.on("error", (error) => log.error({ err: error }, "websocket listener failed"));
  sockets.on("connection", (socket, request) => {
    socket.on("error", (error) => log.debug({ err: error }, "websocket failed"));
    accept(createWebSocketStream(socket), request);
  });
  return listen(server, address, log, (renewed) => server.setSecureContext(contextOptions(renewed)));
}

/** Plain MQTT binds the loopback address unless told otherwise. */
export function listenPlain(address: Address, { accept, log }: Door): Promise<Listener> {
  const server = createTcpServer({ noDelay: true }, (socket) => accept(socket));
  return listen(server, { ...address, host: address.host ?? "127.0.0.1" }, log, () => {});
}

function tlsOptions(tls: ServerTls, { handshakeMilliseconds }: Door): TlsOptions {
  return {
    ...contextOptions(tls),
    requestCert: true,
    rejectUnauthorized: false,
    handshakeTimeout: handshakeMilliseconds,
  };
}

function contextOptions({ cert, key, ca }: ServerTls): SecureContextOptions {
  // a connection stands for one certificate and one exporter value from its first byte to its last
  const secureOptions = constants.SSL_OP_NO_RENEGOTIATION;
  return { cert, key, minVersion: "TLSv1.2", secureOptions, ...(ca !== undefined && { ca }) };
}

/**
 * After a failed or late handshake node emits this event and leaves the socket to us. Asking for the certificate once the
 * handshake is done clears what OpenSSL noted of one whose signature is wrong, which would end the connection at the
 * next read, before the gate could refuse it.
 */
function watchHandshakes(server: Server, log: Logger): void {
  server.on("secureConnection", (socket: TLSSocket) => void socket.getPeerX509Certificate());
  server.on("tlsClientError", (error: Error, socket: Socket) => {
    log.debug({ err: error, address: socket.remoteAddress }, "handshake failed");
    socket.destroy();
  });
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
  log: Logger,
  renewTls: (tls: ServerTls) => void,
): Promise<Listener> {
  const sockets = new Set<Socket>();
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
