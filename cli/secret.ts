/** `postern secret`: the secrets of clients, and those of apis as resource servers. */
import type { Command } from "commander";
import { route } from "./admin-client.ts";
import { contextOf, readClientArgument } from "./context.ts";
import { formatSecrets, type Secret } from "./credentials.ts";
import { parseDuration } from "./duration.ts";
import { failUsage } from "./failure.ts";
import { formatTime } from "./output.ts";

/** Whose secrets are meant. */
interface OwnerOptions {
  readonly client?: string;
  readonly api?: string;
  readonly project?: string;
}

interface CreateOptions extends OwnerOptions {
  readonly ttl?: number;
  readonly idle?: number;
}

/** Adds the commands of this noun. */
export function define(noun: Command): void {
  withOwner(noun.command("create"))
    .description("create one more secret, shown once; those that are there stay good")
    .option("--ttl <duration>", "how long it is good (default: without end)", parseDuration)
    .option("--idle <duration>", "unused for so long beside a newer one it retires (default 7d)", parseDuration)
    .action(async (options: CreateOptions, command: Command) => {
      const { path, name } = readOwner(options);
      const { output, withAdmin } = contextOf(command);
      const body = { ttl_seconds: options.ttl, idle_seconds: options.idle };
      const created = await withAdmin((admin) => admin.post<Secret & { secret: string }>(path, body));
      const { id, secret, expires_at: end } = created;
      const until = end === null ? "" : `, good until ${formatTime(end)}`;
      output.print(created, () => `created secret ${id} of ${name}${until}\nsecret, shown only now: ${secret}`);
    });

  withOwner(noun.command("list"))
    .description("list secrets, newest first, with when each was last used")
    .action(async (options: OwnerOptions, command: Command) => {
      const { path } = readOwner(options);
      const { output, withAdmin } = contextOf(command);
      const secrets = await withAdmin((admin) => admin.list<Secret>(path));
      output.print(secrets, () => formatSecrets(secrets));
    });

  withOwner(noun.command("retire").argument("<secret>", "its id, from secret list"))
    .description("end a secret at once; tokens that were issued stay good")
    .action(async (id: string, options: OwnerOptions, command: Command) => {
      const { path, name } = readOwner(options);
      const { output, withAdmin } = contextOf(command);
      await withAdmin((admin) => admin.delete<unknown>(path + route`/${id}`));
      output.print({ id, status: "retired" }, () => `retired secret ${id} of ${name}`);
    });
}

function withOwner(command: Command): Command {
  return command
    .option("--client <client>", "the client whose it is, by id, or by name with --project")
    .option("--api <api>", "the api whose it is, by which its resource server asks about tokens")
    .option("--project <slug>", "project; may be left out when --client is an id");
}

/** The path of the secrets, and what their owner is called where it uses them. */
function readOwner({ client, api, project }: OwnerOptions): { readonly path: string; readonly name: string } {
  if ((client === undefined) === (api === undefined)) return failUsage("give --client or --api");
  if (client !== undefined) {
    const found = readClientArgument(client, project);
    return {
      path: route`/v1/projects/${found.project}/clients/${found.name}/secrets`,
      name: `${found.project}.${found.name}`,
    };
  }
  if (project === undefined) return failUsage("required option '--project <slug>' not specified");
  return { path: route`/v1/projects/${project}/apis/${api!}/secrets`, name: `${project}/${api!}` };
}
