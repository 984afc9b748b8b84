/**
 * The HTTPS server of the authority: TLS 1.2 and 1.3, client certificates asked for and not demanded, one scope of routes
 * for each error language.
 *
 * Bounds what a peer can hold: body and header size, time for a request, connections. Trusts no certificate because
 * TLS let it in: whoever needs one reads it through `peer-certificate.ts`. Nothing that arrives gives a 5xx.
 */
import { constants } from "node:crypto";
import { createServer, type Server } from "node:https";
import type { SecureContextOptions } from "node:tls";
import type { Socket } from "node:net";
import { fastify, type FastifyInstance } from "fastify";
import { plainAddress } from "../../shared/network.ts";
import { refuse } from "../../shared/refusal.ts";
import { noteRoutes } from "./allowed-methods.ts";
import { createErrorAnswer, dialectOf, type Dialect } from "./answer-refusal.ts";
import { takeJsonBodies, takeNoBodies, takeOauthBodies, takePkcs10Bodies } from "./body.ts";
import type { ServerCredential } from "./certificates/certificates.ts";
import type { AuthorityContext } from "./context.ts";
import { registerCrlRoute } from "./certificates/crl-route.ts";
import { registerDiscoveryRoutes } from "./oauth/discovery-routes.ts";
import { registerEstRoutes } from "./certificates/est-routes.ts";
import { registerIntrospectRoute } from "./oauth/introspect-route.ts";
import { registerOauthRoutes } from "./oauth/oauth-routes.ts";
import { registerMetricsRoute } from "./metrics-route.ts";
import { refuseSecondAuthorization } from "./one-authorization.ts";
import { notePeerCertificate } from "./peer-certificate.ts";
import { registerRegistryRoutes } from "./v1/registry-routes.ts";
import { registerRevokeRoute } from "./oauth/revoke-route.ts";
import { registerSelfRoute } from "./oauth/self-route.ts";
import { registerTrlRoute } from "./trl/trl-route.ts";
import { openWaitingRooms, type WaitingRooms } from "./trl/waiting-room.ts";

/** The server, made and not yet listening. */
export interface HttpServer {
  /** Listens, and gives the port. */
  listen(port: number, host: string | undefined): Promise<number>;
  /** Uses another certificate for the handshakes to come. */
  renewTls(credential: ServerCredential): void;
  /** Lets requests under way finish for a moment, then cuts what is left. */
  close(): Promise<void>;
}

const handshakeTimeoutMs = 10_000;
const headersTimeoutMs = 10_000;
const keepAliveTimeoutMs = 60_000;
const checkIntervalMs = 2_000;
const headerBytes = 8 * 1024;
const graceMs = 2_000;
/** What node's HTTP parser finds wrong before there is a request to answer. */
const brokenRequest: Readonly<Record<string, string>> = {
  HPE_HEADER_OVERFLOW: "431 Request Header Fields Too Large",
  ERR_HTTP_REQUEST_TIMEOUT: "408 Request Timeout",
};

/** Makes the server; it answers once {@link HttpServer.listen} is called. */
export async function openHttpServer(context: AuthorityContext, credential: ServerCredential): Promise<HttpServer> {
  const server = createTlsServer(context, credential);
  const app = fastify({
    logger: false,
    bodyLimit: context.limits.bodyBytes,
    routerOptions: { maxParamLength: 256 },
    serverFactory: (handler) => server.on("request", handler),
    frameworkErrors: (error, request, reply) => {
      createErrorAnswer(context, dialectOf(request.url))(error, request, reply);
    },
  });
  const rooms = openWaitingRooms(context.registry);
  registerRoutes(app, context, rooms);
  await app.ready();
  const sockets = trackSockets(server);
  return {
    listen: async (port, host) => {
      const taken = await listen(server, port, host);
      // taking a connection can fail later too, for want of memory or files; nobody listening would end the process
      server.on("error", (error) => context.log.error({ err: error }, "listener failed"));
      return taken;
    },
    renewTls: (renewed) => server.setSecureContext(secureContext(context, renewed)),
    close: async () => {
      rooms.close();
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeIdleConnections();
      const timer = setTimeout(() => sockets.forEach((socket) => socket.destroy()), graceMs);
      // what has not finished its handshake, or has sent nothing, is not waited for
      for (const socket of sockets) if (socket.bytesRead === 0) socket.destroy();
      await closed;
      clearTimeout(timer);
      await app.close();
    },
  };
}

