/**
 * `GET /crl`: the list of revoked certificates of our own CA, for anybody (RFC 5280, section 5; media type of RFC 2585). The
 * answer is DER, and small enough a part of its life is promised to caches that a revocation is not hidden for long.
 */
import { Readable } from "node:stream";
import type { FastifyInstance } from "fastify";
import type { AuthorityContext } from "../context.ts";
import { answerKnown } from "../entity-tag.ts";
import { openCrl } from "./published-crl.ts";

const maxAgeSeconds = 60;
const pieceBytes = 64 * 1024;

/** Registers the route. */
export function registerCrlRoute(scope: FastifyInstance, { registry, ca }: AuthorityContext): void {
  const crl = openCrl(registry, ca);
  scope.addHook("onClose", async () => crl.close());
  scope.get("/crl", async (request, reply) => {
    const { der, tag, thisUpdate } = await crl.read();
    void reply
      .header("cache-control", `public, max-age=${String(maxAgeSeconds)}`)
      .header("last-modified", new Date(thisUpdate * 1000).toUTCString());
    if (answerKnown(request, reply, tag)) return reply;
    void reply.type("application/pkix-crl").header("content-length", der.length);
    return reply.send(Readable.from(pieces(der), { objectMode: false }));
  });
}

/** A long list goes out as fast as it is read: who does not read it holds a piece of it, and not an encrypted copy. */
function* pieces(der: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < der.length; at += pieceBytes) yield der.subarray(at, at + pieceBytes);
}
