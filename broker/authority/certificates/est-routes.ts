/**
 * Enrollment over Secure Transport (RFC 7030 with the corrections of RFC 8951): bodies are base64 of DER, both ways.
 */
import type { TLSSocket } from "node:tls";
import type { FastifyInstance, FastifyReply } from "fastify";
import { refuse } from "../../../shared/refusal.ts";
import { certsOnly } from "./certs-only.ts";
import type { AuthorityContext } from "../context.ts";
import { enrol, renew } from "./enrol.ts";

const root = "/.well-known/est";
const certificates = "application/pkcs7-mime";
const certificatesOnly = `${certificates}; smime-type=certs-only`;

/**
 * What a request should hold (RFC 8951, section 4), a constant: id-ecPublicKey with the set of secp256r1, and
 * ecdsa-with-SHA256.
 */
const attributes = Buffer.from("3021301506072a8648ce3d0201310a06082a8648ce3d03010706082a8648ce3d040302", "hex");

/** Registers the four EST operations. */
export function registerEstRoutes(scope: FastifyInstance, context: AuthorityContext): void {
  scope.get(`${root}/cacerts`, (_request, reply) => {
    void send(reply, certificatesOnly, certsOnly(context.ca.caDer));
  });
  scope.get(`${root}/csrattrs`, (_request, reply) => {
    void send(reply, "application/csrattrs", attributes);
  });
  scope.post(`${root}/simpleenroll`, async (request, reply) => {
    const issued = await enrol(context, request.headers.authorization, bodyOf(request.body));
    return send(reply, certificatesOnly, certsOnly(issued.der));
  });
  scope.post(`${root}/simplereenroll`, async (request, reply) => {
    const issued = await renew(context, request.raw.socket as TLSSocket, bodyOf(request.body));
    return send(reply, certificatesOnly, certsOnly(issued.der));
  });
}

function bodyOf(body: unknown): Uint8Array {
  return body instanceof Uint8Array ? body : refuse("csr.malformed", "no body");
}

function send(reply: FastifyReply, type: string, der: Uint8Array): FastifyReply {
  return reply.header("cache-control", "no-store").type(type).send(Buffer.from(der).toString("base64"));
}
