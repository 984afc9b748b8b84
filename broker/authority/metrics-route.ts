/**
 * `GET /metrics`: the figures of this process, for whoever holds the admin key. They say how large a fleet is, when it sleeps
 * and what it is refused, which is nobody else's business, on this machine as little as elsewhere.
 *
 * Knows nothing of what is counted: the text is made by whoever starts the authority.
 */
import type { FastifyInstance } from "fastify";
import { createAdminCheck } from "./admin-key.ts";
import type { AuthorityContext } from "./context.ts";

/** What a scrape gives: a text and what it is. */
export type ReadMetrics = () => Promise<{ readonly contentType: string; readonly text: string }>;

/** Registers the route where there are metrics. */
export function registerMetricsRoute(scope: FastifyInstance, context: AuthorityContext): void {
  const { metrics } = context;
  if (metrics === undefined) return;
  const assertAdmin = createAdminCheck(context.adminKey);
  scope.get("/metrics", { onRequest: async (request) => assertAdmin(request) }, async (_request, reply) => {
    const { contentType, text } = await metrics();
    return reply.header("cache-control", "no-store").type(contentType).send(text);
  });
}
