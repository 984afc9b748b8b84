/**
 * A token request from its bytes to its answer (RFC 6749, section 4.4; RFC 9068; RFC 9200, section 5.8; RFC 9431, section
 * 2.1; RFC 9449, section 5). Read {@link issueToken} line by line: it is the argument why nobody gets a token that is not theirs.
 *
 * It does not wait for anything, so nothing changes between the checks and the rows. Whoever runs it within a transaction
 * that others share gives the answer away only after that is committed. A refused request leaves an assertion and a DPoP proof
 * unspent and no row but one in the audit log.
 */
import type { TLSSocket } from "node:tls";
import type { Claims } from "../../shared/claims.ts";
import { mintCwt } from "../../shared/cwt.ts";
import { mintJwt } from "../../shared/jwt.ts";
import { refuse } from "../../shared/refusal.ts";
import type { Scope } from "../../shared/scope.ts";
import { tokenHashes, type Token } from "../../shared/token.ts";
import { findApi, type Api } from "../registry/apis.ts";
import { spendAssertion, spendProof } from "../registry/assertions.ts";
import { audit } from "../registry/audit.ts";
import type { Client } from "../registry/clients.ts";
import { nextTokenId, recordIssued } from "../registry/issued.ts";
import { activeSigner } from "../registry/signing-keys.ts";
import type { OauthBody } from "./body.ts";
import { chooseBinding, type Binding, type DpopHeader } from "./oauth/choose-binding.ts";
import { assertLive, authenticateClient } from "./oauth/client-auth.ts";
import { apisOf } from "./oauth/client-apis.ts";
import type { AuthorityContext } from "./context.ts";
import { grantScope } from "./oauth/grant-scope.ts";
import { noteRefusedToken } from "./oauth/refused-token.ts";
import { readTokenRequest } from "./oauth/token-request.ts";
import type { QuotaState } from "./too-many.ts";

/** A request as it came in. */
export interface TokenQuestion {
  readonly body: OauthBody | undefined;
  readonly socket: TLSSocket;
  readonly authorization?: string | undefined;
  readonly dpop?: DpopHeader | undefined;
  /** Told what is left of whose quota, as soon as that is known. */
  readonly counted?: ((clientId: string, quota: QuotaState) => void) | undefined;
}

/** A token that was issued and is on record, with what its client is told of it. */
export interface TokenAnswer {
  readonly token: Token;
  readonly expiresInSeconds: number;
  readonly tokenType: Binding["tokenType"];
  /** Present where it differs from what was asked (RFC 6749, section 5.1). */
  readonly scope?: Scope | undefined;
  /** Whether the answer names the profile of RFC 9431: it was asked for, and the token is for MQTT. */
  readonly namesProfile: boolean;
}

/** Decides one token request. Throws the refusal that answers it. */
export function issueToken(context: AuthorityContext, question: TokenQuestion): TokenAnswer {
  const { registry } = context;
  const now = registry.nowSeconds();
  // what is asked: one strict reading
  const request = readTokenRequest(question.body);
  let client: Client | undefined;
  try {
    // who is asking: exactly one proof of identity, and from here on the client is known
    const { socket, authorization } = question;
    const { clientId, clientSecret, assertion: given } = request;
    const evidence = { socket, authorization, clientId, clientSecret, assertion: given };
    const asker = authenticateClient(context, evidence, now);
    client = asker.client;

    // is it live: the client is enabled, the certificate recorded for it, and it has not had too many in this minute
    assertLive(context, asker);
    question.counted?.(client.id, context.quota.take(client.id, now * 1000));

    // for which api, in which format, bound to which key: only ever one that the client has proven to hold
    const api = chooseApi(context, client, request.audience);
    const format = api.format ?? (request.wire === "cbor" ? "cwt" : "jwt");
    const binding = chooseBinding({ request, asker, api, format, dpop: question.dpop, nowSeconds: now });

    // what may it have: the roles decide, the request can only ask for less
    const { scope, mustBeStated } = grantScope(registry, client.id, api, request);

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
      scope,
      ...(binding.cnf && { cnf: binding.cnf }),
    };
    const bytes = format === "cwt" ? mintCwt(claims, signer) : Buffer.from(mintJwt(claims, signer), "latin1");
    if (bytes.length > context.limits.tokenBytes) refuse("request.scope", "the token would be too large: ask for less");

    // all or nothing: assertion and proof are spent, the token is on record, the audit log says so
    const { assertion, method } = asker;
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
      if (binding.proof !== undefined) spendProof(registry, binding.proof);
      recordIssued(registry, { ...token, keyThumbprint: binding.key?.thumbprint });
      audit(registry, {
        event: "token.issued",
        actor: token.clientId,
        subject: token.clientId,
        facts: {
          audience: api.audience,
          cti: Buffer.from(id).toString("hex"),
          format,
          bound: binding.bound,
          by: method,
        },
      });
    });

    return {
      token: { format, bytes },
      expiresInSeconds: api.ttlSeconds,
      tokenType: binding.tokenType,
      scope: mustBeStated ? scope : undefined,
      namesProfile: request.wantsProfile && api.kind === "mqtt",
    };
  } catch (error) {
    if (client !== undefined) noteRefusedToken(error, client, request);
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
  const api = findApi(context.registry, audience);
  // what there is in other projects is nobody's business
  if (api?.project !== client.project) return refuse("request.audience", audience.slice(0, 255));
  return api;
}
