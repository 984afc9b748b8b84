/**
 * Enrollment over Secure Transport (RFC 7030 with the corrections of RFC 8951): bodies are base64 of DER, both ways.
 */
import type { TLSSocket } from "node:tls";
import type { FastifyInstance, FastifyReply } from "fastify";
import { refuse } from "../../shared/refusal.ts";
import type { AuthorityContext } from "./context.ts";
import { oid, sequence, set } from "./der.ts";
import { enrol, renew } from "./enrol.ts";
import { certsOnly, ids } from "./x509.ts";

const root = "/.well-known/est";
const certificates = "application/pkcs7-mime";
const certificatesOnly = `${certificates}; smime-type=certs-only`;

/** What a request should hold (RFC 8951, section 3.2): a key on P-256, signed with ecdsa-with-SHA256. */
const attributes = sequence(sequence(oid(ids.ecPublicKey), set(oid(ids.p256))), oid(ids.ecdsaWithSha256));

export function registerEstRoutes(scope: FastifyInstance, context: AuthorityContext): void {
  scope.get(`${root}/cacerts`, (_request, reply) => {
    send(reply, certificatesOnly, certsOnly(context.ca.caDer));
  });
  scope.get(`${root}/csrattrs`, (_request, reply) => {
    send(reply, "application/csrattrs", attributes);
  });
  scope.post(`${root}/simpleenroll`, (request, reply) => {
    const issued = enrol(context, request.headers.authorization, bodyOf(request.body));
    send(reply, certificatesOnly, certsOnly(issued.der));
  });
  scope.post(`${root}/simplereenroll`, (request, reply) => {
    const issued = renew(context, request.raw.socket as TLSSocket, bodyOf(request.body));
    send(reply, certificatesOnly, certsOnly(issued.der));
  });
}

function bodyOf(body: unknown): Uint8Array {
  return body instanceof Uint8Array ? body : refuse("csr.malformed", "no body");
}

function send(reply: FastifyReply, type: string, der: Uint8Array): void {
  void reply.header("cache-control", "no-store").type(type).send(Buffer.from(der).toString("base64"));
}
