/**
 * The same provider in every framework, as its documentation would have it: `GET /v/things` for the scope read, `POST /v/things`
 * for write, and `GET /v/devices/:name` for whoever the device is.
 */
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { serve, type HttpBindings } from "@hono/node-server";
import express from "express";
import { fastify } from "fastify";
import { Hono } from "hono";
import {
  principalOf,
  protect,
  protectExpress,
  protectFastify,
  protectHono,
  type Principal,
  type Verifier,
} from "../../verify/index.ts";

declare module "fastify" {
  interface FastifyRequest {
    principal: Principal;
  }
}

/** A provider that runs. */
export interface Provider {
  readonly port: number;
  readonly close: () => Promise<void>;
}

/** What a route says of its caller. */
const told = ({ client, scopes, verifiedBy }: Principal): object => ({ client, scopes, verifiedBy });
const own = (path: string): { rule: string; object: string } => ({ rule: "/v/devices/${name}", object: path });

export const frameworks: Readonly<Record<string, (verifier: Verifier) => Promise<Provider>>> = {
  async express(verifier) {
    const app = express();
    app.use(express.urlencoded({ extended: true }));
    const router = express.Router();
    router.get("/things", protectExpress(verifier, { scopes: ["read"] }), (request, response) => {
      response.json(told(request.principal!));
    });
    router.post("/things", protectExpress(verifier, { scopes: ["write"] }), (request, response) => {
      response.json(told(principalOf(request)));
    });
    router.get(
      "/devices/:name",
      protectExpress(verifier, { object: ({ originalUrl }) => own(originalUrl!) }),
      (request, response) => {
        response.json(told(principalOf(request)));
      },
    );
    app.use("/v", router);
    app.get("/open", (request, response) => {
      response.json(told(principalOf(request)));
    });
    return provide(createServer(app));
  },

  async fastify(verifier) {
    const app = fastify();
    app.addContentTypeParser("application/x-www-form-urlencoded", { parseAs: "string" }, (_request, body, done) =>
      done(null, Object.fromEntries(new URLSearchParams(body as string))),
    );
    app.get("/v/things", { onRequest: protectFastify(verifier, { scopes: ["read"] }) }, (request) => {
      return told(request.principal);
    });
    app.post("/v/things", { preHandler: protectFastify(verifier, { scopes: ["write"] }) }, (request) => {
      return told(principalOf(request));
    });
    app.get(
      "/v/devices/:name",
      { onRequest: protectFastify(verifier, { object: ({ raw }) => own(raw.url!) }) },
      (request) => told(request.principal),
    );
    app.get("/open", (request) => told(principalOf(request)));
    await app.listen({ port: 0, host: "127.0.0.1" });
    return { port: (app.server.address() as AddressInfo).port, close: () => app.close() };
  },

  async hono(verifier) {
    const app = new Hono<{ Bindings: HttpBindings; Variables: { principal: Principal } }>();
    app.get("/v/things", protectHono(verifier, { scopes: ["read"] }), (c) => c.json(told(c.get("principal"))));
    app.post("/v/things", protectHono(verifier, { scopes: ["write"] }), (c) => c.json(told(principalOf(c))));
    app.get("/v/devices/:name", protectHono(verifier, { object: (c) => own(new URL(c.req.raw.url).pathname) }), (c) =>
      c.json(told(c.get("principal"))),
    );
    app.get("/open", (c) => c.json(told(principalOf(c))));
    app.onError((_error, c) => c.text("failed", 500));
    const server = serve({ fetch: app.fetch, port: 0, hostname: "127.0.0.1" }) as Server;
    if (!server.listening) await once(server, "listening");
    return ending(server);
  },

  async node(verifier) {
    const say = (response: import("node:http").ServerResponse, principal: Principal): void =>
      void response.setHeader("content-type", "application/json").end(JSON.stringify(told(principal)));
    type Listener = (
      request: import("node:http").IncomingMessage,
      response: import("node:http").ServerResponse,
    ) => void;
    const read: Listener = protect(verifier, { scopes: ["read"] }, (_request, response, who) => say(response, who));
    const write: Listener = protect(verifier, { scopes: ["write"] }, (_request, response, who) => say(response, who));
    const device: Listener = protect(verifier, { object: ({ url }) => own(url!) }, (_request, response, who) =>
      say(response, who),
    );
    const open: Listener = protect(verifier, {}, () => Promise.reject(new Error("the handler is broken")));
    return provide(
      createServer((request, response) => {
        if (request.url!.startsWith("/v/devices/")) device(request, response);
        else if (request.url === "/open") open(request, response);
        else (request.method === "POST" ? write : read)(request, response);
      }),
    );
  },
};

async function provide(server: Server): Promise<Provider> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return ending(server);
}

function ending(server: Server): Provider {
  return {
    port: (server.address() as AddressInfo).port,
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}
