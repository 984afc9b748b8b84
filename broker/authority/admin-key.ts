/**
 * The admin key in a request: `Authorization: Bearer <key>` (RFC 6750, section 2.1).
 */
import { createHash, timingSafeEqual } from "node:crypto";
import type { FastifyRequest } from "fastify";
import { refuse } from "../../shared/refusal.ts";

/** Throws `admin.key` for a request without the key or with another. */
export type AssertAdmin = (request: FastifyRequest) => void;

/** The check for one key. Compares hashes, so that neither the time nor the length says anything. */
export function createAdminCheck(adminKey: string): AssertAdmin {
  const key = sha256(adminKey);
  return (request) => {
    const [scheme, presented, ...rest] = (request.headers.authorization ?? "").split(" ");
    const isBearer = scheme?.toLowerCase() === "bearer" && presented !== undefined && rest.length === 0;
    if (isBearer && timingSafeEqual(sha256(presented), key)) return;
    refuse("admin.key", isBearer ? "another key" : "no key");
  };
}

function sha256(text: string): Uint8Array {
  return createHash("sha256").update(text).digest();
}
