/** The rows of `/v1` that are about brokers elsewhere, for the table of routes. */
import { formatTicket } from "../../../shared/ticket.ts";
import {
  createBrokerTicket,
  getBrokerTicket,
  listBrokerTickets,
  revokeBrokerTicket,
} from "../../registry/broker-tickets.ts";
import { deleteBroker, getBroker, listBrokers } from "../../registry/brokers.ts";
import * as body from "./registry-bodies.ts";
import { all, create, cut, list, more, one, remove, type Route } from "./registry-route.ts";
import { expiry } from "./times.ts";

const brokers = "/v1/brokers";
const broker = `${brokers}/:name`;

/** A broker comes about by its first ticket, so there is no route that makes one. */
export const brokerRoutes: readonly Route[] = [
  list("admin", brokers, "Broker", ({ registry }, _, q) =>
    cut(listBrokers(registry, more(q)), q.limit, ({ name }) => name, body.toBroker),
  ),
  one("admin", broker, "Broker", ({ registry }, p) => body.toBroker(getBroker(registry, p.name))),
  remove("admin", broker, "delete a broker for ever, and revoke its certificates", ({ registry }, p) =>
    deleteBroker(registry, p.name),
  ),

  create("admin", `${broker}/tickets`, "NewBrokerTicket", "IssuedTicket", "id", ({ registry, issuer, ca }, p, b) => {
    const { ttl_seconds: ttlSeconds, hosts } = b;
    const { id, secret, expiresAt } = createBrokerTicket(registry, { name: p.name, hosts, ttlSeconds });
    const ticket = { authority: issuer, pin: ca.pin, secret };
    return { id, ticket: formatTicket(ticket), ...ticket, ...expiry(expiresAt) };
  }),
  all("admin", `${broker}/tickets`, "BrokerTicket", ({ registry }, p) => ({
    items: listBrokerTickets(registry, p.name).map(body.toBrokerTicket),
  })),
  one("admin", `${broker}/tickets/:id`, "BrokerTicket", ({ registry }, p) =>
    body.toBrokerTicket(getBrokerTicket(registry, p.name, p.id)),
  ),
  remove("admin", `${broker}/tickets/:id`, "revoke a ticket", ({ registry }, p) =>
    revokeBrokerTicket(registry, p.name, p.id),
  ),
];
