/**
 * Protects routes of Express, and of what takes the same middleware.
 */
import { certificateOf, createGuard, notePrincipal, pairsOf, type ProtectOptions } from "./http-guard.ts";
import { sendAnswer, type NodeRequest, type NodeResponse } from "./node-http.ts";
import type { Principal } from "./principal.ts";
import type { Verifier } from "./verifier.ts";

declare global {
  // the types of Express are meant to be added to here
  namespace Express {
    interface Request {
      /** Who makes the request, on a protected route. */
      principal?: Principal;
    }
  }
}

/** What is asked of the request of Express. */
export interface ExpressRequest extends NodeRequest {
  /** The address before a router cut its own part off. */
  readonly originalUrl?: string | undefined;
  readonly body?: unknown;
  principal?: Principal | undefined;
}

/** Middleware that lets a request pass with `principal` set, or answers by itself. */
export function protectExpress<Request extends ExpressRequest = ExpressRequest>(
  verifier: Verifier,
  options: ProtectOptions<Request> = {},
): (request: Request, response: NodeResponse, next: () => void) => Promise<void> {
  const guard = createGuard<Request>(verifier, options, (request) => ({
    method: request.method ?? "",
    target: request.originalUrl ?? request.url ?? "/",
    headers: pairsOf(request.rawHeaders),
    body: request.body,
    certificate: certificateOf(request.socket),
  }));
  return async (request, response, next) => {
    const { principal, answer } = await guard(request);
    if (principal === undefined) return sendAnswer(response, answer);
    notePrincipal(request, principal);
    request.principal = principal;
    next();
  };
}
