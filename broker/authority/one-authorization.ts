/**
 * That a request has at most one Authorization header: of several node keeps the first and says nothing, and whoever stands
 * before us may have looked at another (RFC 9110, section 5.3).
 */
import type { FastifyInstance, FastifyRequest } from "fastify";
import { Refusal } from "../../shared/refusal.ts";

const name = "authorization";

/** Refuses requests with more than one, with `request.malformed`; for all routes that are registered later. */
export function refuseSecondAuthorization(app: FastifyInstance): void {
  app.addHook("onRequest", (request, _reply, done) => {
    if (hasTwo(request)) done(new Refusal("request.malformed", "more than one Authorization header"));
    else done();
  });
}

function hasTwo({ raw: { rawHeaders } }: FastifyRequest): boolean {
  let found = 0;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const header = rawHeaders[at]!;
    if (header.length === name.length && header.toLowerCase() === name) found++;
  }
  return found > 1;
}
