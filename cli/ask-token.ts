/**
 * A token request as a client that is not an agent sends it: in JSON (RFC 6749, section 4.4), or in CBOR for a CWT (RFC 9200,
 * section 5.8), proven by a secret, by a key (RFC 7523) or by a certificate (RFC 8705), and with a DPoP proof where the
 * token shall be bound to a key by it (RFC 9449).
 */
import { randomBytes } from "node:crypto";
import { sendHttps, type HttpsResponse } from "../agent/request.ts";
import { ACE_CBOR, encodeTokenRequest, readTokenError, readTokenResponse } from "../shared/ace.ts";
import { mintCwtAssertion, mintJwtAssertion } from "../shared/assertion.ts";
import { mintDpopProof } from "../shared/dpop.ts";
import type { Signer } from "../shared/es256.ts";
import { encodeScopeText, type Scope } from "../shared/scope.ts";
import { presentToken, toToken } from "../shared/token.ts";
import { readAnswer } from "./admin-client.ts";
import { fail } from "./failure.ts";

/** How a client proves itself. */
export type ClientProof =
  | { readonly kind: "secret"; readonly secret: string }
  | { readonly kind: "key"; readonly signer: Signer }
  | { readonly kind: "certificate"; readonly certificatePem: string; readonly keyPem: string };

/** Who asks, and whom. */
interface Asker {
  /** What the authority calls itself: proofs are made out to that name. */
  readonly issuer: string;
  readonly clientId: string;
  readonly nowSeconds: number;
}

/** What is asked for, of whom, by whom. */
export interface TokenWish extends Asker {
  /** Where the authority is. */
  readonly url: string;
  readonly ca: string | undefined;
  readonly proof: ClientProof;
  readonly dpop: Signer | undefined;
  readonly audience: string | undefined;
  readonly scope: Scope | undefined;
  readonly format: "cwt" | "jwt";
}

/** The answer with the names of JSON, whichever way it came. */
export interface TokenAnswer {
  readonly access_token: string;
  readonly token_type: string;
  readonly expires_in: number;
  readonly scope?: string;
}

const JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const assertionSeconds = 120;
/** What the authority lets pass at most. */
const maxClockSeconds = 60;
const tokenPath = "/token";

/** Asks for a token. Rejects with the words of the authority when it says no. */
export async function askToken(wish: TokenWish): Promise<TokenAnswer> {
  const response = await (wish.format === "cwt" ? sendCbor(wish) : sendJson(wish));
  try {
    return wish.format === "cwt" ? readCbor(response) : readJson(response);
  } catch (error) {
    const clocks = sayClocks(wish, response);
    if (clocks === undefined || !(error instanceof Error)) throw error;
    return fail(error.message + clocks);
  }
}

/** Where what was signed holds the time, and the clock here is not that of the authority: by how much. */
function sayClocks({ proof, dpop, nowSeconds }: TokenWish, { headers }: HttpsResponse): string | undefined {
  const isTimed = proof.kind === "key" || dpop !== undefined;
  const ahead = Math.round(nowSeconds - Date.parse(headers.date ?? "") / 1000);
  if (!isTimed || !(Math.abs(ahead) > maxClockSeconds)) return undefined;
  return `; the clock here is ${Math.abs(ahead)} s ${ahead > 0 ? "ahead of" : "behind"} that of the authority`;
}

function sendJson(wish: TokenWish): Promise<HttpsResponse> {
  const { clientId, audience, scope, proof, dpop } = wish;
  const body = {
    grant_type: "client_credentials",
    client_id: clientId,
    ...(audience !== undefined && { audience }),
    ...(scope !== undefined && { scope: typeof scope === "string" ? scope : encodeScopeText(scope) }),
    ...(proof.kind === "secret" && { client_secret: proof.secret }),
    ...(proof.kind === "key" && toAssertion(wish, proof.signer)),
  };
  const header = dpop && { dpop: mintProof(wish, dpop) };
  return send(wish, "application/json", JSON.stringify(body), header);
}

function sendCbor(wish: TokenWish): Promise<HttpsResponse> {
  const { clientId, audience, scope, proof } = wish;
  const body = encodeTokenRequest({
    ...(proof.kind !== "secret" && { clientId }),
    ...(audience !== undefined && { audience }),
    ...(scope !== undefined && { scope }),
    ...(proof.kind === "key" && { clientAssertion: mintCwtAssertion(claimsOf(wish), proof.signer) }),
  });
  // there is no client_secret in CBOR
  const header = proof.kind === "secret" ? { authorization: toBasic(clientId, proof.secret) } : undefined;
  return send(wish, ACE_CBOR, body, header);
}

function send(
  { url, ca, proof }: TokenWish,
  type: string,
  body: Uint8Array | string,
  headers: Readonly<Record<string, string>> = {},
): Promise<HttpsResponse> {
  return sendHttps({
    url: new URL(tokenPath, url),
    method: "POST",
    headers: { ...headers, "content-type": type, accept: type },
    body,
    ...(ca !== undefined && { ca }),
    ...(proof.kind === "certificate" && { certificatePem: proof.certificatePem, keyPem: proof.keyPem }),
  });
}

/** The parameters by which a client or an api proves itself with its key, once (RFC 7523, section 2.2). */
export function toAssertion(asker: Asker, signer: Signer): Record<string, string> {
  return { client_assertion: mintJwtAssertion(claimsOf(asker), signer), client_assertion_type: JWT_BEARER };
}

function claimsOf({ clientId, issuer, nowSeconds }: Asker): Parameters<typeof mintJwtAssertion>[0] {
  const exp = nowSeconds + assertionSeconds;
  return { iss: clientId, sub: clientId, aud: issuer, exp, id: randomBytes(16) };
}

function mintProof({ issuer, nowSeconds }: TokenWish, signer: Signer): string {
  return mintDpopProof({ method: "POST", url: issuer + tokenPath, nowSeconds, id: randomBytes(16) }, signer);
}

/** User and password are form-encoded before they are joined (RFC 6749, section 2.3.1). */
function toBasic(user: string, password: string): string {
  const pair = `${encodeURIComponent(user)}:${encodeURIComponent(password)}`;
  return `Basic ${Buffer.from(pair).toString("base64")}`;
}

function readJson(response: HttpsResponse): TokenAnswer {
  const answer = readAnswer(response) as Partial<TokenAnswer> | undefined;
  if (typeof answer?.access_token !== "string") return fail("the authority's answer holds no token");
  return answer as TokenAnswer;
}

function readCbor(response: HttpsResponse): TokenAnswer {
  // what is not from the token endpoint is in no CBOR
  if (response.headers["content-type"] !== ACE_CBOR) return readJson(response);
  if (response.status !== 200) {
    const { error, description } = readTokenError(response.body);
    return fail(description === undefined ? error : `${error}: ${description}`);
  }
  const { accessToken, tokenType, expiresIn, scope } = readTokenResponse(response.body);
  return {
    access_token: presentToken(toToken(accessToken)),
    token_type: tokenType === "bearer" ? "Bearer" : "pop",
    expires_in: expiresIn,
    ...(scope !== undefined && { scope: typeof scope === "string" ? scope : encodeScopeText(scope) }),
  };
}
