/** `postern project`: the tenants of an installation, and taking back all their tokens at once. */
import { InvalidArgumentError, type Command } from "commander";
import { route } from "./admin-client.ts";
import { contextOf } from "./context.ts";
import { formatTable, formatTime } from "./output.ts";
import { revoke } from "./revoke.ts";

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

  noun
    .command("revoke-tokens")
    .description("revoke the tokens of all clients of a project that were issued before a time")
    .argument("<slug>", "project")
    .requiredOption("--before <time>", "RFC 3339, seconds since 1970, or now; not in the future", parseTime)
    .action(async (slug: string, { before }: { before: string | number }, command: Command) => {
      const what = `the tokens of project ${slug} issued before ${String(before)}`;
      await revoke(command, { before }, { what, project: slug });
    });
}

/** As `/v1` takes it. Throws commander's usage error. */
function parseTime(text: string): string | number {
  if (/^\d{1,12}$/.test(text)) return Number(text);
  const isDate = /^\d{4}-\d\d-\d\dT.*(?:Z|[+-]\d\d:\d\d)$/.test(text) && !Number.isNaN(Date.parse(text));
  if (text !== "now" && !isDate) {
    throw new InvalidArgumentError("A time is like 2026-11-22T06:00:00Z, or seconds since 1970, or now.");
  }
  return text;
}
