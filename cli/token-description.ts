/** A token decoded for reading: plain JSON values, nothing verified. */
import { formatPermission } from "../shared/scope.ts";
import { inspectToken } from "../shared/token.ts";

/** What a token says of itself. */
export interface TokenDescription {
  readonly format: string;
  readonly bytes: number;
  readonly kid: string | null;
  readonly claims: {
    readonly iss: string;
    readonly sub: string;
    readonly aud: string;
    readonly exp: number;
    readonly iat: number;
    readonly nbf?: number;
    /** Hexadecimal. */
    readonly id: string;
  };
  /** The key or certificate that the token is bound to; null for a bearer token. */
  readonly confirmation: { readonly kind: "key" | "certificate"; readonly sha256: string } | null;
  /** Permissions, or scopes. */
  readonly allows: readonly string[];
  /** RFC 9770 hashes, hexadecimal. */
  readonly hashes: readonly string[];
}

/** Throws a refusal when it is no token. */
export function describeToken(text: string): TokenDescription {
  const { format, bytes, kid, claims, grants, hashes } = inspectToken(text);
  const { iss, sub, aud, exp, iat, nbf, id, cnf, scope } = claims;
  const confirmation =
    cnf === undefined
      ? null
      : cnf.kind === "key"
        ? { kind: cnf.kind, sha256: cnf.key.thumbprint }
        : { kind: cnf.kind, sha256: toHex(cnf.sha256) };
  return {
    format,
    bytes,
    kid: kid ?? null,
    claims: { iss, sub, aud, exp, iat, ...(nbf !== undefined && { nbf }), id: toHex(id) },
    confirmation,
    allows: typeof scope === "string" ? scope.split(" ") : grants.map(formatPermission),
    hashes,
  };
}

function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}
