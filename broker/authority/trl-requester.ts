/**
 * Who asks for the list of revoked tokens, and what of it is theirs (RFC 9770, sections 5 and 11): whoever has the admin key
 * sees everything, a broker elsewhere the tokens for apis of kind mqtt, a client its own, and a stranger nothing.
 */
import type { TLSSocket } from "node:tls";
import type { FastifyRequest } from "fastify";
import { brokerSubject } from "../../shared/names.ts";
import { refuse } from "../../shared/refusal.ts";
import type { TrlView } from "../registry/trl-updates.ts";
import type { AssertAdmin } from "./admin-key.ts";
import { readBrokerPeer } from "./broker-peer.ts";
import { assertLive, authenticateClient } from "./client-auth.ts";
import type { AuthorityContext } from "./context.ts";

/** A requester that has proved who it is. */
export interface TrlRequester {
  /** One for each identity. */
  readonly name: string;
  readonly view: TrlView;
  /** Whether it is told of keys, apis, clients and the rest. */
  readonly mayFollow: boolean;
}

/** Finds out who is asking. Throws `admin.key`, `credential.*`, `client.*`, `certificate.*` or `request.malformed`. */
export function identifyRequester(
  context: AuthorityContext,
  assertAdmin: AssertAdmin,
  request: FastifyRequest,
): TrlRequester {
  const { authorization } = request.headers;
  if (/^bearer(?: |$)/i.test(authorization ?? "")) {
    assertAdmin(request);
    return { name: "admin", view: "all", mayFollow: true };
  }
  const now = context.registry.nowSeconds();
  const socket = request.raw.socket as TLSSocket;
  const broker = readBrokerPeer(context, socket, now);
  if (broker !== undefined) {
    if (authorization !== undefined) refuse("request.malformed", "more than one way of authentication");
    return { name: brokerSubject(broker.name), view: "mqtt", mayFollow: true };
  }
  const asker = authenticateClient(context, { socket, authorization }, now);
  assertLive(context, asker);
  return { name: asker.client.id, view: `client:${asker.client.id}`, mayFollow: false };
}
