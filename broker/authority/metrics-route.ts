/**
 * `GET /metrics`: the figures of this process, for a scraper on this machine, and for whoever holds the admin key from
 * elsewhere. They say how large a fleet is, when it sleeps and what it is refused, and name nobody. What a proxy on this
 * machine passes on comes from elsewhere.
 *
 * Knows nothing of what is counted: the text is made by whoever starts the authority.
 */
import type { FastifyInstance, FastifyRequest } from "fastify";
import { createAdminCheck } from "./admin-key.ts";
import type { AuthorityContext } from "./context.ts";

const loopback: ReadonlySet<string> = new Set(["127.0.0.1", "::1", "::ffff:127.0.0.1"]);

/** Registers the route where there are metrics. */
export function registerMetricsRoute(scope: FastifyInstance, context: AuthorityContext): void {
  const { metrics } = context;
  if (metrics === undefined) return;
  const assertAdmin = createAdminCheck(context.adminKey);
  const assertReader = async (request: FastifyRequest): Promise<void> => {
    const { authorization, forwarded, "x-forwarded-for": via } = request.headers;
    const isLocal = loopback.has(request.socket.remoteAddress ?? "") && forwarded === undefined && via === undefined;
    if (authorization !== undefined || !isLocal) assertAdmin(request);
  };
  scope.get("/metrics", { onRequest: assertReader }, async (_request, reply) => {
    const { contentType, text } = await metrics();
    return reply.header("cache-control", "no-store").type(contentType).send(text);
  });
}