function registerRoutes(app: FastifyInstance, context: AuthorityContext, rooms: WaitingRooms): void {
  const methodsOf = noteRoutes(app);
  refuseSecondAuthorization(app);
  takeNoBodies(app);
  app.setErrorHandler(createErrorAnswer(context, "oauth"));
  app.setNotFoundHandler((request, reply) => {
    const path = request.url.split("?", 1)[0]!;
    createErrorAnswer(context, dialectOf(path))(notFound(methodsOf(path), reply), request, reply);
  });
  app.get("/healthz", (_request, reply) => reply.header("cache-control", "no-store").send({ status: "ok" }));

  const scope = (dialect: Dialect, register: (scope: FastifyInstance) => void): void => {
    void app.register((inner, _options, done) => {
      inner.setErrorHandler(createErrorAnswer(context, dialect));
      register(inner);
      done();
    });
  };
  scope("oauth", (inner) => {
    takeOauthBodies(inner);
    registerOauthRoutes(inner, context);
    registerIntrospectRoute(inner, context);
    registerRevokeRoute(inner, context);
    registerDiscoveryRoutes(inner, context);
    registerCrlRoute(inner, context);
  });
  scope("est", (inner) => {
    takePkcs10Bodies(inner);
    registerEstRoutes(inner, context);
  });
  scope("trl", (inner) => {
    registerTrlRoute(inner, context, rooms);
  });
  scope("v1-client", (inner) => {
    registerSelfRoute(inner, context);
  });
  scope("v1", (inner) => {
    registerMetricsRoute(inner, context);
    takeJsonBodies(inner);
    registerRegistryRoutes(inner, context);
  });
}

/** 404, or 405 with the methods that the path has. */
function notFound(allowed: readonly string[], reply: { header(name: string, value: string): unknown }): unknown {
  try {
    if (allowed.length === 0) refuse("request.not-found");
    reply.header("allow", allowed.join(", "));
    return refuse("request.method");
  } catch (error) {
    return error;
  }
}

function createTlsServer(context: AuthorityContext, credential: ServerCredential): Server {
  const server = createServer({
    ...secureContext(context, credential),
    requestCert: true,
    rejectUnauthorized: false,
    handshakeTimeout: handshakeTimeoutMs,
    headersTimeout: Math.min(headersTimeoutMs, context.limits.requestMs),
    requestTimeout: context.limits.requestMs,
    keepAliveTimeout: keepAliveTimeoutMs,
    connectionsCheckingInterval: checkIntervalMs,
    maxHeaderSize: headerBytes,
    noDelay: true,
  });
  server.maxConnections = context.limits.connections;
  // who asks for something long and never reads it would keep it in memory
  server.timeout = context.limits.silenceMs;
  server.on("secureConnection", notePeerCertificate);
  server.on("tlsClientError", (error, socket) => {
    context.log.debug(
      { remote: socket.remoteAddress && plainAddress(socket.remoteAddress), error: error.message },
      "tls handshake failed",
    );
    socket.destroy();
  });
  server.on("clientError", (error: Error & { code?: string }, socket) => {
    const status = brokenRequest[error.code ?? ""] ?? "400 Bad Request";
    if (socket.writable) socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
    setTimeout(() => socket.destroy(), 1_000).unref();
  });
  return server;
}

function secureContext(context: AuthorityContext, { cert, key }: ServerCredential): SecureContextOptions {
  // a connection stands for one certificate from its first byte to its last
  return { cert, key, ca: context.ca.caPem, minVersion: "TLSv1.2", secureOptions: constants.SSL_OP_NO_RENEGOTIATION };
}

function trackSockets(server: Server): Set<Socket> {
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  return sockets;
}

function listen(server: Server, port: number, host: string | undefined): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ port, ...(host !== undefined && { host }) }, () => {
      server.off("error", reject);
      const address = server.address();
      resolve(typeof address === "object" && address !== null ? address.port : port);
    });
  });
}
