/**
 * Protects routes of Fastify: a hook for `onRequest` or, where a token in a form is to be refused and not only ignored,
 * `preHandler`.
 */
import { certificateOf, createGuard, notePrincipal, pairsOf, type ProtectOptions } from "./http-guard.ts";
import type { NodeRequest } from "./node-http.ts";
import type { Principal } from "./principal.ts";
import type { Verifier } from "./verifier.ts";

/** What is asked of the request of Fastify. */
export interface FastifyRequestLike {
  readonly raw: NodeRequest;
  /** The address before Fastify rewrote it. */
  readonly originalUrl?: string | undefined;
  readonly body?: unknown;
  readonly params?: unknown;
}

/** What is asked of the reply of Fastify. */
export interface FastifyReplyLike {
  code(status: number): unknown;
  header(name: string, value: string | readonly string[]): unknown;
  send(body: string): unknown;
}

/** A hook that lets a request pass with `principal` set, or answers by itself. */
export function protectFastify(
  verifier: Verifier,
  options: ProtectOptions<FastifyRequestLike> = {},
): (request: FastifyRequestLike, reply: FastifyReplyLike) => Promise<unknown> {
  const guard = createGuard<FastifyRequestLike>(verifier, options, ({ raw, originalUrl, body }) => ({
    method: raw.method ?? "",
    target: originalUrl ?? raw.url ?? "/",
    headers: pairsOf(raw.rawHeaders),
    body,
    certificate: certificateOf(raw.socket),
  }));
  return async (request, reply) => {
    const { principal, answer } = await guard(request);
    if (principal !== undefined) {
      notePrincipal(request, principal);
      (request as { principal?: Principal }).principal = principal;
      return undefined;
    }
    reply.code(answer.status);
    for (const [name, value] of Object.entries(answer.headers)) reply.header(name, value);
    reply.send(answer.body);
    return reply;
  };
}
