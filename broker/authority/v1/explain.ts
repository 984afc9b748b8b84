/**
 * What a refusal meant: the check that said no, why, and the smallest change after which it would not. From its row in the
 * audit log and from what the registry knows now.
 */
import type { Reason } from "../../../shared/refusal.ts";
import { meaningOf, meanings } from "../../../shared/refusal.ts";
import type { AuditRecord } from "../../registry/audit.ts";
import type { Registry } from "../../registry/registry.ts";
import type { Case, Change } from "./explain-case.ts";
import { explanations, type Row } from "./explain-table.ts";

/** An explanation for whoever may read the audit log. */
export interface Explanation {
  readonly reason: Reason;
  /** What the peer was told. */
  readonly told: string;
  /** What is checked, in the words of what would have passed. */
  readonly check: string;
  readonly change: Change;
}

const clientId = /^[a-z][a-z0-9-]{1,30}\.[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/;
const apiId = /^([a-z][a-z0-9-]{1,30})\/([A-Za-z0-9][A-Za-z0-9_-]{0,62})$/;

/** Explains the row of a refusal; a reason that this version does not know is what it is. */
export function explainRefusal(registry: Registry, record: AuditRecord): Explanation {
  const reason = record.reason !== undefined && Object.hasOwn(meanings, record.reason) ? record.reason : "internal";
  const { check, change }: Row = explanations[reason];
  return {
    reason,
    told: meaningOf(reason).says,
    check,
    change: typeof change === "function" ? change(toCase(registry, record)) : change,
  };
}

function toCase(registry: Registry, record: AuditRecord): Case {
  const { facts = {}, actor, event, project } = record;
  const claimed = typeof facts["claimed"] === "string" ? facts["claimed"] : undefined;
  const names = [record.subject, actor, claimed].filter((name) => name !== undefined);
  const client = names.find((name) => clientId.test(name));
  const [, apiProject, name] = names.map((one) => apiId.exec(one)).find((match) => match !== null) ?? [];
  const api = apiProject === undefined || name === undefined ? undefined : { project: apiProject, name };
  return { registry, event, actor, claimed, client, api, project, facts };
}
