/**
 * The admin key in a request: `Authorization: Bearer <key>` (RFC 6750, section 2.1).
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { refuse } from "../../shared/refusal.ts";

/** What is looked at of a request. */
interface WithHeaders {
  readonly headers: { readonly authorization?: string | undefined };
}

/** Throws `admin.key` for a request without the key or with another. */
export type AssertAdmin = (request: WithHeaders) => void;

/** The check for one key. Compares hashes, so that neither the time nor the length says anything. */
export function createAdminCheck(adminKey: string): AssertAdmin {
  const key = sha256(adminKey);
  return (request) => {
    const presented = readBearer(request);
    if (presented !== undefined && timingSafeEqual(sha256(presented), key)) return;
    refuse("admin.key", presented === undefined ? "no key" : "another key");
  };
}

/** What stands after `Bearer` in a request; nothing where there is something else. */
export function readBearer(request: WithHeaders): string | undefined {
  const [scheme, presented, ...rest] = (request.headers.authorization ?? "").split(" ");
  return scheme?.toLowerCase() === "bearer" && rest.length === 0 ? presented : undefined;
}

function sha256(text: string): Uint8Array {
  return createHash("sha256").update(text).digest();
}
