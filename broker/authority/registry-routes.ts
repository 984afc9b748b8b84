/**
 * `/v1`: the registry over HTTP, for whoever holds the admin key, and `GET /openapi.json`, which says so to anybody.
 *
 * Refusals are thrown and answered by the authority's error handler, as problem details (RFC 9457).
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { createAdminCheck } from "./admin-key.ts";
import { openApiDocument } from "./openapi.ts";
import { sent } from "./registry-bodies.ts";
import { readFields } from "./registry-fields.ts";
import type { Params, RegistryContext, Route } from "./registry-route.ts";
import { routes } from "./registry-table.ts";

/** Registers everything under `/v1` but `/v1/self`. */
export function registerRegistryRoutes(app: FastifyInstance, context: RegistryContext): void {
  const document = openApiDocument();
  app.get("/openapi.json", () => ({ ...document, servers: [{ url: context.issuer }] }));
  app.register(async (guarded) => {
    const assertAdmin = createAdminCheck(context.adminKey);
    guarded.addHook("onRequest", async (request) => assertAdmin(request));
    for (const route of routes) {
      guarded.route({
        method: route.method,
        url: route.path,
        // the key was checked before the body is read
        ...(route.bodyBytes !== undefined && { bodyLimit: route.bodyBytes }),
        handler: (request, reply) => answer(route, context, request, reply),
      });
    }
  });
}

function answer(route: Route, context: RegistryContext, request: FastifyRequest, reply: FastifyReply): unknown {
  const result = route.run(context, {
    params: request.params as Params,
    query: route.query === undefined ? undefined : readFields(route.query, request.query),
    body: route.sends === undefined ? undefined : readFields(sent[route.sends], request.body),
  });
  if (route.answers === undefined) return reply.code(204).send();
  // secrets are among the answers
  reply.header("cache-control", "no-store");
  if (route.locate !== undefined) {
    const path = request.url.split("?", 1)[0]!.replace(/\/$/, "");
    reply.code(201).header("location", `${path}/${encodeURIComponent(route.locate(result))}`);
  }
  return reply.send(result);
}
