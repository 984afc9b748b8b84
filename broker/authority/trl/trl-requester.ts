/**
 * Who asks for the list of revoked tokens, and what of it is theirs (RFC 9770, sections 5 and 11): whoever has the admin key
 * sees everything, a broker elsewhere the tokens for apis of kind mqtt, an api those for its audience, a client its own, and a
 * stranger nothing.
 */
import type { TLSSocket } from "node:tls";
import type { FastifyRequest } from "fastify";
import { brokerSubject } from "../../../shared/names.ts";
import { refuse } from "../../../shared/refusal.ts";
import type { TrlView } from "../../registry/trl-updates.ts";
import { readBrokerPeer } from "../certificates/broker-peer.ts";
import { authenticateCaller } from "../oauth/caller-auth.ts";
import { nameCaller } from "../oauth/caller.ts";
import type { AuthorityContext } from "../context.ts";
import type { WaitingRooms } from "./waiting-room.ts";

/** A requester that has proved who it is. */
export interface TrlRequester {
  /** One for each identity. */
  readonly name: string;
  readonly view: TrlView;
  /** Of a client and an api. */
  readonly project?: string;
  /** Where it waits for news. */
  readonly room: Exclude<keyof WaitingRooms, "close">;
  /** Whether it is told of keys, apis, clients and the rest. */
  readonly mayFollow: boolean;
}

/** Finds out who is asking. Throws `admin.key`, `credential.*`, `client.*`, `certificate.*` or `request.malformed`. */
export function identifyRequester(context: AuthorityContext, request: FastifyRequest): TrlRequester {
  const { authorization } = request.headers;
  const now = context.registry.nowSeconds();
  const socket = request.raw.socket as TLSSocket;
  const isAdmin = /^bearer(?: |$)/i.test(authorization ?? "");
  const broker = isAdmin ? undefined : readBrokerPeer(context, socket, now);
  if (broker !== undefined) {
    if (authorization !== undefined) refuse("request.malformed", "more than one way of authentication");
    return { name: brokerSubject(broker.name), view: "mqtt", room: "followers", mayFollow: true };
  }
  const caller = authenticateCaller(context, { socket, authorization }, now);
  const name = nameCaller(caller);
  if (caller.kind === "admin") return { name, view: "all", room: "followers", mayFollow: true };
  if (caller.kind === "api") {
    const { project, audience } = caller.api;
    return { name, project, view: `api:${audience}`, room: "apis", mayFollow: false };
  }
  const { project } = caller.asker.client;
  return { name, project, view: `client:${name}`, room: "clients", mayFollow: false };
}
