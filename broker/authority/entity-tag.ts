/**
 * Entity tags (RFC 9110, sections 8.8.3 and 13.1.2): by which a caller that has an answer asks for another one. Tags are
 * held without their quotes.
 */
import { createHash } from "node:crypto";
import type { FastifyReply, FastifyRequest } from "fastify";

/** The tag of an answer, from its bytes or from all that they depend on. */
export function toTag(content: Uint8Array | string): string {
  return createHash("sha256").update(content).digest("base64url").slice(0, 22);
}

/** Whether the request names the tag in If-None-Match, or `*`. */
export function isKnown(request: FastifyRequest, tag: string): boolean {
  const known = request.headers["if-none-match"]?.split(",").map((text) => text.trim().replace(/^W\//, ""));
  return known?.some((text) => text === `"${tag}"` || text === "*") === true;
}

/** Sets the tag; where the caller has that answer, says so (304) and returns true. */
export function answerKnown(request: FastifyRequest, reply: FastifyReply, tag: string): boolean {
  void reply.header("etag", `"${tag}"`);
  if (!isKnown(request, tag)) return false;
  void reply.code(304).send();
  return true;
}
