/** `postern role`: named permissions on one api, which clients hold. */
import type { Command } from "commander";
import { route } from "./admin-client.ts";
import { contextOf } from "./context.ts";
import { collect } from "./duration.ts";
import { failUsage } from "./failure.ts";
import { formatList, formatTable } from "./output.ts";

interface Role {
  readonly name: string;
  readonly api: string;
  readonly permissions: readonly string[];
  readonly scopes: readonly string[];
}

interface PermissionOptions {
  readonly project: string;
  readonly allow?: string[];
  readonly scope?: string[];
}

/** Adds the commands of this noun. */
export function define(noun: Command): void {
  withPermissions(noun.command("create").description("create a role"))
    .requiredOption("--api <name>", "api that it is about")
    .action(async (name: string, options: PermissionOptions & { readonly api: string }, command: Command) => {
      const { project, api } = options;
      const body = { name, api, ...readPermissions(options) };
      const { output, withAdmin } = contextOf(command);
      const role = await withAdmin((admin) => admin.post<Role>(route`/v1/projects/${project}/roles`, body));
      output.print(role, () => `created role ${name} on api ${api}: ${describe(role)}`);
    });

  withPermissions(noun.command("update").description("replace the permissions of a role"))
    .option("--api <name>", "api that it is about")
    .action(async (name: string, options: PermissionOptions & { readonly api?: string }, command: Command) => {
      const { project, api } = options;
      const body = { api, ...readPermissions(options) };
      const { output, withAdmin } = contextOf(command);
      const role = await withAdmin((admin) => admin.put<Role>(route`/v1/projects/${project}/roles/${name}`, body));
      output.print(role, () => `role ${name} now allows ${describe(role)}`);
    });

  noun
    .command("list")
    .description("list the roles of a project")
    .requiredOption("--project <slug>", "project")
    .action(async ({ project }: { project: string }, command: Command) => {
      const { output, withAdmin } = contextOf(command);
      const roles = await withAdmin((admin) => admin.list<Role>(route`/v1/projects/${project}/roles`));
      output.print(roles, () =>
        formatTable(roles, { role: ({ name }) => name, api: ({ api }) => api, allows: describe }, "no roles yet"),
      );
    });
}

function withPermissions(command: Command): Command {
  return command
    .argument("<name>", "name of the role")
    .requiredOption("--project <slug>", "project")
    .option(
      "--allow <permission>",
      "pub:FILTER, sub:FILTER or pubsub:FILTER; may be repeated; ${client}, ${name}, ${project} stand for a whole level",
      collect,
    )
    .option("--scope <scope>", "a scope (kind http); may be repeated", collect);
}

function readPermissions({ allow, scope }: PermissionOptions): { permissions?: string[]; scopes?: string[] } {
  if (allow === undefined && scope === undefined) failUsage("a role needs --allow or --scope");
  return { ...(allow !== undefined && { permissions: allow }), ...(scope !== undefined && { scopes: scope }) };
}

function describe({ permissions, scopes }: Role): string {
  return formatList([...permissions, ...scopes], "nothing");
}
