/**
 * The rows of `/v1` that are about the audit log: one project's, the whole chain, and what a refusal meant.
 */
import type { z } from "zod";
import { Refusal, refuse } from "../../shared/refusal.ts";
import { findRefusal, listAudit, readChain, type AuditRecord } from "../registry/audit.ts";
import { getProject } from "../registry/projects.ts";
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
    says: "the whole log with its hashes, oldest first; a page may hold less than its limit",
    query: chainPage,
    answers: "AuditRow",
    list: true,
    run({ registry }, { query }) {
      const { after = 0, limit } = query as z.output<typeof chainPage>;
      const { rows, more } = readChain(registry, { after, limit, bytes: chainBytes });
      return { items: rows, ...(more && { next: String(rows.at(-1)!.seq) }) };
    },
  },
  one("developer", "/v1/refusals/:id", "ExplainedRefusal", (context, { id }) => {
    const record = findOwnRefusal(context, id);
    return toExplained(id, record, explainRefusal(context.registry, record));
  }),
];

/** One that is not there, one of no project and one of somebody else's are the same to a developer. */
function findOwnRefusal({ registry, principal }: CallContext, id: string): AuditRecord {
  const record = findRefusal(registry, id);
  if (record !== undefined && (principal.kind === "admin" || isOwn(record))) return record;
  return refuse("registry.not-found", `no refusal ${id} in the audit log`);

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
