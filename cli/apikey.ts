/** `postern apikey`: keys of a developer for programs; each does what its scopes say and no more than its developer may. */
import type { Command } from "commander";
import { route } from "./admin-client.ts";
import { contextOf } from "./context.ts";
import { collect, parseDuration } from "./duration.ts";
import { formatList, formatTable, formatTime } from "./output.ts";

interface ApiKey {
  readonly id: string;
  readonly name: string;
  readonly project: string | null;
  readonly scopes: readonly string[];
  readonly created_at: number;
  readonly expires_at: number;
  readonly last_used_at: number | null;
  readonly status: string;
}

interface CreateOptions {
  readonly project?: string;
  readonly scope?: string[];
  readonly ttl?: number;
}

/** Adds the commands of this noun. */
export function define(noun: Command): void {
  noun
    .command("create")
    .description("create an API key; it is shown once")
    .argument("<name>", "what it is for")
    .option("--project <slug>", "good for this project alone")
    .option("--scope <scope>", "read, audit, enrol, manage or own; may be repeated (default read)", collect)
    .option("--ttl <duration>", "how long it is good, as 30d", parseDuration)
    .action(async (name: string, { project, scope, ttl }: CreateOptions, command: Command) => {
      const { output, withLogin } = contextOf(command);
      const body = { name, project, scopes: scope, ttl_seconds: ttl };
      const created = await withLogin((client) => client.post<ApiKey & { key: string }>(route`/v1/me/api-keys`, body));
      output.print(created, () => {
        const { id, key, scopes, expires_at } = created;
        const facts = `created API key ${name} with id ${id}, for ${formatList(scopes)}, until ${formatTime(expires_at)}`;
        return `${facts}\nkey, shown only now: ${key}`;
      });
    });

  noun
    .command("list")
    .description("list your API keys")
    .action(async (_options: object, command: Command) => {
      const { output, withLogin } = contextOf(command);
      const keys = await withLogin((client) => client.list<ApiKey>(route`/v1/me/api-keys`));
      output.print(keys, () =>
        formatTable(
          keys,
          {
            id: ({ id }) => id,
            name: ({ name }) => name,
            project: ({ project }) => project ?? "all",
            scopes: ({ scopes }) => formatList(scopes),
            created: ({ created_at }) => formatTime(created_at),
            "last used": ({ last_used_at }) => (last_used_at === null ? "never" : formatTime(last_used_at)),
            expires: ({ expires_at }) => formatTime(expires_at),
            status: ({ status }) => status,
          },
          "no API keys",
        ),
      );
    });

  noun
    .command("revoke")
    .description("revoke an API key")
    .argument("<id>", "its id from apikey list")
    .action(async (id: string, _options: object, command: Command) => {
      const { output, withLogin } = contextOf(command);
      await withLogin((client) => client.delete(route`/v1/me/api-keys/${id}`));
      output.print({ id, revoked: true }, () => `revoked API key ${id}`);
    });
}
