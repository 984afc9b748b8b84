/**
 * How a resource server says no over HTTP: RFC 6750, section 3, and RFC 9449, section 7.1.
 *
 * The caller is told the error code, a vague sentence and the id; the exact reason stands in the log under that id. Who brought no
 * credentials is told how to bring them and no error (RFC 6750, section 3.1).
 */
import { meaningOf, type Refusal } from "../shared/refusal.ts";

/** An answer to send. A header may stand there several times. */
export interface HttpAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  readonly body: string;
}

/** What the answer depends on beside the reason. */
export interface Challenge {
  readonly realm: string;
  /** What the route demands. */
  readonly scopes: readonly string[];
  /** Whether proofs can be checked here. */
  readonly takesDpop: boolean;
  /** In which scheme the token came. */
  readonly scheme: "Bearer" | "DPoP" | undefined;
}

interface Kind {
  readonly status: number;
  readonly error: string;
}

const invalidRequest: Kind = { status: 400, error: "invalid_request" };
const invalidToken: Kind = { status: 401, error: "invalid_token" };
const failed: Kind = { status: 500, error: "server_error" };
const byReason: Readonly<Record<string, Kind>> = {
  "credential.malformed": invalidRequest,
  "request.malformed": invalidRequest,
  "token.query": invalidRequest,
  "scope.insufficient": { status: 403, error: "insufficient_scope" },
  "authority.unreachable": { status: 503, error: "temporarily_unavailable" },
  "rate.limited": { status: 429, error: "temporarily_unavailable" },
};
/** The first part of the reasons that are about a token, or about who holds it. */
const aboutToken = /^(?:token|cose|cbor|key|base64url|proof|certificate)\./;
const retryAfterSeconds = 5;

/** The answer to a refusal. */
export function toAnswer(refusal: Refusal, challenge: Challenge): HttpAnswer {
  if (refusal.reason === "credential.missing") return answer(401, challengesFor(challenge, ""), "");
  const { status, error } = kindOf(refusal.reason);
  const description = `${meaningOf(refusal.reason).says} (id ${refusal.id})`;
  const body = JSON.stringify({ error, error_description: description });
  if (status === 503 || status === 429) {
    const { retryAfterSeconds: seconds = retryAfterSeconds } = refusal as { readonly retryAfterSeconds?: number };
    return answer(status, { "retry-after": `${seconds}` }, body);
  }
  if (status === 500) return answer(status, {}, body);
  const scope = status === 403 && challenge.scopes.length > 0 ? `, scope="${quote(challenge.scopes.join(" "))}"` : "";
  return answer(
    status,
    challengesFor(challenge, `, error="${error}", error_description="${quote(description)}"${scope}`),
    body,
  );
}

function kindOf(reason: string): Kind {
  if (Object.hasOwn(byReason, reason)) return byReason[reason]!;
  if (reason.startsWith("dpop.")) return { status: 401, error: "invalid_dpop_proof" };
  return aboutToken.test(reason) ? invalidToken : failed;
}

/** The error stands in the challenge of the scheme that was used. */
function challengesFor({ realm, takesDpop, scheme }: Challenge, error: string): HttpAnswer["headers"] {
  const bearer = `Bearer realm="${quote(realm)}"${scheme === "DPoP" ? "" : error}`;
  const dpop = `DPoP realm="${quote(realm)}", algs="ES256"${scheme === "DPoP" ? error : ""}`;
  return { "www-authenticate": takesDpop || scheme === "DPoP" ? [bearer, dpop] : [bearer] };
}

function answer(status: number, headers: HttpAnswer["headers"], body: string): HttpAnswer {
  return {
    status,
    headers: {
      ...headers,
      "cache-control": "no-store",
      ...(body !== "" && { "content-type": "application/json" }),
      "content-length": `${Buffer.byteLength(body)}`,
    },
    body,
  };
}

/** For a quoted string: what cannot stand there is left out (RFC 6750, section 3). */
function quote(text: string): string {
  return text.replaceAll(/[^\x20-\x21\x23-\x5b\x5d-\x7e]/g, "");
}
