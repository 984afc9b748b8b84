/**
 * What a caller is called, and what it spends by asking.
 */
import { spendAssertion } from "../../registry/assertions.ts";
import { ADMIN } from "../../registry/audit.ts";
import type { Registry } from "../../registry/registry.ts";
import { nameOwner } from "../../registry/secrets.ts";
import type { Caller } from "./caller-auth.ts";

/** A client id, `<project>/<api>`, or the administrator: in signed answers, in the audit log and in the log. */
export function nameCaller(caller: Caller): string {
  if (caller.kind === "admin") return ADMIN;
  return caller.kind === "client"
    ? caller.asker.client.id
    : nameOwner({ project: caller.api.project, api: caller.api.name });
}

/** The assertion by which the caller proved itself, if that was how, is good no more. Throws `assertion.replayed`. */
export function spendAssertionOf(registry: Registry, caller: Caller): void {
  if (caller.kind === "admin") return;
  const assertion = caller.kind === "client" ? caller.asker.assertion : caller.assertion;
  if (assertion !== undefined) spendAssertion(registry, nameCaller(caller), assertion.id, assertion.exp);
}
