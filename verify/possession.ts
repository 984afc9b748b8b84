/**
 * Whether who brings a token holds what the token is bound to: the key of a DPoP proof (RFC 9449), or the certificate of the
 * TLS connection (RFC 8705).
 *
 * A token counts only in the way that it is bound. One that is bound to a DPoP key is not taken as a bearer token (RFC 9449,
 * section 7.2), and one that is not is not taken with a proof: that would show possession of a key that nobody asked for.
 */
import { createHash, X509Certificate } from "node:crypto";
import { toBase64url } from "../shared/base64url.ts";
import { jwkThumbprint, readPublicKey } from "../shared/cose-key.ts";
import { assertDpop, DPOP_LEEWAY_SECONDS, readDpopProof, type DpopProof } from "../shared/dpop.ts";
import { refuse } from "../shared/refusal.ts";
import type { Settings } from "./options.ts";
import type { Binding, PrincipalBase } from "./principal.ts";
import type { SpentProofs } from "./spent-proofs.ts";

/** How a token came: in which Authorization scheme, for which request, and with what. */
export interface Presentation {
  /** Default: `DPoP` with a proof, `Bearer` without. */
  readonly scheme?: "Bearer" | "DPoP" | undefined;
  /** The method and the whole address of the request; needed with a proof. */
  readonly method?: string | undefined;
  readonly url?: string | undefined;
  /** The DPoP header. */
  readonly dpop?: string | undefined;
  /** The certificate of the TLS client: its DER, or `{sha256}`, the SHA-256 of that in base64url. */
  readonly certificate?: Uint8Array | { readonly sha256: string } | undefined;
}

/** Throws unless the token is presented by who it is bound to: `token.unbound`, `proof.*`, `certificate.missing`, `dpop.*`. */
export function assertPossession(
  token: string,
  { client, boundTo }: Pick<PrincipalBase, "client" | "boundTo">,
  presented: Presentation,
  { requireBound, nowSeconds }: Pick<Settings, "requireBound" | "nowSeconds">,
  spent: SpentProofs,
): void {
  const { scheme = presented.dpop === undefined ? "Bearer" : "DPoP", certificate } = presented;
  if (boundTo === undefined && requireBound) refuse("token.unbound", "this api takes bound tokens only");
  if (scheme === "DPoP") {
    if (boundTo === undefined) return refuse("token.unbound", "a bearer token in the scheme DPoP");
    if (boundTo.kind === "certificate") return refuse("proof.key", "a token bound to a certificate in the scheme DPoP");
    const proof = readProof(token, boundTo, presented, nowSeconds());
    // last, so that strangers cannot fill the memory of it
    return spent.spend(client, `${proof.thumbprint}.${proof.jti}`, proof.iat + DPOP_LEEWAY_SECONDS, nowSeconds());
  }
  if (boundTo === undefined) return;
  if (boundTo.kind === "dpop") return refuse("proof.missing", "a DPoP token in the scheme Bearer");
  if (certificate === undefined) return refuse("certificate.missing", "the token is bound to a key or a certificate");
  const isOwn = boundTo.kind === "certificate" ? toSha256(certificate) : toKeyThumbprint(certificate);
  if (isOwn !== boundTo.thumbprint) refuse("proof.key", "the certificate is another");
}

function readProof(
  token: string,
  { thumbprint }: Binding,
  { dpop, method, url }: Presentation,
  nowSeconds: number,
): DpopProof {
  if (dpop === undefined) return refuse("proof.missing", "no DPoP header");
  if (method === undefined || url === undefined) return refuse("dpop.url", "the address of this api is not configured");
  const proof = readDpopProof(dpop);
  assertDpop(proof, { method, url, nowSeconds, accessToken: token });
  if (proof.thumbprint !== thumbprint) refuse("proof.key", "the key of the proof is another");
  return proof;
}

function toSha256(certificate: Uint8Array | { readonly sha256: string }): string {
  if (!(certificate instanceof Uint8Array)) return certificate.sha256;
  return toBase64url(createHash("sha256").update(certificate).digest());
}

function toKeyThumbprint(certificate: Uint8Array | { readonly sha256: string }): string {
  if (!(certificate instanceof Uint8Array)) return refuse("certificate.missing", "its key is needed, not its hash");
  let read: X509Certificate;
  try {
    read = new X509Certificate(certificate);
  } catch {
    return refuse("proof.key", "the certificate cannot be read");
  }
  return jwkThumbprint(readPublicKey(read.publicKey));
}
