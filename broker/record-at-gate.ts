/** What the gate refuses, as the audit log has it. The two rooms do not know each other; they meet here. */
import { isCallerName, ownerOf } from "../shared/names.ts";
import type { RefusedAtGate } from "./gate/report.ts";
import { recordRefusal } from "./registry/refusals.ts";
import type { Registry } from "./registry/registry.ts";

/** Has the row of a refusal at the gate written, soon. */
export function recordAtGate(registry: Registry, refused: RefusedAtGate): void {
  const { at, reason, id, detail, address, subject, clientId, topic } = refused;
  const claimed = clientId === null ? undefined : ownerOf(clientId);
  void recordRefusal(registry, {
    event: `${at}.refused`,
    refusal: { reason, id },
    actor: subject,
    address,
    subject,
    ...(subject === undefined &&
      claimed !== undefined && { claimed: () => (isCallerName(claimed) ? claimed : undefined) }),
    facts: () => ({
      address,
      ...(topic !== undefined && { topic }),
      ...(detail !== "" && { detail }),
    }),
  });
}
