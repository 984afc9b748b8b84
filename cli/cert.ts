/** `postern cert`: the certificates that were issued. */
import type { Command } from "commander";
import { route } from "./admin-client.ts";
import { defineAuthorityCommands } from "./cert-authority.ts";
import { contextOf, readClientArgument } from "./context.ts";
import { orOfProject } from "./failure.ts";
import { formatTable, formatTime } from "./output.ts";
import { revoke } from "./revoke.ts";

interface Certificate {
  readonly serial: string;
  readonly client: string;
  readonly not_before: number;
  readonly not_after: number;
  readonly revoked_at: number | null;
  readonly status: "good" | "held" | "revoked";
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
    .option("--project <slug>", "those of this project, or the one of a client that is given by name")
    .action(async (options: ListOptions, command: Command) => {
      const { output, withAdmin } = contextOf(command);
      const certificates = await orOfProject(options.project, () =>
        withAdmin((admin) => admin.list<Certificate>(pathFor(options))),
      );
      output.print(certificates, () =>
        formatTable(
          certificates,
          {
            serial: ({ serial }) => serial,
            client: ({ client }) => client,
            from: ({ not_before }) => formatTime(not_before),
            until: ({ not_after }) => formatTime(not_after),
            status: ({ status, revoked_at }) => (revoked_at === null ? status : `revoked ${formatTime(revoked_at)}`),
          },
          "no certificates",
        ),
      );
    });

  noun
    .command("revoke")
    .description("revoke a certificate, with the tokens bound to its key; the key is not certified again")
    .argument("<serial>", "serial number in hex, as cert list has it")
    .option("--project <slug>", "the project whose it is; needed by developers")
    .action(async (serial: string, { project }: { project?: string }, command: Command) => {
      await revoke(command, { certificates: [serial] }, { what: `certificate ${serial}`, project });
    });
  defineAuthorityCommands(noun);
}

function pathFor({ client, project: asked }: ListOptions): string {
  if (client === undefined) {
    return asked === undefined ? route`/v1/certificates` : route`/v1/projects/${asked}/certificates`;
  }
  const { project, name } = readClientArgument(client, asked);
  const query = route`?client=${`${project}.${name}`}`;
  return asked === undefined ? `/v1/certificates${query}` : route`/v1/projects/${asked}/certificates` + query;
}
