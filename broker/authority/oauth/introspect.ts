/**
 * A question about a token, from the caller to what it hears (RFC 7662, section 2; RFC 9200, section 5.9).
 *
 * The resource server hears of tokens for its own audience, a client of its own, the administrator of any. Everything else
 * is one answer: a token of another, an unknown, malformed, expired or revoked one. Only the log knows why.
 */
import { Refusal } from "../../../shared/refusal.ts";
import type { Introspection } from "../../../shared/introspection.ts";
import { authenticateCaller, type Caller } from "./caller-auth.ts";
import { spendAssertionOf } from "./caller.ts";
import type { AuthorityContext } from "../context.ts";
import { readActiveToken } from "./live-token.ts";
import type { PresentedToken } from "./presented-token.ts";

/** What was found out, for whom, and why it is not more. */
export interface Finding {
  readonly caller: Caller;
  readonly answer: Introspection;
  /** For the log. */
  readonly why?: Refusal;
}

/** Decides one question. Throws what {@link authenticateCaller} throws; a token is never the reason. */
export function introspect(context: AuthorityContext, { token, evidence }: PresentedToken): Finding {
  const caller = authenticateCaller(context, evidence, context.registry.nowSeconds());
  // once, whatever the token is
  spendAssertionOf(context.registry, caller);
  try {
    return { caller, answer: readActiveToken(context, caller, token) };
  } catch (error) {
    if (error instanceof Refusal) return { caller, answer: { active: false }, why: error };
    throw error;
  }
}
