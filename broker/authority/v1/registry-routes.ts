/**
 * `/v1`: the registry over HTTP, for administrators and developers.
 *
 * Refusals are thrown and answered by the authority's error handler, as problem details (RFC 9457).
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { networkOf } from "../../../shared/network.ts";
import { createAdmission, principalOf, type Admission } from "./access.ts";
import { openAccountDesk, type AccountDesk } from "../accounts/account-desk.ts";
import { logFailure } from "../answer-refusal.ts";
import { registerDocsRoutes } from "./docs-routes.ts";
import { sent } from "./registry-bodies.ts";
import { readFields } from "./registry-fields.ts";
import { Accepted, type CallContext, type Params, type RegistryContext, type Route } from "./registry-route.ts";
import { routes } from "./registry-table.ts";

/** What all rows share. */
interface Office {
  readonly context: RegistryContext;
  readonly admit: Admission;
  readonly desk: AccountDesk;
}

/** Registers everything under `/v1` but `/v1/self`. */
export function registerRegistryRoutes(app: FastifyInstance, context: RegistryContext): void {
  registerDocsRoutes(app, context);
  const office: Office = { context, admit: createAdmission(context), desk: openAccountDesk(context.limits) };
  app.register(async (guarded) => {
    for (const route of routes) {
      guarded.route({
        method: route.method,
        url: route.path,
        // whoever asks is checked before the body is read
        onRequest: async (request) => void office.admit(route, request),
        ...(route.bodyBytes !== undefined && { bodyLimit: route.bodyBytes }),
        handler: (request, reply) => answer(route, office, request, reply),
      });
    }
  });
}

async function answer(route: Route, office: Office, request: FastifyRequest, reply: FastifyReply): Promise<unknown> {
  const query = route.query === undefined ? undefined : readFields(route.query, request.query);
  const body = route.sends === undefined ? undefined : readFields(sent[route.sends], request.body);
  const result = await route.run(toCall(route, office, request), { params: request.params as Params, query, body });
  // secrets are among the answers
  reply.header("cache-control", "no-store");
  if (result instanceof Accepted) return reply.code(202).send(result.body);
  if (route.answers === undefined) return reply.code(204).send();
  if (route.locate !== undefined) {
    const path = request.url.split("?", 1)[0]!.replace(/\/$/, "");
    reply.code(201).header("location", `${path}/${encodeURIComponent(route.locate(result))}`);
  }
  return reply.send(result);
}

function toCall(route: Route, { context, admit, desk }: Office, request: FastifyRequest): CallContext {
  // a body can take its time, and they may have lost meanwhile what they had
  const principal = route.sends === undefined ? principalOf(request)! : admit(route, request);
  return {
    ...context,
    principal,
    actor: principal.actor,
    network: networkOf(request.socket.remoteAddress ?? ""),
    desk,
    afterwards: (work) => void setImmediate(() => runAfterwards(context, request, work)),
  };
}

function runAfterwards(context: RegistryContext, request: FastifyRequest, work: () => void): void {
  try {
    if (context.registry.db.open) work();
  } catch (error) {
    logFailure(context, error, request);
  }
}
