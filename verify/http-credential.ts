/**
 * The token of an HTTP request: from the Authorization header and from nowhere else (RFC 6750, section 2.1; RFC 9449,
 * section 7.1).
 *
 * Refuses a token in the query or in a form (RFC 6750, section 5.3: it would stand in logs and histories), more than one
 * Authorization or DPoP header, and what is no credential by its form.
 */
import { refuse } from "../shared/refusal.ts";

/** A request as the adapters hand it over. */
export interface IncomingHttp {
  readonly method: string;
  /** Path and query as they were sent, or a whole URL; of that only path and query are looked at. */
  readonly target: string;
  /** Every header field with its name, one entry for each time that it was sent. */
  readonly headers: Iterable<readonly [name: string, value: string]>;
  /** The body where somebody has read and parsed it already. */
  readonly body?: unknown;
  /** DER of the certificate that the TLS client has shown. */
  readonly certificate?: Uint8Array | undefined;
}

/** What a request brings. */
export interface HttpCredential {
  readonly scheme: "Bearer" | "DPoP";
  readonly token: string;
  readonly dpop: string | undefined;
}

const schemes: ReadonlyMap<string, "Bearer" | "DPoP"> = new Map([
  ["bearer", "Bearer"],
  ["dpop", "DPoP"],
]);

/** Reads it. Throws `token.query`, `credential.missing`, `credential.malformed` or `request.malformed`. */
export function readCredential({ target, headers, body }: IncomingHttp): HttpCredential {
  const authorizations: string[] = [];
  const proofs: string[] = [];
  let isForm = false;
  for (const [field, value] of headers) {
    const name = field.toLowerCase();
    if (name === "authorization") authorizations.push(value);
    else if (name === "dpop") proofs.push(value);
    else if (name === "content-type") isForm ||= /^application\/x-www-form-urlencoded\b/i.test(value.trim());
  }
  const mark = target.indexOf("?");
  if (mark >= 0 && hasToken(new URLSearchParams(target.slice(mark + 1).split("#", 1)[0]))) {
    refuse("token.query", "in the query");
  }
  if (isForm && typeof body === "object" && body !== null && hasToken(Object.entries(body))) {
    refuse("token.query", "in a form");
  }
  if (authorizations.length > 1) refuse("request.malformed", "several Authorization headers");
  if (proofs.length > 1) refuse("request.malformed", "several DPoP headers");
  return { ...readAuthorization(authorizations[0]), dpop: proofs[0] };
}

/** The path of a request, where a prefix of it may have been cut off by whoever handed it on. */
export function pathOf(target: string): string {
  const text = target.split(/[?#]/, 1)[0]!;
  // the form for proxies (RFC 9112, section 3.2.2) names a host, which is not ours to believe
  const whole = /^[a-z][a-z0-9+.-]*:\/\/[^/]*(\/.*)?$/i.exec(text);
  const path = whole === null ? text : (whole[1] ?? "/");
  // it is put behind an origin, whose host must end there
  return path.startsWith("/") ? path : `/${path}`;
}

/** In which scheme a token was tried, whatever came of it; undefined for none, or for several. */
export function triedScheme({ headers }: IncomingHttp): HttpCredential["scheme"] | undefined {
  const [authorization, ...others] = [...headers].filter(([name]) => name.toLowerCase() === "authorization");
  return others.length > 0 ? undefined : readScheme(authorization?.[1]).scheme;
}

function hasToken(entries: Iterable<readonly [string, unknown]>): boolean {
  for (const [name] of entries) if (name === "access_token") return true;
  return false;
}

function readAuthorization(authorization: string | undefined): Pick<HttpCredential, "scheme" | "token"> {
  const { scheme, rest } = readScheme(authorization);
  // another scheme is no attempt (RFC 6750, section 3.1)
  if (scheme === undefined) return refuse("credential.missing");
  // token68; a second header that was joined to the first by a comma is none
  if (!/^[A-Za-z0-9._~+/-]+=*$/.test(rest)) return refuse("credential.malformed", `after ${scheme} there is no token`);
  return { scheme, token: rest };
}

function readScheme(authorization = ""): {
  readonly scheme: HttpCredential["scheme"] | undefined;
  readonly rest: string;
} {
  const [, name = "", rest = ""] = /^([!#$%&'*+.^_`|~\w-]+)(?: +(.*))?$/.exec(authorization.trim()) ?? [];
  return { scheme: schemes.get(name.toLowerCase()), rest };
}
