/**
 * `GET /v1/self`: what a client may know of itself. It proves itself by its certificate or its secret and learns what its
 * roles give it, where the brokers are, and what time it is, so that a device without a clock can set one.
 */
import type { TLSSocket } from "node:tls";
import type { FastifyInstance } from "fastify";
import { apisOf } from "./client-apis.ts";
import { assertLive, authenticateClient } from "./client-auth.ts";
import type { AuthorityContext } from "../context.ts";

/** Registers `GET /v1/self`. */
export function registerSelfRoute(scope: FastifyInstance, context: AuthorityContext): void {
  scope.get("/v1/self", (request, reply) => {
    const now = context.registry.nowSeconds();
    const evidence = { socket: request.raw.socket as TLSSocket, authorization: request.headers.authorization };
    const asker = authenticateClient(context, evidence, now);
    assertLive(context, asker);
    const { client } = asker;
    void reply.header("cache-control", "no-store").send({
      id: client.id,
      kind: client.kind,
      project: client.project,
      enabled: client.enabled,
      apis: apisOf(context.registry, client).map(({ api, permissions }) => ({
        name: api.name,
        kind: api.kind,
        audience: api.audience,
        bearer: api.bearer,
        permissions,
      })),
      brokers: { mqtts: context.brokers.mqtts, wss: context.brokers.wss },
      issuer: context.issuer,
      time: now,
    });
  });
}
