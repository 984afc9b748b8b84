/**
 * DPoP proofs (RFC 9449): how a client shows with each HTTP request that it holds a key, without a TLS certificate. A proof
 * is a JWT that the key signed, over the method, the address, the time and, at a resource server, the token.
 *
 * Refuses every algorithm but ES256, keys that are not public P-256, an `htu` with query or fragment, and proofs of more
 * than 4 KiB. Replay is for whoever keeps the `jti` (section 11.1). Nonces (section 8) are neither given nor asked for.
 */
import { createHash } from "node:crypto";
import { toBase64url } from "./base64url.ts";
import { jwkThumbprint, readJwk, toJwk, type PublicKey } from "./cose-key.ts";
import type { Signer } from "./es256.ts";
import { isSignedBy, readJwt, signJwt, type Jwt } from "./jwt.ts";
import { Refusal, refuse, type Reason } from "./refusal.ts";

/** Longest `jti` of a proof: it is kept for as long as the proof is good. */
export const MAX_PROOF_ID_BYTES = 128;
/** How far `iat` may lie from our clock, before or after, in seconds, unless told otherwise. */
export const DPOP_LEEWAY_SECONDS = 60;

const maxProofBytes = 4096;
const proofType = "dpop+jwt";

/** A proof whose signature is good. What it says is compared by {@link assertDpop}. */
export interface DpopProof {
  /** The key that signed, as the proof itself names it. */
  readonly key: PublicKey;
  /** JWK thumbprint of the key (RFC 7638), base64url: what `cnf` says of it in `jkt`. */
  readonly thumbprint: string;
  readonly jti: string;
  readonly htm: string;
  readonly htu: string;
  /** Seconds since 1970. */
  readonly iat: number;
  /** Base64url SHA-256 of the token that goes with the request. */
  readonly ath?: string;
}

/** The request that a proof must be for. `url` is its whole address; the query is left out of account. */
export interface DpopRequest {
  readonly method: string;
  readonly url: string;
  readonly nowSeconds: number;
  /** The token that goes with it; none at the token endpoint. */
  readonly accessToken?: string;
}

/** Reads the DPoP header and verifies its signature (RFC 9449, section 4.3, items 2 to 7). Throws `dpop.*`. */
export function readDpopProof(text: string): DpopProof {
  if (text.length > maxProofBytes) refuse("dpop.malformed", `${text.length} bytes`);
  const jwt = readProofJwt(text);
  if (jwt.type !== proofType) refuse("dpop.type", `typ is not ${proofType}`);
  const key = readProofKey(jwt.jwk);
  if (!isSignedBy(jwt, key)) refuse("dpop.signature");
  const { jti, htm, htu, iat, ath } = jwt.payload;
  if (typeof iat !== "number" || !Number.isSafeInteger(iat))
    return refuse("dpop.malformed", "iat is not whole seconds");
  const id = asText(jti, "jti");
  if (Buffer.byteLength(id) > MAX_PROOF_ID_BYTES) refuse("dpop.malformed", "jti is too long");
  return {
    key,
    thumbprint: jwkThumbprint(key),
    jti: id,
    htm: asText(htm, "htm"),
    htu: asText(htu, "htu"),
    iat,
    ...(ath !== undefined && { ath: asText(ath, "ath") }),
  };
}

/**
 * Throws unless the proof was made for this request, just now, and for this token (RFC 9449, section 4.3, items 8 to 12):
 * `dpop.method`, `dpop.url`, `dpop.time` or `dpop.token`.
 */
export function assertDpop(proof: DpopProof, request: DpopRequest & { readonly leewaySeconds?: number }): void {
  const { method, url, nowSeconds, accessToken, leewaySeconds = DPOP_LEEWAY_SECONDS } = request;
  if (proof.htm !== method) refuse("dpop.method", "htm is not the method of the request");
  const address = normalise(withoutQuery(url));
  if (address === undefined || normalise(proof.htu) !== address) refuse("dpop.url", "htu is not the address asked");
  if (Math.abs(nowSeconds - proof.iat) > leewaySeconds) {
    refuse("dpop.time", `iat is ${proof.iat - nowSeconds} s from our time`);
  }
  if (accessToken !== undefined && proof.ath !== hashOf(accessToken)) refuse("dpop.token", "ath is not of this token");
}

/** Signs a proof for one request. `id` is random; no two proofs of a key may have the same. */
export function mintDpopProof(request: DpopRequest & { readonly id: Uint8Array }, signer: Signer): string {
  const { method, url, nowSeconds, accessToken, id } = request;
  const payload = {
    jti: toBase64url(id),
    htm: method,
    htu: withoutQuery(url),
    iat: nowSeconds,
    ...(accessToken !== undefined && { ath: hashOf(accessToken) }),
  };
  return signJwt(payload, proofType, signer, toJwk(signer.publicKey));
}

function readProofJwt(text: string): Jwt {
  return refusing(
    () => readJwt(text),
    (reason) => (reason === "token.algorithm" ? "dpop.algorithm" : "dpop.malformed"),
  );
}

function readProofKey(jwk: unknown): PublicKey {
  return refusing(
    () => readJwk(jwk),
    () => "dpop.key",
  );
}

/** What a proof is made of is refused as a proof, with the precise reason in the detail. */
function refusing<Result>(read: () => Result, toReason: (reason: Reason) => Reason): Result {
  try {
    return read();
  } catch (error) {
    if (error instanceof Refusal) return refuse(toReason(error.reason), error.message);
    throw error;
  }
}

function asText(value: unknown, claim: string): string {
  return typeof value === "string" && value !== "" ? value : refuse("dpop.malformed", `${claim} is not a text`);
}

function withoutQuery(url: string): string {
  return url.split(/[?#]/, 1)[0]!;
}

/** Of an address, one spelling (RFC 3986, sections 6.2.2 and 6.2.3); of what is none, undefined. */
function normalise(address: string): string | undefined {
  if (!URL.canParse(address)) return undefined;
  // lower-case scheme and host, no default port, no dot segments; a query stays what it is, so that an htu with one never fits
  return new URL(address).href.replace(/%[0-9a-f]{2}/gi, (encoded) => {
    const character = String.fromCharCode(Number.parseInt(encoded.slice(1), 16));
    return /[\w.~-]/.test(character) ? character : encoded.toUpperCase();
  });
}

function hashOf(accessToken: string): string {
  return createHash("sha256").update(accessToken, "latin1").digest("base64url");
}
