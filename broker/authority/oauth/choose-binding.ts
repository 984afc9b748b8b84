/**
 * What a token is bound to (RFC 9201, section 3.1; RFC 8705, section 3; RFC 9449, section 5): only ever a key that the client
 * has proven to hold in this request. A bearer token is given where the api takes it and nothing asks for more.
 *
 * Refuses a key that was not proven, and more than one thing to be bound to.
 */
import type { Confirmation } from "../../../shared/claims.ts";
import { samePublicKey, type PublicKey } from "../../../shared/cose-key.ts";
import { assertDpop, readDpopProof, type DpopProof } from "../../../shared/dpop.ts";
import { refuse } from "../../../shared/refusal.ts";
import type { TokenFormat } from "../../../shared/token.ts";
import type { Api } from "../../registry/apis.ts";
import type { Asker } from "./client-auth.ts";
import type { TokenRequest } from "./token-request.ts";

/** What a token is bound to, and how. */
export interface Binding {
  /** As the audit log calls it. */
  readonly bound: "none" | "key" | "certificate" | "dpop";
  /** What the client is told to do with the token. */
  readonly tokenType: "bearer" | "pop" | "dpop";
  readonly cnf?: Confirmation;
  /** The key behind it. */
  readonly key?: PublicKey;
  /** To be spent in the transaction that records the token. */
  readonly proof?: DpopProof;
}

/** A DPoP header, and where it was sent. */
export interface DpopHeader {
  readonly proof: string;
  readonly url: string;
}

/** What there is to choose from. */
export interface BindingChoice {
  readonly request: TokenRequest;
  readonly asker: Asker;
  readonly api: Api;
  readonly format: TokenFormat;
  readonly dpop: DpopHeader | undefined;
  readonly nowSeconds: number;
}

/** Throws `request.key`, `request.unbound` and `dpop.*`. */
export function chooseBinding(choice: BindingChoice): Binding {
  const { request, asker, api, format } = choice;
  const { key, certificate } = asker;
  if (choice.dpop !== undefined) return bindToProof(choice, choice.dpop);
  // a key that the request names must be the one that authenticated it, because possession of no other was proven
  if (request.requestedKey !== undefined) {
    if (key === undefined || !samePublicKey(key, request.requestedKey))
      refuse("request.key", "not a key that was proven");
    return bindToKey(key);
  }
  if (request.wire !== "cbor" && api.bearer && certificate === undefined) return { bound: "none", tokenType: "bearer" };
  if (key === undefined) return refuse("request.unbound", "the client has proven no key");
  if (request.wire === "cbor" || format === "cwt" || certificate === undefined) return bindToKey(key);
  // over HTTP it is used as a bearer token is, on a connection with that certificate (RFC 8705, section 3)
  const tokenType = api.kind === "http" ? "bearer" : "pop";
  return { bound: "certificate", tokenType, cnf: { kind: "certificate", sha256: certificate.sha256 }, key };
}

function bindToKey(key: PublicKey): Binding {
  return { bound: "key", tokenType: "pop", cnf: { kind: "key", key }, key };
}

function bindToProof({ request, asker, api, format, nowSeconds }: BindingChoice, { proof, url }: DpopHeader): Binding {
  // a token that ignores the header would be weaker than what was asked for
  if (api.kind !== "http") refuse("request.key", `no tokens of kind ${api.kind} are bound by DPoP`);
  if (request.wire === "cbor" || format === "cwt") refuse("request.key", "no CWT is bound by DPoP");
  if (request.requestedKey !== undefined) refuse("request.key", "either DPoP or req_cnf");
  if (asker.certificate !== undefined) refuse("request.key", "either DPoP or a certificate");
  const read = readDpopProof(proof);
  assertDpop(read, { method: "POST", url, nowSeconds });
  const cnf = { kind: "thumbprint", jkt: read.thumbprint } as const;
  return { bound: "dpop", tokenType: "dpop", cnf, key: read.key, proof: read };
}
