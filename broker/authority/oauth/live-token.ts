/**
 * Whether a token is good at this moment, for a caller that may know. Read {@link readActiveToken} from top to bottom: every
 * line assumes what the lines above have established.
 *
 * What was taken back is asked of the marks themselves: the list of revoked tokens repeats some of them only after a while.
 */
import type { Claims } from "../../../shared/claims.ts";
import type { ActiveToken, TokenType } from "../../../shared/introspection.ts";
import { refuse } from "../../../shared/refusal.ts";
import { cutGrants, encodeScopeText, type Grant } from "../../../shared/scope.ts";
import { inspectToken, verifyToken } from "../../../shared/token.ts";
import { findApi, type Api } from "../../registry/apis.ts";
import { getLiveClient } from "../../registry/clients.ts";
import { grantsFor, scopesFor } from "../../registry/grants.ts";
import { findIssuedToken } from "../../registry/issued.ts";
import { getProject } from "../../registry/projects.ts";
import type { Registry } from "../../registry/registry.ts";
import { isListed } from "../../registry/revoked-tokens.ts";
import { findSigningKey } from "../../registry/signing-keys.ts";
import type { Caller } from "./caller-auth.ts";
import type { AuthorityContext } from "../context.ts";
import { keepToken, recallToken } from "./known-tokens.ts";

/** The numbers that tokens have: more bytes are not a number of ours. */
const longestNumber = 6;

/** What the caller may hear of a token that is good. Throws the refusal that tells why it is not, or not for this caller. */
export function readActiveToken(
  { registry, issuer }: AuthorityContext,
  caller: Caller,
  presented: string | Uint8Array,
): ActiveToken {
  const now = registry.nowSeconds();

  // what it says of itself decides whether this caller hears of it, before anything is looked up
  const known = recallToken(registry, presented);
  const inspected = known === undefined ? inspectToken(presented) : undefined;
  const { claims, kid } = known ?? inspected!;
  if (caller.kind === "api" && claims.aud !== caller.api.audience) refuse("token.audience", "it is for another api");
  if (caller.kind === "client" && claims.sub !== caller.asker.client.id) {
    refuse("token.subject", "it is another client's");
  }

  // it is ours: the very token on record or, because a record may be lost, one that we signed
  const record = known ?? findIssuedToken(registry, presented, inspected);
  const keyFor = (name: string): ReturnType<typeof findSigningKey> => findSigningKey(registry, name);
  const hashes =
    record === undefined
      ? verifyToken(presented, { issuer, keyFor, isAudience: () => true, nowSeconds: now }).hashes.map(fromHex)
      : [record.hash];
  if (known === undefined && record !== undefined) keepToken(registry, presented, { kid, claims, hash: record.hash });
  if (claims.iss !== issuer) refuse("token.issuer");

  // its time is not up
  if (claims.exp <= now) refuse("token.expired");

  // and nothing that it stands on was taken back: its key, its client, its project's time, the token itself
  if (keyFor(kid ?? "") === undefined) refuse("token.key-unknown", `kid ${kid ?? "absent"}`);
  const { tokensAfter, project } = getLiveClient(registry, claims.sub);
  if (tokensAfter > 0 && numberOf(claims.id) <= tokensAfter) refuse("token.revoked", "all of the client");
  if (claims.iat < getProject(registry, project).tokensSince) refuse("token.revoked", "all of the project");
  if (hashes.some((hash) => isListed(registry, hash))) refuse("token.revoked");

  // it allows no more than the roles do now
  const api = findApi(registry, claims.aud) ?? refuse("token.audience", "no such api any more");
  const scope = api.kind === "http" ? cutNames(registry, claims, api) : cutGrantsOf(registry, claims, api);
  if (scope.length === 0) refuse("client.grants", "the roles allow nothing of what the token says");
  return { active: true, claims: { ...claims, scope }, tokenType: tokenTypeOf(claims, api), time: now };
}

/** As the token endpoint has told the client. */
function tokenTypeOf({ cnf }: Claims, { kind }: Api): TokenType {
  if (cnf === undefined || (cnf.kind === "certificate" && kind === "http")) return "Bearer";
  return cnf.kind === "thumbprint" ? "DPoP" : "pop";
}

/** The grants of a token, cut to what the roles allow (docs/decisions/0018); as they are where that cuts nothing. */
function cutGrantsOf(registry: Registry, { sub, scope }: Claims, api: Api): readonly Grant[] {
  if (scope === undefined || typeof scope === "string") return [];
  return cutGrants(grantsFor(registry, sub, api), scope);
}

/** The same for names. The name of a scope may by chance read as a list of grants, and is a name all the same. */
function cutNames(registry: Registry, { sub, scope = "" }: Claims, api: Api): string {
  const names = (typeof scope === "string" ? scope : encodeScopeText(scope)).split(" ");
  const allowed = scopesFor(registry, sub, api);
  return names.filter((name) => allowed.includes(name)).join(" ");
}

function fromHex(hash: string): Uint8Array {
  return Buffer.from(hash, "hex");
}

/** The number of a token; 0 for what is no number of ours. */
function numberOf(id: Uint8Array): number {
  return id.length > longestNumber ? 0 : id.reduce((number, byte) => number * 256 + byte, 0);
}
