/** A token decoded for reading: plain JSON values, nothing verified. */
import { fromBase64url, toBase64url } from "../shared/base64url.ts";
import type { Confirmation } from "../shared/claims.ts";
import { toJwk } from "../shared/cose-key.ts";
import { Refusal } from "../shared/refusal.ts";
import { encodeScopeText, formatPermission, type Grant } from "../shared/scope.ts";
import { inspectToken } from "../shared/token.ts";
import { fail } from "./failure.ts";

/** What a token says of itself. */
export interface TokenDescription {
  readonly format: string;
  /** There is no other. */
  readonly alg: "ES256";
  readonly bytes: number;
  readonly kid: string | null;
  readonly claims: {
    readonly iss: string;
    readonly sub: string;
    readonly aud: string;
    readonly exp: number;
    readonly iat: number;
    readonly nbf?: number;
    /** Hexadecimal, of a CWT. */
    readonly cti?: string;
    /** Of a JWT, as it stands in it. */
    readonly jti?: string;
    readonly cnf?: object;
    /** The array of RFC 9431, section 2.3, or the names of an api of kind http. */
    readonly scope?: unknown;
  };
  /** The key or certificate that the token is bound to, or the key of its DPoP proofs; null for a bearer token. */
  readonly confirmation: { readonly kind: "key" | "certificate" | "thumbprint"; readonly sha256: string } | null;
  /** Permissions, or scopes. */
  readonly allows: readonly string[];
  /** RFC 9770 hashes, hexadecimal. */
  readonly hashes: readonly string[];
}

/** Fails when it is no token. */
export function describeToken(text: string): TokenDescription {
  const { format, bytes, kid, claims, grants, hashes } = inspect(text);
  const { iss, sub, aud, exp, iat, nbf, id, cnf, scope } = claims;
  return {
    format,
    alg: "ES256",
    bytes,
    kid: kid ?? null,
    claims: {
      iss,
      sub,
      aud,
      exp,
      iat,
      ...(nbf !== undefined && { nbf }),
      ...(format === "cwt" ? { cti: toHex(id) } : { jti: toBase64url(id) }),
      ...(cnf !== undefined && { cnf: toJsonConfirmation(cnf) }),
      ...(scope !== undefined && { scope: typeof scope === "string" ? scope : toJsonScope(scope) }),
    },
    confirmation: cnf === undefined ? null : { kind: cnf.kind, sha256: hashOf(cnf) },
    allows: typeof scope === "string" ? scope.split(" ") : grants.map(formatPermission),
    hashes,
  };
}

function inspect(text: string): ReturnType<typeof inspectToken> {
  try {
    return inspectToken(text);
  } catch (error) {
    // never the text itself: it may be half of a token
    if (error instanceof Refusal) return fail(`this is no token (${error.reason})`);
    throw error;
  }
}

function toJsonConfirmation(cnf: Confirmation): object {
  if (cnf.kind === "thumbprint") return { jkt: cnf.jkt };
  return cnf.kind === "key" ? { jwk: toJwk(cnf.key) } : { "x5t#S256": toBase64url(cnf.sha256) };
}

function hashOf(cnf: Confirmation): string {
  if (cnf.kind === "thumbprint") return toHex(fromBase64url(cnf.jkt));
  return cnf.kind === "key" ? cnf.key.thumbprint : toHex(cnf.sha256);
}

function toJsonScope(grants: readonly Grant[]): unknown {
  return JSON.parse(Buffer.from(encodeScopeText(grants), "base64url").toString());
}

function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}
