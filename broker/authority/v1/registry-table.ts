/**
 * Every route of the registry under `/v1`, as a table: the routes are registered from it and the OpenAPI document is
 * written from it, so that the two cannot differ.
 */
import type { z } from "zod";
import { refuse } from "../../../shared/refusal.ts";
import { formatTicket } from "../../../shared/ticket.ts";
import { createApi, getApi, listApis } from "../../registry/apis.ts";
import { listCertificates } from "../../registry/certificates.ts";
import * as clients from "../../registry/clients.ts";
import { getProject } from "../../registry/projects.ts";
import type { Registry } from "../../registry/registry.ts";
import { revokeAll } from "../../registry/revocations.ts";
import { createRole, getRole, listRoles, updateRole } from "../../registry/roles.ts";
import { listSigningKeys } from "../../registry/signing-keys.ts";
import { createTicket, getTicket, listTickets, revokeTicket, type TicketRecord } from "../../registry/tickets.ts";
import { assertPermission } from "./access.ts";
import { accountRoutes } from "../accounts/account-table.ts";
import { auditRoutes } from "./audit-table.ts";
import { brokerRoutes } from "./broker-table.ts";
import { credentialRoutes } from "./credential-table.ts";
import { developerRoutes } from "../accounts/developer-table.ts";
import { deviceAuthorityRoutes } from "./device-authority-table.ts";
import { memberRoutes } from "../accounts/member-table.ts";
import { foundProject, listOwnProjects } from "../accounts/own-projects.ts";
import * as body from "./registry-bodies.ts";
import {
  all,
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
import { expiry, readPast } from "./times.ts";

const project = "/v1/projects/:project";
/** Many clients or hashes in one call. */
const revocationBytes = 1024 * 1024;

/** The rows, in the order of the document. */
export const routes: readonly Route[] = [
  ...accountRoutes,
  ...developerRoutes,

  create("developer", "/v1/projects", "NewProject", "Project", "slug", (context, _, b) =>
    body.toProject(foundProject(context, b.slug)),
  ),
  all("developer", "/v1/projects", "Project", (context) => ({ items: listOwnProjects(context).map(body.toProject) })),
  one("read", project, "Project", ({ registry }, p) => body.toProject(getProject(registry, p.project))),

  create("manage", `${project}/apis`, "NewApi", "Api", "name", ({ registry, issuer, actor, principal }, p, b) => {
    const { ttl_seconds: ttlSeconds, ...rest } = b;
    // what is addressed to the authority is no token for an api
    if (b.audience?.startsWith(issuer)) refuse("registry.invalid", "audience: the authority is none");
    const founder = principal.kind === "admin" ? "administrator" : "developer";
    return body.toApi(createApi(registry, { ...rest, project: p.project, ttlSeconds }, actor, founder));
  }),
  all("read", `${project}/apis`, "Api", ({ registry }, p) => ({
    items: listApis(registry, p.project).map(body.toApi),
  })),
  one("read", `${project}/apis/:api`, "Api", ({ registry }, p) => body.toApi(getApi(registry, p.project, p.api))),

  create("manage", `${project}/roles`, "NewRole", "Role", "name", ({ registry, actor }, p, b) =>
    body.toRole(
      createRole(registry, { ...b, project: p.project, permissions: body.readPermissions(b.permissions) }, actor),
    ),
  ),
  all("read", `${project}/roles`, "Role", ({ registry }, p) => ({
    items: listRoles(registry, p.project).map(body.toRole),
  })),
  one("read", `${project}/roles/:role`, "Role", ({ registry }, p) => body.toRole(getRole(registry, p.project, p.role))),
  change("manage", "PUT", `${project}/roles/:role`, "RoleContents", "Role", ({ registry, actor }, p, b) => {
    const contents = { ...b, permissions: body.readPermissions(b.permissions) };
    // taking rights back survives a power cut
    return registry.changeDurably(() =>
      body.toRole(updateRole(registry, { ...contents, project: p.project, name: p.role }, actor)),
    );
  }),

  create("manage", `${project}/clients`, "NewClient", "Client", "name", ({ registry, actor }, p, b) => {
    const { client, secret } = clients.createClient(registry, { ...b, project: p.project }, actor);
    return secret === undefined ? body.toClient(client) : { ...body.toClient(client), client_secret: secret };
  }),
  list("read", `${project}/clients`, "Client", ({ registry }, p, q) =>
    cut(clients.listClients(registry, p.project, more(q)), q.limit, (client) => client.name, body.toClient),
  ),
  one("read", `${project}/clients/:name`, "Client", ({ registry }, p) =>
    body.toClient(clients.getClient(registry, `${p.project}.${p.name}`)),
  ),
  change(
    "manage",
    "PATCH",
    `${project}/clients/:name`,
    "ClientChange",
    "Client",
    ({ registry, actor }, p, { enabled, roles }) => {
      const id = `${p.project}.${p.name}`;
      // taking rights back survives a power cut
      return registry.changeDurably(() => {
        if (roles !== undefined) clients.setClientRoles(registry, id, roles, actor);
        if (enabled !== undefined) clients.setClientEnabled(registry, id, enabled, actor);
        return body.toClient(clients.getClient(registry, id));
      });
    },
  ),
  remove("manage", `${project}/clients/:name`, "delete a client for ever", ({ registry, actor }, p) =>
    registry.changeDurably(() => clients.deleteClient(registry, `${p.project}.${p.name}`, actor)),
  ),

  create("enrol", `${project}/tickets`, "NewTicket", "IssuedTicket", "id", (context, p, b) => {
    const { registry, issuer, ca, actor, principal } = context;
    const { ttl_seconds: ttlSeconds, ...rest } = b;
    // a certificate in its name speaks for it, which is for those who give out its secrets
    const named = b.client === undefined ? undefined : clients.findClient(registry, `${p.project}.${b.client}`);
    if (named !== undefined && named.kind !== "device") assertPermission(registry, principal, p.project, "manage");
    const { id, secret, expiresAt } = createTicket(registry, { ...rest, project: p.project, ttlSeconds }, actor);
    const ticket = { authority: issuer, pin: ca.pin, secret };
    return { id, ticket: formatTicket(ticket), ...ticket, ...expiry(expiresAt) };
  }),
  list("read", `${project}/tickets`, "Ticket", ({ registry }, p, q) =>
    cut(listTickets(registry, p.project, more(q)), q.limit, (ticket) => ticket.id, body.toTicketAnswer),
  ),
  one("read", `${project}/tickets/:id`, "Ticket", ({ registry }, p) => body.toTicketAnswer(ticketOf(registry, p))),
  remove("enrol", `${project}/tickets/:id`, "revoke a ticket", ({ registry, actor }, p) =>
    revokeTicket(registry, ticketOf(registry, p).id, actor),
  ),

  ...credentialRoutes,
  ...memberRoutes,
  ...brokerRoutes,
  ...deviceAuthorityRoutes,

  ...auditRoutes,
  {
    method: "GET",
    path: "/v1/certificates",
    access: "admin",
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
  {
    method: "GET",
    path: `${project}/certificates`,
    access: "read",
    says: "certificates of the project's clients",
    query: certificatePage,
    answers: "Certificate",
    list: true,
    run({ registry }, { params, query }) {
      const q = query as z.output<typeof certificatePage>;
      const { slug } = getProject(registry, params.project);
      const found = listCertificates(registry, { ...more(q), client: q.client, project: slug });
      return cut(found, q.limit, ({ serial }) => serial, body.toCertificate);
    },
  },
  all("admin", "/v1/keys", "SigningKey", ({ registry }) => ({
    items: listSigningKeys(registry).map(body.toSigningKey),
  })),
  {
    method: "POST",
    path: "/v1/revocations",
    access: "admin",
    says: "revoke: all of it or nothing; what was revoked before is not counted",
    sends: "Revocations",
    answers: "Revoked",
    bodyBytes: revocationBytes,
    run({ registry, issuer, actor }, { body: sent }) {
      const { projects, ...wish } = sent as z.output<(typeof body.sent)["Revocations"]>;
      const now = registry.nowSeconds();
      const before = projects?.map((one) => ({ ...one, before: readPast(one.before, now) }));
      return revokeAll(registry, { ...wish, projects: before }, { issuer, actor });
    },
  },
  {
    method: "POST",
    path: `${project}/revocations`,
    access: "manage",
    says: "revoke what is the project's: all of it or nothing; what was revoked before is not counted",
    sends: "ProjectRevocations",
    answers: "Revoked",
    bodyBytes: revocationBytes,
    run({ registry, issuer, actor }, { params, body: sent }) {
      const { before, ...wish } = sent as z.output<(typeof body.sent)["ProjectRevocations"]>;
      const { slug } = getProject(registry, params.project);
      const times = before === undefined ? [] : [{ project: slug, before: readPast(before, registry.nowSeconds()) }];
      return revokeAll(registry, { ...wish, projects: times }, { issuer, actor, project: slug });
    },
  },
];

function ticketOf(r: Registry, { project, id }: Params): TicketRecord {
  const ticket = getTicket(r, id);
  // in the words of getTicket: of another project's one hears nothing
  return ticket.project === project ? ticket : refuse("registry.not-found", `no ticket ${id.slice(0, 64)}`);
}
