/**
 * A token request from its bytes to its answer (RFC 6749, section 4.4; RFC 9200, section 5.8; RFC 9431, section 2.1). Read
 * {@link issueToken} line by line: it is the argument why nobody gets a token that is not theirs.
 *
 * It does not wait for anything, so nothing changes between the checks and the rows. Whoever runs it within a transaction
 * that others share gives the answer away only after that is committed. A refused request leaves an assertion
 * unspent and no row but, where the client has proven itself, one in the audit log.
 */
import type { TLSSocket } from "node:tls";
import type { Claims, Confirmation } from "../../shared/claims.ts";
import { samePublicKey } from "../../shared/cose-key.ts";
import { mintCwt } from "../../shared/cwt.ts";
import { mintJwt } from "../../shared/jwt.ts";
import { Refusal, refuse } from "../../shared/refusal.ts";
import { decodeScopeText, intersectGrants, mergeGrants, type Grant } from "../../shared/scope.ts";
import { tokenHashes, type Token, type TokenFormat } from "../../shared/token.ts";
import { findApi, type Api } from "../registry/apis.ts";
import { spendAssertion } from "../registry/assertions.ts";
import { audit } from "../registry/audit.ts";
import type { Client } from "../registry/clients.ts";
import { nextTokenId, recordIssued } from "../registry/issued.ts";
import { grantsFor } from "../registry/grants.ts";
import { activeSigner } from "../registry/signing-keys.ts";
import type { OauthBody } from "./body.ts";
import { assertLive, authenticateClient, type Asker } from "./client-auth.ts";
import { apisOf } from "./client-apis.ts";
import type { AuthorityContext } from "./context.ts";
import { readTokenRequest, type TokenRequest } from "./token-request.ts";

/** A request as it came in. */
export interface TokenQuestion {
  readonly body: OauthBody | undefined;
  readonly socket: TLSSocket;
  readonly authorization?: string | undefined;
  /** Whether a DPoP header came along (RFC 9449): a token that ignores it would be weaker than what was asked for. */
  readonly asksForDpop?: boolean;
}

/** A token that was issued and is on record, with what its client is told of it. */
export interface TokenAnswer {
  readonly token: Token;
  readonly expiresInSeconds: number;
  readonly tokenType: "pop" | "bearer";
  /** Present where it differs from what was asked (RFC 6749, section 5.1). */
  readonly scope?: readonly Grant[] | undefined;
  readonly wantsProfile: boolean;
}

/** Decides one token request. Throws the refusal that answers it. */
export function issueToken(context: AuthorityContext, question: TokenQuestion): TokenAnswer {
  const { registry } = context;
  const now = registry.nowSeconds();
  let client: Client | undefined;
  try {
    // what is asked: one strict reading
    const request = readTokenRequest(question.body);

    // who is asking: exactly one proof of identity, and from here on the client is known
    const asker = authenticateClient(context, { ...question, ...request }, now);
    client = asker.client;

    // is it live: the client is enabled, the certificate recorded for it
    assertLive(context, asker);

    // for which api, in which format, bound to which key: only ever one that the client has proven to hold
    const api = chooseApi(context, client, request.audience);
    if (question.asksForDpop === true) refuse("request.key", "no tokens are bound by DPoP");
    const format = api.format ?? (request.wire === "cbor" ? "cwt" : "jwt");
    const cnf = chooseConfirmation(request, asker, api, format);

    // what may it have: the roles decide, the request can only ask for less
    const allowed = grantsFor(registry, client.id, api);
    const asked = readScope(request);
    const granted = asked === undefined ? allowed : intersectGrants(allowed, asked);
    if (granted.length === 0) refuse("request.scope", `nothing allowed on ${api.audience}`);

    // the token says that and nothing else
    const signer = activeSigner(registry);
    const id = nextTokenId(registry);
    const exp = now + api.ttlSeconds;
    const claims: Claims = {
      iss: context.issuer,
      sub: client.id,
      aud: api.audience,
      exp,
      iat: now,
      id,
      scope: granted,
    };
    const bound = cnf === undefined ? claims : { ...claims, cnf };
    const bytes = format === "cwt" ? mintCwt(bound, signer) : Buffer.from(mintJwt(bound, signer), "latin1");
    if (bytes.length > context.limits.tokenBytes) refuse("request.scope", "the token would be too large: ask for less");

    // all or nothing: the assertion is spent, the token is on record, the audit log says so
    const { assertion, method, key } = asker;
    const token = {
      // the list names a token by the spelling in which it was given out; a JWT goes into CBOR as a byte string
      hashes: request.wire === "cbor" ? tokenHashes(bytes).toReversed() : tokenHashes(bytes),
      id,
      clientId: client.id,
      audience: api.audience,
      kid: signer.kid,
      issuedAt: now,
      exp,
    };
    registry.append(() => {
      if (assertion !== undefined) spendAssertion(registry, token.clientId, assertion.id, assertion.exp);
      recordIssued(registry, { ...token, keyThumbprint: cnf === undefined ? undefined : key?.thumbprint });
      audit(registry, {
        event: "token.issued",
        actor: token.clientId,
        subject: token.clientId,
        facts: {
          audience: api.audience,
          cti: Buffer.from(id).toString("hex"),
          format,
          bound: cnf?.kind ?? "none",
          by: method,
        },
      });
    });

    return {
      token: { format, bytes },
      expiresInSeconds: api.ttlSeconds,
      tokenType: cnf === undefined ? "bearer" : "pop",
      scope: asked !== undefined && isSameScope(asked, granted) ? undefined : granted,
      wantsProfile: request.wantsProfile,
    };
  } catch (error) {
    if (error instanceof Refusal && client !== undefined) auditRefusal(context, client, error);
    throw error;
  }
}

