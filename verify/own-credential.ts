/**
 * How a resource server proves who it is where it asks the authority: by its secret in HTTP Basic (RFC 6749, section 2.3.1), or by
 * an assertion that its key signs (RFC 7523, section 2.2), a new one for each request.
 *
 * Refuses (TypeError) a credential of which anything is missing, one that is both, and a key that is not private and on P-256.
 * An assertion is a parameter of a form and nothing else: RFC 7523 has no other place for it, and none is made up here.
 */
import { createPrivateKey, KeyObject, randomBytes, type JsonWebKey } from "node:crypto";
import { mintJwtAssertion } from "../shared/assertion.ts";
import { jwkThumbprint, readPublicKey } from "../shared/cose-key.ts";
import { createSigner, type Signer } from "../shared/es256.ts";

/** A credential of the api itself that is a secret, made with `postern secret create --api`. */
export interface ApiSecret {
  /** `<project>/<api>`. */
  readonly id: string;
  /** Undefined where it was to come from the environment and did not: then the verifier is not opened. */
  readonly secret: string | undefined;
  readonly privateKey?: undefined;
}

/** A credential of the api itself that is a key, whose public part was registered with `postern api keys`. */
export interface ApiKey {
  /** `<project>/<api>`. */
  readonly id: string;
  /** On P-256: PEM, a JWK (as an object or as its text) or node's own. Undefined as a secret may be. */
  readonly privateKey: string | JsonWebKey | KeyObject | undefined;
  readonly secret?: undefined;
}

/** What a resource server calls itself by, and proves it by. */
export type ApiCredential = ApiSecret | ApiKey;

/** A credential that can be used. */
export type OwnCredential =
  | { readonly kind: "secret"; readonly id: string; readonly secret: string }
  | { readonly kind: "key"; readonly id: string; readonly signer: Signer };

/** What a request carries to prove who it is from. */
export interface OwnProof {
  readonly headers: Readonly<Record<string, string>>;
  /** Parameters of the form. */
  readonly parameters: Readonly<Record<string, string>>;
}

const JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/** Half of what an authority takes, so that the clock here may be as far ahead as behind. */
const assertionSeconds = 150;
const idBytes = 16;

/** Reads a credential; undefined where nothing but its name, or not even that, is given. Throws TypeError. */
export function readCredential(credential: ApiCredential): OwnCredential | undefined {
  const { id, secret, privateKey } = credential;
  if (typeof id !== "string" || !/^[^/]+\/[^/]+$/.test(id)) return undefined;
  if (secret !== undefined && privateKey !== undefined) {
    throw new TypeError("the credential of the api has a secret or a privateKey, not both");
  }
  if (privateKey !== undefined && privateKey !== "") return { kind: "key", id, signer: readSigner(privateKey) };
  return typeof secret === "string" && secret !== "" ? { kind: "secret", id, secret } : undefined;
}

/** Proves it to this issuer, for one request. */
export function proveOwn(credential: OwnCredential, issuer: string, nowSeconds: number): OwnProof {
  const { kind, id } = credential;
  if (kind === "secret") return { headers: { authorization: basic(id, credential.secret) }, parameters: {} };
  const exp = Math.floor(nowSeconds) + assertionSeconds;
  const claims = { iss: id, sub: id, aud: issuer, exp, id: randomBytes(idBytes) };
  const assertion = mintJwtAssertion(claims, credential.signer);
  return { headers: {}, parameters: { client_assertion_type: JWT_BEARER, client_assertion: assertion } };
}

/** Says nothing of what was given: it is a secret, wherever it was meant to be one. */
function readSigner(given: string | JsonWebKey | KeyObject): Signer {
  try {
    const privateKey = readPrivateKey(given);
    // by its thumbprint the authority finds it at once among those that are registered, whatever they are called there
    return createSigner(jwkThumbprint(readPublicKey(privateKey)), privateKey);
  } catch {
    throw new TypeError("privateKey is not a private key on P-256, in PEM, as a JWK or as a KeyObject");
  }
}

function readPrivateKey(given: string | JsonWebKey | KeyObject): KeyObject {
  if (given instanceof KeyObject) return given;
  if (typeof given !== "string") return createPrivateKey({ key: given, format: "jwk" });
  if (!given.trimStart().startsWith("{")) return createPrivateKey(given);
  return createPrivateKey({ key: JSON.parse(given) as JsonWebKey, format: "jwk" });
}

/** Both are form-encoded first. */
function basic(id: string, secret: string): string {
  return `Basic ${Buffer.from(`${toFormText(id)}:${toFormText(secret)}`).toString("base64")}`;
}

function toFormText(text: string): string {
  return new URLSearchParams({ t: text }).toString().slice(2);
}
