/**
 * base64url without padding (RFC 4648, section 5; RFC 7515, section 2), decoded strictly: one text for one byte string.
 *
 * Refuses padding, white space, the `+/` alphabet and non-zero trailing bits, because token hashes (RFC 9770) are taken
 * over this text and two spellings of one token would give two hashes.
 */
import { refuse } from "./refusal.ts";

/** Encodes bytes as base64url without padding. */
export function toBase64url(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64url");
}

/** Decodes base64url; throws `base64url.malformed` unless re-encoding gives the same text. */
export function fromBase64url(text: string): Uint8Array {
  const bytes = Buffer.from(text, "base64url");
  if (bytes.toString("base64url") !== text) refuse("base64url.malformed");
  return bytes;
}
