/** What the audit log learns of a token request that was refused, once its client has proven itself. */
import { Refusal } from "../../../shared/refusal.ts";
import { decodeScopeText, formatPermission, type Grant } from "../../../shared/scope.ts";
import type { Client } from "../../registry/clients.ts";
import { noteRefusal } from "../refusal-audit.ts";
import type { TokenRequest } from "./token-request.ts";

/** Entries of a scope that are written down. */
const maxAsked = 20;
const longestText = 200;

/** Notes who was refused, for which audience, asking for what. */
export function noteRefusedToken(error: unknown, client: Client, { audience, scope }: TokenRequest): void {
  const asked = scope === undefined ? undefined : readAsked(scope);
  noteRefusal(error, {
    actor: client.id,
    subject: client.id,
    facts: {
      ...(audience !== undefined && { audience: audience.slice(0, longestText) }),
      ...(asked !== undefined && { asked: asked.map((one) => one.slice(0, longestText)) }),
    },
  });
}

/** Permissions for kind mqtt, also where they came as text; else the names. */
function readAsked(scope: readonly Grant[] | string): string[] {
  if (typeof scope !== "string") return scope.slice(0, maxAsked).map(formatPermission);
  try {
    return readAsked(decodeScopeText(scope));
  } catch (error) {
    if (error instanceof Refusal) return scope.split(" ", maxAsked).filter((name) => name !== "");
    throw error;
  }
}
