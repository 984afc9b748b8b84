/**
 * `GET /crl`: the list of revoked certificates of our own CA, for anybody (RFC 5280, section 5; media type of RFC 2585). The
 * answer is DER, and small enough a part of its life is promised to caches that a revocation is not hidden for long.
 */
import type { FastifyInstance } from "fastify";
import type { AuthorityContext } from "./context.ts";
import { answerKnown } from "./entity-tag.ts";
import { openCrl } from "./published-crl.ts";

const maxAgeSeconds = 60;

/** Registers the route. */
export function registerCrlRoute(scope: FastifyInstance, { registry, ca }: AuthorityContext): void {
  const crl = openCrl(registry, ca);
  scope.addHook("onClose", async () => crl.close());
  scope.get("/crl", async (request, reply) => {
    const { der, tag, thisUpdate } = await crl.read();
    void reply
      .header("cache-control", `public, max-age=${String(maxAgeSeconds)}`)
      .header("last-modified", new Date(thisUpdate * 1000).toUTCString());
    if (answerKnown(request, reply, tag)) return reply;
    return reply.type("application/pkix-crl").send(der);
  });
}
