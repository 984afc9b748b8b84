/**
 * JSON under exactly the media type that was asked for. Fastify would add a charset to it, of which JSON knows nothing (RFC 8259,
 * section 11), unless it is given bytes; and bytes are written apart from the headers, which costs a twentieth of a token.
 */
import type { FastifyReply } from "fastify";

/** Sends a value as JSON. */
export function sendJson(reply: FastifyReply, type: string, value: unknown): FastifyReply {
  return reply
    .type(type)
    .serializer((text: unknown) => text as string)
    .send(JSON.stringify(value));
}
