/** `postern project`: the tenants of an installation. */
import type { Command } from "commander";
import { route } from "./admin-client.ts";
import { contextOf } from "./context.ts";
import { formatTable, formatTime } from "./output.ts";

interface Project {
  readonly slug: string;
  readonly created_at: number;
}

/** Adds the commands of this noun. */
export function define(noun: Command): void {
  noun
    .command("create")
    .description("create a project")
    .argument("<slug>", "two to 31 characters: a-z, 0-9, -")
    .action(async (slug: string, _options: object, command: Command) => {
      const { output, withAdmin } = contextOf(command);
      const project = await withAdmin((admin) => admin.post<Project>(route`/v1/projects`, { slug }));
      output.print(project, () => `created project ${slug}`);
    });

  noun
    .command("list")
    .description("list the projects")
    .action(async (_options: object, command: Command) => {
      const { output, withAdmin } = contextOf(command);
      const projects = await withAdmin((admin) => admin.list<Project>(route`/v1/projects`));
      output.print(projects, () =>
        formatTable(
          projects,
          { project: ({ slug }) => slug, created: ({ created_at }) => formatTime(created_at) },
          "no projects yet",
        ),
      );
    });
}
