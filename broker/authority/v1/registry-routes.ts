/**
 * `/v1`: the registry over HTTP, for administrators and developers.
 *
 * Refusals are thrown and answered by the authority's error handler, as problem details (RFC 9457).
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { networkOf } from "../../../shared/network.ts";
import { refuse } from "../../../shared/refusal.ts";
import { createAdmission, principalOf, type Admission } from "./access.ts";
import { openAccountDesk, type AccountDesk } from "../accounts/account-desk.ts";
import { logFailure } from "../answer-refusal.ts";
import { openChangeLine, type ChangeLine, type ChangePlace } from "./change-line.ts";
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
  readonly line: ChangeLine;
}

/** Entries in all lists of one request of a developer: a change is made in one go, and nothing else goes on meanwhile. */
export const maxEntriesOfDeveloper = 1_000;

/** Where requests stand of which the handler knows nothing yet. */
const places = new WeakMap<FastifyRequest, ChangePlace>();

/** Registers everything under `/v1` but `/v1/self`. */
export function registerRegistryRoutes(app: FastifyInstance, context: RegistryContext): void {
  registerDocsRoutes(app, context);
  const office: Office = {
    context,
    admit: createAdmission(context),
    desk: openAccountDesk(context.limits),
    line: openChangeLine(),
  };
  app.register(async (guarded) => {
    guarded.setErrorHandler((error, request) => {
      // a body that cannot be read, or never comes, is no change
      takePlace(request)?.leave();
      // answered by the handler around this one
      throw error;
    });
    for (const route of routes) {
      guarded.route({
        method: route.method,
        url: route.path,
        // whoever asks is checked before the body is read
        onRequest: async (request) => enter(route, office, request),
        ...(route.bodyBytes !== undefined && { bodyLimit: route.bodyBytes, preParsing: awaitBody }),
        handler: (request, reply) => answer(route, office, request, reply),
      });
    }
  });
}

function enter(route: Route, { admit, line }: Office, request: FastifyRequest): void {
  const principal = admit(route, request);
  if (principal.kind !== "developer" || route.method === "GET") return;
  places.set(request, line.enter(principal.developer.id));
}

/** Many long bodies hold the event loop as well: few of one developer are read at a time, and each change has a turn of its own. */
async function awaitBody(request: FastifyRequest): Promise<void> {
  const place = places.get(request);
  if (place === undefined) return;
  await place.turn();
  // nothing more would come of one that has ended meanwhile, not even its end
  if (request.raw.destroyed) refuse("request.malformed", "the connection has ended");
}

function takePlace(request: FastifyRequest): ChangePlace | undefined {
  const place = places.get(request);
  places.delete(request);
  return place;
}

async function answer(route: Route, office: Office, request: FastifyRequest, reply: FastifyReply): Promise<unknown> {
  const place = takePlace(request);
  const result =
    place === undefined ? await run(route, office, request) : await runInTurn(place, route, office, request);
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

async function runInTurn(place: ChangePlace, route: Route, office: Office, request: FastifyRequest): Promise<unknown> {
  try {
    assertFewEntries(request.body);
    await place.turn();
    return await run(route, office, request);
  } finally {
    place.leave();
  }
}

function run(route: Route, office: Office, request: FastifyRequest): unknown {
  const query = route.query === undefined ? undefined : readFields(route.query, request.query);
  const body = route.sends === undefined ? undefined : readFields(sent[route.sends], request.body);
  return route.run(toCall(route, office, request), { params: request.params as Params, query, body });
}

/** Before anything looks at each of them. */
function assertFewEntries(body: unknown): void {
  const lists = Object.values(body ?? {}).filter((field) => Array.isArray(field));
  const count = lists.reduce((sum, { length }) => sum + length, 0);
  if (count > maxEntriesOfDeveloper)
    refuse("registry.invalid", `more than ${maxEntriesOfDeveloper} entries in one call`);
}

function toCall(route: Route, { context, admit, desk }: Office, request: FastifyRequest): CallContext {
  // a body and a turn in the line can take their time, and they may have lost meanwhile what they had
  const isLate = route.sends !== undefined || route.method !== "GET";
  const principal = isLate ? admit(route, request) : principalOf(request)!;
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
