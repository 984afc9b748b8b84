/** The JSON of `/v1` for whoever keeps an installation: the chain of the audit log, an explained refusal, how things are. */
import { z } from "zod";
import type { AuditRecord } from "../../registry/audit.ts";
import type { Explanation } from "./explain.ts";

const seconds = z.int().min(0);
const maybe = z.string().nullable();

/** What is answered. */
export const answeredOfAudit = {
  /** To the byte what the hash covers (shared/audit-chain.ts). */
  AuditRow: z.object({
    seq: z.int(),
    at: seconds,
    event: z.string(),
    actor: z.string(),
    project: maybe,
    subject: maybe,
    reason: maybe,
    refusal_id: maybe,
    facts: maybe.meta({ description: "JSON, as text" }),
    hash: maybe.meta({ description: "hex SHA-256 over the hash of the row before and this row" }),
  }),
  ExplainedRefusal: z.object({
    id: z.string(),
    at: seconds,
    event: z.string(),
    reason: z.string(),
    told: z.string().meta({ description: "what the peer was told" }),
    actor: z.string().meta({ description: "who was refused; `stranger` where nobody was proven" }),
    project: maybe,
    subject: maybe,
    check: z.string().meta({ description: "what is checked, in the words of what would have passed" }),
    change: z.string().meta({ description: "the smallest change after which it would pass" }),
    command: maybe.meta({ description: "that change as a command, where it is one" }),
    facts: z.record(z.string(), z.unknown()),
  }),
  Status: z.object({
    issuer: z.string(),
    time: seconds,
    brokers: z.object({ mqtts: maybe, wss: maybe, mqtt: maybe }),
    registration: z.enum(["open", "invite", "closed"]),
    mail: z.enum(["smtp", "log"]).meta({ description: "where codes and invitations go" }),
    storage: z
      .object({ writable: z.boolean() })
      .nullable()
      .meta({ description: "whether the disk takes a row, for the holder of the admin key" }),
  }),
};

/** A refusal as `/v1` shows it. */
export function toExplained(
  id: string,
  record: AuditRecord,
  { reason, told, check, change }: Explanation,
): z.output<typeof answeredOfAudit.ExplainedRefusal> {
  const { at, event, actor, project = null, subject = null, facts = {} } = record;
  return {
    id,
    at,
    event,
    reason,
    told,
    actor,
    project,
    subject,
    check,
    change: change.says,
    command: change.command ?? null,
    facts,
  };
}
