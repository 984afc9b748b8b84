/**
 * Protects routes of Hono, on any platform that has the Request and Response of the fetch standard.
 *
 * That standard joins header fields of one name by commas, so that two Authorization headers are seen as one that is no
 * credential. It has no TLS connection: a certificate is given by the option.
 */
import { createGuard, notePrincipal, type ProtectOptions } from "./http-guard.ts";
import type { Principal } from "./principal.ts";
import type { Verifier } from "./verifier.ts";

/** What is asked of the context of Hono. */
export interface HonoContext {
  readonly req: { readonly raw: Request };
  set(name: "principal", principal: Principal): void;
}

/** Middleware that lets a request pass with the variable `principal` set, or answers by itself. */
export function protectHono<Context extends HonoContext = HonoContext>(
  verifier: Verifier,
  options: ProtectOptions<Context> = {},
): (context: Context, next: () => Promise<void>) => Promise<Response | void> {
  const guard = createGuard<Context>(verifier, options, ({ req: { raw } }) => ({
    method: raw.method,
    target: raw.url,
    headers: raw.headers,
  }));
  return async (context, next) => {
    const { principal, answer } = await guard(context);
    if (principal === undefined) {
      const headers = new Headers();
      for (const [name, values] of Object.entries(answer.headers)) {
        for (const value of [values].flat()) headers.append(name, value);
      }
      return new Response(answer.body, { status: answer.status, headers });
    }
    notePrincipal(context, principal);
    context.set("principal", principal);
    await next();
    return undefined;
  };
}
