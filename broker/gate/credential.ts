/**
 * What a CONNECT presents, told apart by its form alone (RFC 9431, section 6.1; docs/protocol.md, section 7).
 *
 * No cryptography and nothing of trust here: sizes and forms are settled before anything is verified. The rule that
 * keeps the ways apart: with a user name `ace…`, a password of exactly 64 bytes is a signature; a bearer token is
 * never that short.
 */
import { fromBase64url } from "../../shared/base64url.ts";
import { SIGNATURE_BYTES } from "../../shared/es256.ts";
import { refuse } from "../../shared/refusal.ts";
import { MAX_TOKEN_BYTES } from "../../shared/token.ts";

/** The five ways to connect. A token is a CWT or JWT, as bytes or as text, not yet read. */
export type Credential =
  | { readonly kind: "proof"; readonly token: string | Uint8Array; readonly signature: Uint8Array }
  | { readonly kind: "certificate-token"; readonly token: string | Uint8Array }
  | { readonly kind: "certificate" }
  | { readonly kind: "bearer"; readonly token: string }
  | { readonly kind: "anonymous" };

const prefix = "ace";
const tokenText = /^[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+){0,2}$/;

/**
 * Reads user name and password; throws `credential.*` or `proof.*`. Empty is the same as absent. A token has at most
 * `maxTokenBytes`, as text a third more.
 */
export function readCredential(
  username: string | undefined,
  password: Uint8Array | undefined,
  hasCertificate: boolean,
  maxTokenBytes = MAX_TOKEN_BYTES,
): Credential {
  const maxTokenText = Math.ceil((maxTokenBytes * 4) / 3);
  const name = username ?? "";
  const secret = password ?? new Uint8Array();
  if (name.length > prefix.length + maxTokenText) refuse("credential.too-large", `user name of ${name.length}`);
  if (secret.length > maxTokenText) refuse("credential.too-large", `password of ${secret.length} bytes`);

  if (name === "" && secret.length === 0) return { kind: hasCertificate ? "certificate" : "anonymous" };
  if (name.startsWith(prefix)) {
    if (secret.length === SIGNATURE_BYTES) return { kind: "proof", token: readUserName(name), signature: secret };
    if (secret.length === 0 && hasCertificate) return { kind: "certificate-token", token: readUserName(name) };
    if (secret.length === 0) refuse("proof.missing", "a token without signature and without certificate");
    if (readTokenText(secret) === undefined) refuse("proof.length", `${secret.length} bytes`);
  }
  if (secret.length === 0) refuse("credential.malformed", "a user name alone");
  const token = readTokenText(secret) ?? refuse("credential.malformed", "the password is not a token");
  return { kind: "bearer", token };
}

/** `ace` and then base64url of the token; a JWT also as it is. */
function readUserName(name: string): string | Uint8Array {
  const text = name.slice(prefix.length);
  if (!tokenText.test(text)) return refuse("credential.malformed", "no token after ace");
  if (text.includes(".")) return text;
  try {
    return fromBase64url(text);
  } catch {
    return refuse("credential.malformed", "the token is not base64url");
  }
}

/** The text of a token, or undefined when the bytes are none by their form. */
function readTokenText(bytes: Uint8Array): string | undefined {
  if (bytes.length <= SIGNATURE_BYTES) return undefined;
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
  return tokenText.test(text) ? text : undefined;
}
