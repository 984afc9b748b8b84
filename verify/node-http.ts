/**
 * Protects a handler of node's own HTTP server, of http and https alike.
 */
import { Refusal } from "../shared/refusal.ts";
import { certificateOf, createGuard, notePrincipal, pairsOf, type ProtectOptions } from "./http-guard.ts";
import { toAnswer, type HttpAnswer } from "./http-refusal.ts";
import type { Principal } from "./principal.ts";
import type { Verifier } from "./verifier.ts";

/** What is asked of node's request. */
export interface NodeRequest {
  readonly method?: string | undefined;
  readonly url?: string | undefined;
  readonly rawHeaders: readonly string[];
  readonly socket: object;
}

/** What is asked of node's response. */
export interface NodeResponse {
  readonly headersSent: boolean;
  statusCode: number;
  setHeader(name: string, value: string | readonly string[]): unknown;
  end(body: string): unknown;
  destroy(): unknown;
}

/** Handles a request of a caller that was let in. */
export type NodeHandler<Request, Response> = (
  request: Request,
  response: Response,
  principal: Principal,
) => void | Promise<void>;

/** A request listener that calls the handler with the principal, or answers by itself. */
export function protect<Request extends NodeRequest, Response extends NodeResponse>(
  verifier: Verifier,
  options: ProtectOptions<Request>,
  handler: NodeHandler<Request, Response>,
): (request: Request, response: Response) => void {
  const guard = createGuard<Request>(verifier, options, readNode);
  const handle = async (request: Request, response: Response): Promise<void> => {
    const { principal, answer } = await guard(request);
    if (principal === undefined) return sendAnswer(response, answer);
    notePrincipal(request, principal);
    await handler(request, response, principal);
  };
  return (request, response) => {
    handle(request, response).catch((error: unknown) => {
      const refusal = new Refusal("internal");
      verifier.log.error({ id: refusal.id, err: error }, "a handler has failed");
      if (response.headersSent) response.destroy();
      else sendAnswer(response, toAnswer(refusal, { realm: "", scopes: [], takesDpop: false, scheme: undefined }));
    });
  };
}

/** Sends an answer over node's response, unless somebody, such as a timeout, has answered already. */
export function sendAnswer(response: NodeResponse, { status, headers, body }: HttpAnswer): void {
  if (response.headersSent) return;
  response.statusCode = status;
  for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
  response.end(body);
}

function readNode(request: NodeRequest) {
  const { method = "", url = "/", rawHeaders, socket } = request;
  return { method, target: url, headers: pairsOf(rawHeaders), certificate: certificateOf(socket) };
}
