/**
 * Enrolment tickets: one string that carries the authority's address, the pin of its CA and a secret.
 *
 * `pt1_` and base64url of the CBOR array [authority, pin, secret].
 */
import { createHash } from "node:crypto";
import { fromBase64url, toBase64url } from "./base64url.ts";
import { decode, encode } from "./cbor.ts";
import { Refusal, refuse } from "./refusal.ts";

/** What a ticket says. */
export interface Ticket {
  /** Base URL of the authority, for example `https://localhost:8443`. */
  readonly authority: string;
  /** SHA-256 of the CA's DER SubjectPublicKeyInfo, 64 hex digits. */
  readonly pin: string;
  readonly secret: string;
}

const prefix = "pt1_";

/** The name under which a ticket is listed: the first 16 hex digits of the SHA-256 of its secret, which gives nothing away. */
export function ticketId(secret: string): string {
  return createHash("sha256").update(secret).digest("hex").slice(0, 16);
}

/** The text that {@link parseTicket} reads. */
export function formatTicket({ authority, pin, secret }: Ticket): string {
  return prefix + toBase64url(encode([authority, Buffer.from(pin, "hex"), secret]));
}

/** Throws `ticket.malformed`. */
export function parseTicket(text: string): Ticket {
  if (!text.startsWith(prefix)) return refuse("ticket.malformed", `a ticket starts with ${prefix}`);
  let parts: unknown;
  try {
    parts = decode(fromBase64url(text.slice(prefix.length)), { maxBytes: 1024, maxDepth: 1 });
  } catch (error) {
    return refuse("ticket.malformed", error instanceof Refusal ? error.message : "");
  }
  if (!Array.isArray(parts) || parts.length !== 3) return refuse("ticket.malformed", "not three parts");
  const [authority, pin, secret] = parts as unknown[];
  if (typeof authority !== "string" || !URL.canParse(authority) || new URL(authority).protocol !== "https:") {
    return refuse("ticket.malformed", "the authority is not an https address");
  }
  if (!(pin instanceof Uint8Array) || pin.length !== 32 || typeof secret !== "string" || secret === "") {
    return refuse("ticket.malformed", "pin or secret is missing");
  }
  return { authority, pin: Buffer.from(pin).toString("hex"), secret };
}
