/**
 * Who is calling, as the route of a provider is told, and what it may do there.
 */
import { randomBytes } from "node:crypto";
import { toBase64url } from "../shared/base64url.ts";
import type { Claims, Confirmation } from "../shared/claims.ts";
import { jwkThumbprint } from "../shared/cose-key.ts";
import { readClientId } from "../shared/names.ts";
import { Refusal, refuse } from "../shared/refusal.ts";
import type { Grant } from "../shared/scope.ts";
import type { TokenFormat, VerifiedToken } from "../shared/token.ts";

/**
 * What a token is bound to: a key that proves itself by DPoP, a key that proves itself either way, or a certificate. The
 * thumbprint is that of the key (RFC 7638), or the SHA-256 of the certificate; base64url.
 */
export interface Binding {
  readonly kind: "dpop" | "key" | "certificate";
  readonly thumbprint: string;
}

/** On whose word a token was found good. */
export type VerifiedBy = "keys" | "feed" | "introspection" | "last-known-good";

/** What the token says. */
export interface PrincipalBase {
  /** The client id, `<project>.<name>`; the `sub` of the token. */
  readonly client: string;
  /** The two parts of it; empty where the subject is not such an id. */
  readonly project: string;
  readonly name: string;
  /** The scopes of an api of kind http. */
  readonly scopes: readonly string[];
  /** The grants of an api of kind mqtt. */
  readonly grants: readonly Grant[];
  /** The `jti` of a JWT, the base64url of the `cti` of a CWT. */
  readonly tokenId: string;
  readonly audience: string;
  /** Seconds since 1970. */
  readonly issuedAt: number;
  readonly expiresAt: number;
  readonly format: TokenFormat;
  /** Undefined for a bearer token. */
  readonly boundTo: Binding | undefined;
}

/** A caller that was let in. */
export interface Principal extends PrincipalBase {
  readonly verifiedBy: VerifiedBy;
  /** How old the word of the authority is that this stands on, in seconds. */
  readonly staleSeconds: number;
  /** Names this decision, for the provider's own log. */
  readonly decisionId: string;
}

/** A rule on the thing that is asked for, such as `devices/${name}`, and what is asked for. */
export interface ObjectRule {
  /** May hold `${client}`, `${name}` and `${project}`. */
  readonly rule: string;
  readonly object: string;
}

/** What a verified token says. Frozen, because all who bring the token share it. */
export function toPrincipalBase({ claims, format }: VerifiedToken): PrincipalBase {
  return Object.freeze({
    client: claims.sub,
    ...partsOf(claims.sub),
    ...readScope(claims.scope),
    tokenId: toBase64url(claims.id),
    audience: claims.aud,
    issuedAt: claims.iat,
    expiresAt: claims.exp,
    format,
    boundTo: claims.cnf === undefined ? undefined : Object.freeze(toBinding(claims.cnf)),
  });
}

/** The same with what the token is good for now, and no scope that it does not have itself. */
export function narrow(base: PrincipalBase, scope: Claims["scope"]): PrincipalBase {
  const { scopes, grants } = readScope(scope);
  return Object.freeze({ ...base, grants, scopes: Object.freeze(scopes.filter((one) => base.scopes.includes(one))) });
}

/** One decision on such a token. */
export function toPrincipal(base: PrincipalBase, verifiedBy: VerifiedBy, staleSeconds: number): Principal {
  return {
    ...base,
    verifiedBy,
    staleSeconds: Math.ceil(staleSeconds),
    decisionId: randomBytes(9).toString("base64url"),
  };
}

/** Throws `scope.insufficient` unless the token has all these scopes. */
export function assertScopes({ scopes }: Pick<PrincipalBase, "scopes">, demanded: readonly string[]): void {
  const missing = demanded.filter((scope) => !scopes.includes(scope));
  if (missing.length > 0) refuse("scope.insufficient", `without ${missing.join(" ")}`);
}

/** Throws `scope.insufficient` unless the thing is the caller's own by the rule. Throws TypeError for an unknown placeholder. */
export function assertObject(base: PrincipalBase, { rule, object }: ObjectRule): void {
  const values: Readonly<Record<string, string>> = { client: base.client, name: base.name, project: base.project };
  const filled = rule.replaceAll(/\$\{([^}]*)\}/g, (_, placeholder: string) => {
    const value = Object.hasOwn(values, placeholder) ? values[placeholder] : undefined;
    if (value === undefined) throw new TypeError(`no placeholder \${${placeholder}}`);
    return value === "" ? refuse("scope.insufficient", "the subject is no client id") : value;
  });
  if (filled !== object) refuse("scope.insufficient", "the object is not the caller's");
}

function readScope(scope: Claims["scope"]): Pick<PrincipalBase, "scopes" | "grants"> {
  const isText = typeof scope === "string";
  return {
    scopes: Object.freeze(isText ? scope.split(" ").filter((one) => one !== "") : []),
    grants: Object.freeze(isText ? [] : (scope ?? []).map((grant) => Object.freeze({ ...grant }))),
  };
}

function partsOf(subject: string): { readonly project: string; readonly name: string } {
  try {
    return readClientId(subject);
  } catch (error) {
    if (error instanceof Refusal) return { project: "", name: "" };
    throw error;
  }
}

function toBinding(cnf: Confirmation): Binding {
  if (cnf.kind === "key") return { kind: "key", thumbprint: jwkThumbprint(cnf.key) };
  if (cnf.kind === "thumbprint") return { kind: "dpop", thumbprint: cnf.jkt };
  return { kind: "certificate", thumbprint: toBase64url(cnf.sha256) };
}
