/**
 * Every route of the registry under `/v1`, as a table: the routes are registered from it and the OpenAPI document is
 * written from it, so that the two cannot differ.
 */
import type { z } from "zod";
import { refuse } from "../../shared/refusal.ts";
import { formatTicket } from "../../shared/ticket.ts";
import { createApi, getApi, listApis } from "../registry/apis.ts";
import { listAudit } from "../registry/audit.ts";
import { listCertificates } from "../registry/certificates.ts";
import * as clients from "../registry/clients.ts";
import { createProject, getProject, listProjects } from "../registry/projects.ts";
import type { Registry } from "../registry/registry.ts";
import { revokeAll } from "../registry/revocations.ts";
import { createRole, getRole, listRoles, updateRole } from "../registry/roles.ts";
import { listSigningKeys } from "../registry/signing-keys.ts";
import { createTicket, getTicket, listTickets, revokeTicket, type TicketRecord } from "../registry/tickets.ts";
import { brokerRoutes } from "./broker-table.ts";
import { deviceAuthorityRoutes } from "./device-authority-table.ts";
import * as body from "./registry-bodies.ts";
import {
  all,
  auditPage,
  certificatePage,
  change,
  create,
  cut,
  list,
  more,
  one,
  remove,
  type Params,
  type Route,
} from "./registry-route.ts";

const project = "/v1/projects/:project";
/** Many clients or hashes in one call. */
const revocationBytes = 1024 * 1024;

/** The rows, in the order of the document. */
export const routes: readonly Route[] = [
  create("/v1/projects", "NewProject", "Project", "slug", ({ registry }, _, b) =>
    body.toProject(createProject(registry, b.slug)),
  ),
  all("/v1/projects", "Project", ({ registry }) => ({ items: listProjects(registry).map(body.toProject) })),
  one(project, "Project", ({ registry }, p) => body.toProject(getProject(registry, p.project))),

  create(`${project}/apis`, "NewApi", "Api", "name", ({ registry }, p, { ttl_seconds, ...b }) =>
    body.toApi(createApi(registry, { ...b, project: p.project, ttlSeconds: ttl_seconds })),
  ),
  all(`${project}/apis`, "Api", ({ registry }, p) => ({ items: listApis(registry, p.project).map(body.toApi) })),
  one(`${project}/apis/:api`, "Api", ({ registry }, p) => body.toApi(getApi(registry, p.project, p.api))),

  create(`${project}/roles`, "NewRole", "Role", "name", ({ registry }, p, b) =>
    body.toRole(createRole(registry, { ...b, project: p.project, permissions: body.readPermissions(b.permissions) })),
  ),
  all(`${project}/roles`, "Role", ({ registry }, p) => ({ items: listRoles(registry, p.project).map(body.toRole) })),
  one(`${project}/roles/:role`, "Role", ({ registry }, p) => body.toRole(getRole(registry, p.project, p.role))),
  change("PUT", `${project}/roles/:role`, "RoleContents", "Role", ({ registry }, p, b) => {
    const contents = { ...b, permissions: body.readPermissions(b.permissions) };
    // taking rights back survives a power cut
    return registry.changeDurably(() =>
      body.toRole(updateRole(registry, { ...contents, project: p.project, name: p.role })),
    );
  }),

  create(`${project}/clients`, "NewClient", "Client", "name", ({ registry }, p, b) => {
    const { client, secret } = clients.createClient(registry, { ...b, project: p.project });
    return secret === undefined ? body.toClient(client) : { ...body.toClient(client), client_secret: secret };
  }),
  list(`${project}/clients`, "Client", ({ registry }, p, q) =>
    cut(clients.listClients(registry, p.project, more(q)), q.limit, (client) => client.name, body.toClient),
  ),
  one(`${project}/clients/:name`, "Client", ({ registry }, p) =>
    body.toClient(clients.getClient(registry, `${p.project}.${p.name}`)),
  ),
  change("PATCH", `${project}/clients/:name`, "ClientChange", "Client", ({ registry }, p, { enabled, roles }) => {
    const id = `${p.project}.${p.name}`;
    // taking rights back survives a power cut
    return registry.changeDurably(() => {
      if (roles !== undefined) clients.setClientRoles(registry, id, roles);
      if (enabled !== undefined) clients.setClientEnabled(registry, id, enabled);
      return body.toClient(clients.getClient(registry, id));
    });
  }),
  remove(`${project}/clients/:name`, "delete a client for ever", ({ registry }, p) =>
    registry.changeDurably(() => clients.deleteClient(registry, `${p.project}.${p.name}`)),
  ),

  create(`${project}/tickets`, "NewTicket", "IssuedTicket", "id", ({ registry, issuer, ca }, p, b) => {
    const { ttl_seconds: ttlSeconds, ...rest } = b;
    const { id, secret, expiresAt } = createTicket(registry, { ...rest, project: p.project, ttlSeconds });
    const ticket = { authority: issuer, pin: ca.pin, secret };
    return { id, ticket: formatTicket(ticket), ...ticket, ...body.expiry(expiresAt) };
  }),
  list(`${project}/tickets`, "Ticket", ({ registry }, p, q) =>
    cut(listTickets(registry, p.project, more(q)), q.limit, (ticket) => ticket.id, body.toTicketAnswer),
  ),
  one(`${project}/tickets/:id`, "Ticket", ({ registry }, p) => body.toTicketAnswer(ticketOf(registry, p))),
  remove(`${project}/tickets/:id`, "revoke a ticket", ({ registry }, p) =>
    revokeTicket(registry, ticketOf(registry, p).id),
  ),

  ...brokerRoutes,
  ...deviceAuthorityRoutes,

  {
    method: "GET",
    path: `${project}/audit`,
    says: "what happened, newest first",
    query: auditPage,
    answers: "AuditEntry",
    list: true,
    run({ registry }, { params, query }) {
      const q = query as z.output<typeof auditPage>;
      const { slug } = getProject(registry, params.project);
      const found = listAudit(registry, { ...q, project: slug, limit: q.limit + 1 });
      return cut(found, q.limit, ({ seq }) => String(seq), body.toAuditEntry);
    },
  },
  {
    method: "GET",
    path: "/v1/certificates",
    says: "certificates that were issued",
    query: certificatePage,
    answers: "Certificate",
    list: true,
    run({ registry }, { query }) {
      const q = query as z.output<typeof certificatePage>;
      const found = listCertificates(registry, { ...more(q), client: q.client });
      return cut(found, q.limit, ({ serial }) => serial, body.toCertificate);
    },
  },
  all("/v1/keys", "SigningKey", ({ registry }) => ({ items: listSigningKeys(registry).map(body.toSigningKey) })),
  {
    method: "POST",
    path: "/v1/revocations",
    says: "revoke: all of it or nothing; what was revoked before is not counted",
    sends: "Revocations",
    answers: "Revoked",
    bodyBytes: revocationBytes,
    run({ registry, issuer }, { body: sent }) {
      const { projects, ...wish } = sent as z.output<(typeof body.sent)["Revocations"]>;
      const now = registry.nowSeconds();
      const before = projects?.map((one) => ({ ...one, before: body.readPast(one.before, now) }));
      return revokeAll(registry, { ...wish, projects: before }, { issuer });
    },
  },
];

function ticketOf(r: Registry, { project, id }: Params): TicketRecord {
  const ticket = getTicket(r, id);
  return ticket.project === project ? ticket : refuse("registry.not-found", `no ticket ${id} in project ${project}`);
}
