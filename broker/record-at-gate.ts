/** What the gate refuses, as the audit log has it. The two rooms do not know each other; they meet here. */
import { ownerOf } from "../shared/names.ts";
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
    ...(subject === undefined && claimed !== undefined && { claimed: () => (isId(claimed) ? claimed : undefined) }),
    facts: () => ({
      address,
      ...(topic !== undefined && { topic }),
      ...(detail !== "" && { detail }),
    }),
  });
}

/** What is no client id might be a credential in the wrong place. */
function isId(text: string): boolean {
  return /^[a-z][a-z0-9-]{1,30}\.[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/.test(text);
}
