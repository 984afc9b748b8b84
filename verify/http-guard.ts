/**
 * From an HTTP request to a decision: a principal, or the answer to send instead. All adapters stand on this; it never rejects,
 * and whatever goes wrong lets nobody through.
 */
import { Refusal } from "../shared/refusal.ts";
import { pathOf, readCredential, triedScheme, type IncomingHttp } from "./http-credential.ts";
import { toAnswer, type HttpAnswer } from "./http-refusal.ts";
import { readOrigin, type VerifierLog } from "./options.ts";
import type { ObjectRule, Principal } from "./principal.ts";
import type { Verifier } from "./verifier.ts";

/** What a route demands. `Request` is that of the framework. */
export interface ProtectOptions<Request = unknown> {
  /** All of them must stand in the token. */
  readonly scopes?: readonly string[] | undefined;
  /** Whose the thing must be that is asked for. */
  readonly object?: ((request: Request) => ObjectRule) | undefined;
  /** Under which address clients reach this route, if not that of the verifier; for DPoP. */
  readonly origin?: string | undefined;
  /** Named in challenges. Default: the audience. */
  readonly realm?: string | undefined;
  /**
   * DER of the client's certificate, where TLS ends before this process. Only what a proxy sets that clients cannot reach past.
   * Default: that of the connection.
   */
  readonly certificate?: ((request: Request) => Uint8Array | undefined) | undefined;
}

/** What came of a request. */
export type Decision =
  | { readonly principal: Principal; readonly answer?: undefined }
  | { readonly principal?: undefined; readonly answer: HttpAnswer };

/** Decides on requests; `read` makes one of what the framework gives. */
export function createGuard<Request>(
  verifier: Verifier,
  options: ProtectOptions<Request>,
  read: (request: Request) => IncomingHttp,
): (request: Request) => Promise<Decision> {
  const { scopes = [], object, realm = verifier.audience, certificate } = options;
  const origin = readOrigin(options.origin) ?? verifier.origin;
  return async (request) => {
    let incoming: IncomingHttp | undefined;
    try {
      const { headers, ...rest } = read(request);
      incoming = { ...rest, headers: [...headers] };
      const { scheme, token, dpop } = readCredential(incoming);
      const { method, target } = incoming;
      const principal = await verifier.verify(token, {
        scopes,
        scheme,
        method,
        url: origin === undefined ? undefined : origin + pathOf(target),
        dpop,
        certificate: certificate === undefined ? incoming.certificate : certificate(request),
        object: object?.(request),
      });
      return { principal };
    } catch (error) {
      const refusal = error instanceof Refusal ? error : new Refusal("internal");
      say(verifier.log, refusal, error, incoming);
      const scheme = incoming && triedScheme(incoming);
      return { answer: toAnswer(refusal, { realm, scopes, takesDpop: origin !== undefined, scheme }) };
    }
  };
}

/** What cannot be said is no reason to leave the caller without an answer. */
function say(log: VerifierLog, { reason, id, detail }: Refusal, error: unknown, incoming?: IncomingHttp): void {
  try {
    const path = incoming && pathOf(incoming.target).slice(0, 200);
    const facts = { reason, id, detail, method: incoming?.method, path };
    if (reason === "internal") log.error({ ...facts, err: error }, "failed");
    else log.info(facts, "refused");
  } catch {
    // the log of the provider is broken, which is not the caller's fault
  }
}

/** The fields of node's raw headers, which tell of each time that one was sent. */
export function* pairsOf(rawHeaders: readonly string[]): Generator<readonly [string, string]> {
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) yield [rawHeaders[at]!, rawHeaders[at + 1]!];
}

/** The certificate of a TLS client, DER; undefined without TLS or without one. */
export function certificateOf(socket: unknown): Uint8Array | undefined {
  const { getPeerX509Certificate } = (socket ?? {}) as { getPeerX509Certificate?: unknown };
  if (typeof getPeerX509Certificate !== "function") return undefined;
  return (getPeerX509Certificate.call(socket) as { readonly raw: Uint8Array } | undefined)?.raw;
}

const principals = new WeakMap<object, Principal>();

/** Notes who makes a request, for {@link principalOf}. */
export function notePrincipal(request: object, principal: Principal): void {
  principals.set(request, principal);
}

/** Who makes this request. Throws TypeError for a request that no adapter let in: its route is not protected. */
export function principalOf(request: object): Principal {
  const principal = principals.get(request);
  if (principal === undefined) throw new TypeError("the route is not protected");
  return principal;
}