/** The api that the audience names; without one, the client's only api. */
function chooseApi(context: AuthorityContext, client: Client, audience: string | undefined): Api {
  if (audience === undefined) {
    const [only, ...more] = apisOf(context.registry, client);
    if (only === undefined || more.length > 0) return refuse("request.audience", "none given, and not exactly one api");
    return only.api;
  }
  const api = findApi(context.registry, audience) ?? refuse("request.audience", audience.slice(0, 255));
  return api.kind === "mqtt" ? api : refuse("request.audience", `no tokens are issued for kind ${api.kind}`);
}

/**
 * What the token is bound to (RFC 9201, section 3.1; RFC 8705, section 3): the key that authenticated the request. A key
 * that the request names must be that key, because possession of no other was proven.
 */
function chooseConfirmation(
  request: TokenRequest,
  asker: Asker,
  api: Api,
  format: TokenFormat,
): Confirmation | undefined {
  const { key, certificate } = asker;
  const { requestedKey } = request;
  if (requestedKey !== undefined) {
    if (key === undefined || !samePublicKey(key, requestedKey)) refuse("request.key", "not the key that was proven");
    return { kind: "key", key: requestedKey };
  }
  // a bearer token only where the api takes it and the request shows no sign of wanting more
  if (request.wire !== "cbor" && api.bearer && certificate === undefined) return undefined;
  if (key === undefined) return refuse("request.unbound", "the client has proven no key");
  if (request.wire !== "cbor" && format === "jwt" && certificate !== undefined) {
    return { kind: "certificate", sha256: certificate.sha256 };
  }
  return { kind: "key", key };
}

/** The grants that are asked for; those of JSON and form come as RFC 9431's base64url text. */
function readScope(request: TokenRequest): readonly Grant[] | undefined {
  if (typeof request.scope !== "string") return request.scope;
  if (request.wire === "cbor") return refuse("request.scope", "the scope of an api of kind mqtt is a byte string");
  try {
    return decodeScopeText(request.scope);
  } catch (error) {
    return refuse("request.scope", error instanceof Refusal ? error.detail : "");
  }
}

function isSameScope(a: readonly Grant[], b: readonly Grant[]): boolean {
  return JSON.stringify(mergeGrants(a)) === JSON.stringify(mergeGrants(b));
}

function auditRefusal(context: AuthorityContext, client: Client, refusal: Refusal): void {
  context.registry.append(() => {
    audit(context.registry, {
      event: "token.refused",
      actor: client.id,
      subject: client.id,
      reason: refusal.reason,
      refusalId: refusal.id,
    });
  });
}
