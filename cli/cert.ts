/** `postern cert`: the device certificates that were issued. */
import type { Command } from "commander";
import { route } from "./admin-client.ts";
import { contextOf, readClientArgument } from "./context.ts";
import { formatTable, formatTime } from "./output.ts";

interface Certificate {
  readonly serial: string;
  readonly client: string;
  readonly not_before: number;
  readonly not_after: number;
}

interface ListOptions {
  readonly client?: string;
  readonly project?: string;
}

/** Adds the commands of this noun. */
export function define(noun: Command): void {
  noun
    .command("list")
    .description("list the certificates of all clients, or of one")
    .option("--client <client>", "only those of this client")
    .option("--project <slug>", "project, when the client is given by name")
    .action(async (options: ListOptions, command: Command) => {
      const { output, withAdmin } = contextOf(command);
      const path = options.client === undefined ? route`/v1/certificates` : pathFor(options.client, options.project);
      const certificates = await withAdmin((admin) => admin.list<Certificate>(path));
      output.print(certificates, () =>
        formatTable(
          certificates,
          {
            serial: ({ serial }) => serial,
            client: ({ client }) => client,
            from: ({ not_before }) => formatTime(not_before),
            until: ({ not_after }) => formatTime(not_after),
          },
          "no certificates",
        ),
      );
    });
}

function pathFor(client: string, asked: string | undefined): string {
  const { project, name } = readClientArgument(client, asked);
  return route`/v1/certificates?client=${`${project}.${name}`}`;
}
