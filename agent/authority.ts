/**
 * What the agent asks of its authority: tokens (RFC 9200, section 5.8, CBOR over HTTPS) and who it is (`/v1/self`).
 *
 * The agent proves itself with its device certificate in TLS, or, where TLS ends before the authority, with an assertion
 * signed by the same key (RFC 7523 in CWT form). Only the CA pinned at enrolment is trusted. Every answer also tells the
 * authority's time, which the agent keeps in place of its own clock.
 */
import { createPrivateKey, randomBytes } from "node:crypto";
import { ACE_CBOR, encodeTokenRequest, readTokenError, readTokenResponse, type TokenRequest } from "../shared/ace.ts";
import type { Grant } from "../shared/scope.ts";
import { readDateHeader, type ServerClock } from "./clock.ts";
import { AgentFailure, printable, toFailure } from "./failure.ts";
import { readRetryAfter, sendHttps, type HttpsResponse } from "./request.ts";
import type { AgentApi, AgentBrokers, AgentIdentity } from "./state.ts";

/** A token as the authority gave it. Times are the authority's. */
export interface ObtainedToken {
  readonly token: Uint8Array;
  readonly expiresAtSeconds: number;
  readonly lifetimeSeconds: number;
}

/** What a token is asked for. */
export interface TokenWish {
  readonly audience: string;
  /** Less than the roles allow; absent, all of it. */
  readonly scope?: readonly Grant[];
  /** How the agent proves who it is. Default `certificate`. */
  readonly proof?: "certificate" | "assertion";
}

/** What `/v1/self` answers. */
export interface Self {
  readonly clientId: string;
  readonly issuer: string;
  readonly apis: readonly AgentApi[];
  readonly brokers: AgentBrokers;
}

const assertionSeconds = 120;

/** Asks for a token. Rejects `refused` when the authority says no, `unreachable` when it does not answer or is busy. */
export async function requestToken(
  identity: AgentIdentity,
  clock: ServerClock,
  wish: TokenWish,
): Promise<ObtainedToken> {
  const { authority, clientId, issuer } = identity.enrolment;
  const withAssertion = wish.proof === "assertion";
  const request: TokenRequest = {
    audience: wish.audience,
    wantsProfile: true,
    ...(wish.scope !== undefined && { scope: wish.scope }),
    ...(withAssertion && {
      clientAssertion: await mintAssertion(identity.keyPem, clientId, issuer, clock.nowSeconds()),
    }),
  };
  const response = await sendHttps({
    url: new URL("/token", authority),
    method: "POST",
    headers: { "content-type": ACE_CBOR, accept: ACE_CBOR },
    body: encodeTokenRequest(request),
    ca: identity.caPem,
    maxBytes: 16_384,
    ...(withAssertion ? {} : { certificatePem: identity.certificatePem, keyPem: identity.keyPem }),
  });
  learnTime(clock, response);
  if (response.status !== 200) throw toTokenFailure(response, clock);
  try {
    const answer = readTokenResponse(response.body);
    const expiresAtSeconds = clock.nowSeconds() + answer.expiresIn;
    return { token: answer.accessToken, expiresAtSeconds, lifetimeSeconds: answer.expiresIn };
  } catch (error) {
    throw toFailure(error, "the authority's token answer cannot be read");
  }
}

/** Asks who this agent is, which apis it may use and where the brokers are. */
export async function requestSelf(
  authority: string,
  identity: Pick<AgentIdentity, "keyPem" | "certificatePem" | "caPem">,
  clock: ServerClock,
): Promise<Self> {
  const { keyPem, certificatePem, caPem } = identity;
  const response = await sendHttps({
    url: new URL("/v1/self", authority),
    method: "GET",
    ca: caPem,
    certificatePem,
    keyPem,
  });
  learnTime(clock, response);
  if (response.status !== 200) throw toFailureByStatus(response, clock, "the authority does not know this agent");
  return readSelf(response.body, clock);
}

/** Loads its means when it is called: most agents have a certificate and never come here. */
async function mintAssertion(
  keyPem: string,
  clientId: string,
  issuer: string,
  nowSeconds: number,
): Promise<Uint8Array> {
  const [{ mintCwtAssertion }, { createSigner }] = await Promise.all([
    import("../shared/assertion.ts"),
    import("../shared/es256.ts"),
  ]);
  const claims = {
    iss: clientId,
    sub: clientId,
    aud: issuer,
    iat: nowSeconds,
    exp: nowSeconds + assertionSeconds,
    id: new Uint8Array(randomBytes(16)),
  };
  return mintCwtAssertion(claims, createSigner("", createPrivateKey(keyPem)));
}

function learnTime(clock: ServerClock, response: HttpsResponse): void {
  const seconds = readDateHeader(response.headers.date);
  if (seconds !== undefined) clock.learn(seconds);
}

function toTokenFailure(response: HttpsResponse, clock: ServerClock): AgentFailure {
  if (isBusy(response)) return toFailureByStatus(response, clock, "");
  try {
    const { error, description } = readTokenError(response.body);
    const why = description === undefined ? "" : `: ${printable(description)}`;
    return new AgentFailure("refused", `the authority refused a token (${error})${why}`, { code: error });
  } catch {
    return toFailureByStatus(response, clock, "the authority refused a token");
  }
}

/** 429 and 5xx mean later, everything else no. */
function toFailureByStatus(response: HttpsResponse, clock: ServerClock, what: string): AgentFailure {
  if (!isBusy(response)) return new AgentFailure("refused", `${what} (HTTP ${response.status})`);
  const retryAfterSeconds = readRetryAfter(response.headers["retry-after"], clock.nowSeconds());
  return new AgentFailure("unreachable", `the authority cannot answer now (HTTP ${response.status})`, {
    ...(retryAfterSeconds !== undefined && { retryAfterSeconds }),
  });
}

function isBusy(response: HttpsResponse): boolean {
  return response.status === 429 || response.status >= 500;
}

function readSelf(body: Buffer, clock: ServerClock): Self {
  const unreadable = new AgentFailure("refused", "the authority's answer about this agent cannot be read");
  let value: Record<string, unknown>;
  try {
    value = JSON.parse(body.toString("utf8")) as Record<string, unknown>;
  } catch {
    throw unreadable;
  }
  const { id, issuer, apis, brokers, time } = value;
  if (typeof id !== "string" || typeof issuer !== "string" || !Array.isArray(apis)) throw unreadable;
  if (typeof time === "number") clock.learn(time);
  const addresses = (brokers ?? {}) as Record<string, unknown>;
  return {
    clientId: id,
    issuer,
    apis: apis.filter(isApi).map(({ name, audience, kind }) => ({ name, audience, kind })),
    brokers: { mqtts: textOrNull(addresses["mqtts"]), wss: textOrNull(addresses["wss"]) },
  };
}

function isApi(value: unknown): value is AgentApi {
  const { name, audience, kind } = (value ?? {}) as Partial<AgentApi>;
  return typeof name === "string" && typeof audience === "string" && (kind === "mqtt" || kind === "http");
}

function textOrNull(value: unknown): string | null {
  return typeof value === "string" ? value : null;
}
