/** What the commands that revoke have in common: one request, and one line that says whether it changed anything. */
import type { Command } from "commander";
import { route } from "./admin-client.ts";
import { contextOf } from "./context.ts";
import { orOfProject } from "./failure.ts";

/** How many of each kind were not revoked before. */
type Revoked = Readonly<Record<"tokens" | "certificates" | "clients" | "keys" | "projects", number>>;

/**
 * Sends the wish, as `/v1/revocations` takes it, or the one of a project, which is for its developers too; `what` names its one
 * entry.
 */
export async function revoke(
  command: Command,
  wish: object,
  { what, project }: { readonly what: string; readonly project?: string | undefined },
): Promise<void> {
  const { output, withAdmin } = contextOf(command);
  const path = project === undefined ? route`/v1/revocations` : route`/v1/projects/${project}/revocations`;
  const revoked = await orOfProject(project, () => withAdmin((admin) => admin.post<Revoked>(path, wish)));
  const isNew = Object.values(revoked).some((count) => count > 0);
  output.print(revoked, () => (isNew ? `revoked ${what}` : `revoked before: ${what}`));
}
