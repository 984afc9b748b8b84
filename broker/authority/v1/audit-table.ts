/**
 * The rows of `/v1` for whoever keeps an installation: the audit log of one project, the whole chain, what a refusal meant, and
 * how things are.
 */
import type { z } from "zod";
import { Refusal, refuse } from "../../../shared/refusal.ts";
import { findRefusal, listAudit, readChain, type AuditRecord } from "../../registry/audit.ts";
import { getProject } from "../../registry/projects.ts";
import { isWritable } from "../../registry/trust-changes.ts";
import { assertPermission } from "./access.ts";
import { toExplained } from "./audit-bodies.ts";
import { explainRefusal } from "./explain.ts";
import { toAuditEntry } from "./registry-bodies.ts";
import { auditPage, chainPage, cut, one, type CallContext, type Route } from "./registry-route.ts";

/** Text of one page of the chain, whatever its limit. */
const chainBytes = 4 * 1024 * 1024;

/** The rows. */
export const auditRoutes: readonly Route[] = [
  {
    method: "GET",
    path: "/v1/projects/:project/audit",
    access: "audit",
    says: "what happened, newest first",
    query: auditPage,
    answers: "AuditEntry",
    list: true,
    run({ registry }, { params, query }) {
      const q = query as z.output<typeof auditPage>;
      const { slug } = getProject(registry, params.project);
      const found = listAudit(registry, { ...q, project: slug, limit: q.limit + 1 });
      return cut(found, q.limit, ({ seq }) => String(seq), toAuditEntry);
    },
  },
  {
    method: "GET",
    path: "/v1/audit",
    access: "admin",
    says: "the whole log with its hashes, oldest first; a page may hold less than its limit; newest first with before",
    query: chainPage,
    answers: "AuditRow",
    list: true,
    run({ registry }, { query }) {
      const { after, before, limit } = query as z.output<typeof chainPage>;
      if (after !== undefined && before !== undefined)
        refuse("registry.invalid", "after and before do not go together");
      const { rows, more } = readChain(registry, { after, before, limit, bytes: chainBytes });
      return { items: rows, ...(more && { next: String(rows.at(-1)!.seq) }) };
    },
  },
  one("developer", "/v1/refusals/:id", "ExplainedRefusal", (context, { id }) => {
    const record = findOwnRefusal(context, id);
    return toExplained(id, record, explainRefusal(context.registry, record));
  }),
  one("developer", "/v1/status", "Status", ({ registry, issuer, accounts, brokers, principal }) => ({
    issuer,
    time: registry.nowSeconds(),
    brokers: { mqtts: null, wss: null, mqtt: null, ...brokers },
    registration: accounts.registration,
    mail: accounts.isMailed === true ? "smtp" : "log",
    storage: principal.kind === "admin" ? { writable: isWritable(registry) } : null,
  })),
];

/** One that is not there, one of no project and one of somebody else's are the same to a developer. */
function findOwnRefusal({ registry, principal }: CallContext, id: string): AuditRecord {
  const record = findRefusal(registry, id);
  if (record !== undefined && (principal.kind === "admin" || isOwn(record))) return record;
  const log = principal.kind === "admin" ? "the audit log" : "the log of a project of yours";
  return refuse("registry.not-found", `no refusal ${id} in ${log}`);

  function isOwn({ project }: AuditRecord): boolean {
    try {
      if (project === undefined) return false;
      assertPermission(registry, principal, project, "audit");
      return true;
    } catch (error) {
      if (error instanceof Refusal) return false;
      throw error;
    }
  }
}
