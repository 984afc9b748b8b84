/**
 * Asks the authority about one token (RFC 7662), as the api whose token it is.
 *
 * The answer is yes or no only where it is one beyond doubt: `active` is a boolean and, where it is true, issuer, audience,
 * subject, expiry and id are those that the token itself states: it may be an answer to another question, where something
 * between has mixed them up. Everything else is a failure, and says nothing of the token.
 */
import { FeedError } from "../broker/trust/feed-request.ts";
import type { Claims } from "../shared/claims.ts";
import { readIntrospectionJson, type Introspection } from "../shared/introspection.ts";
import { Refusal } from "../shared/refusal.ts";
import { readJson, type Authority } from "./authority.ts";

const maxBytes = 64 * 1024;
const same = ["iss", "aud", "sub", "exp"] as const;

/** What the token is good for now, which may be less than it says; undefined for nothing. Throws {@link FeedError}. */
export function askScope(
  authority: Authority,
  token: string,
  claims: Claims,
): Promise<Pick<Claims, "scope"> | undefined> {
  const asking = {
    headers: { accept: "application/json" },
    form: { token, token_type_hint: "access_token" },
    isAuthenticated: true,
    maxBytes,
  };
  return authority.ask("introspection_endpoint", asking, (fetched) => {
    const answer = read(readJson(fetched));
    if (!answer.active) return undefined;
    for (const name of same) {
      if (answer.claims[name] !== claims[name]) throw new FeedError("malformed", `${name} is not that of the token`);
    }
    if (!isEqual(answer.claims.id, claims.id)) throw new FeedError("malformed", "jti is not that of the token");
    return answer.claims;
  });
}

function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

function read(value: unknown): Introspection {
  try {
    return readIntrospectionJson(value);
  } catch (error) {
    if (error instanceof Refusal) throw new FeedError("malformed", error.message, error);
    throw error;
  }
}
