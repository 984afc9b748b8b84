/**
 * HTTP Basic (RFC 7617): the Authorization header taken apart.
 *
 * Refuses other schemes, and base64 that would not be written the same way again.
 */
import { refuse } from "../../shared/refusal.ts";

/** The challenge that answers a failed attempt. */
export const BASIC_CHALLENGE = 'Basic realm="postern"';

/** Reads `Basic <base64(user:password)>`. Throws `credential.malformed`. */
export function readBasic(authorization: string): { readonly user: string; readonly password: string } {
  const encoded = /^basic +([A-Za-z0-9+/]+={0,2})$/i.exec(authorization)?.[1];
  if (encoded === undefined) return refuse("credential.malformed", "not HTTP Basic");
  const bytes = Buffer.from(encoded, "base64");
  if (bytes.toString("base64").replace(/=+$/, "") !== encoded.replace(/=+$/, "")) {
    return refuse("credential.malformed", "not base64");
  }
  const text = bytes.toString("utf8");
  const colon = text.indexOf(":");
  if (colon < 0) return refuse("credential.malformed", "no colon");
  return { user: text.slice(0, colon), password: text.slice(colon + 1) };
}
