/** `postern client`: devices, services and apps. */
import { Option, type Command } from "commander";
import { route, type AdminClient } from "./admin-client.ts";
import { contextOf, readClientArgument } from "./context.ts";
import { collect } from "./duration.ts";
import { formatFacts, formatList, formatTable, formatTime } from "./output.ts";

interface Client {
  readonly id: string;
  readonly name: string;
  readonly kind: string;
  readonly enabled: boolean;
  readonly roles: readonly string[];
  readonly created_at: number;
}

interface ProjectOption {
  readonly project?: string;
}

/** Adds the commands of this noun. */
export function define(noun: Command): void {
  noun
    .command("create")
    .description("create a client; a service or app gets a secret, shown once")
    .argument("<name>", "name of the client, unique in the project")
    .requiredOption("--project <slug>", "project it belongs to")
    .addOption(new Option("--kind <kind>", "what it is").choices(["device", "service", "app"]).makeOptionMandatory())
    .option("--role <role>", "a role it holds; may be repeated", collect)
    .action(async (name: string, options: CreateOptions, command: Command) => {
      const { project, kind, role: roles = [] } = options;
      const { output, withAdmin } = contextOf(command);
      const created = await withAdmin((admin) =>
        admin.post<Client & { client_secret?: string }>(route`/v1/projects/${project}/clients`, { name, kind, roles }),
      );
      const secret = created.client_secret === undefined ? "" : `\nsecret, shown only now: ${created.client_secret}`;
      output.print(created, () => `created ${kind} ${created.id} with roles ${formatList(created.roles)}${secret}`);
    });

  noun
    .command("list")
    .description("list the clients of a project")
    .requiredOption("--project <slug>", "project")
    .action(async ({ project }: { project: string }, command: Command) => {
      const { output, withAdmin } = contextOf(command);
      const clients = await withAdmin((admin) => admin.list<Client>(route`/v1/projects/${project}/clients`));
      output.print(clients, () =>
        formatTable(
          clients,
          {
            client: ({ id }) => id,
            kind: ({ kind }) => kind,
            roles: ({ roles }) => formatList(roles),
            enabled: ({ enabled }) => (enabled ? "yes" : "no"),
          },
          "no clients yet",
        ),
      );
    });

  one(noun, "show", "show a client", (admin, path) => admin.get<Client>(path), describe);
  one(
    noun,
    "disable",
    "refuse a client from now on, and revoke every token it has",
    (admin, path) => admin.patch(path, { enabled: false }),
    said("disabled", "; its tokens are revoked"),
  );
  one(
    noun,
    "enable",
    "let a disabled client in again; it needs new tokens",
    (admin, path) => admin.patch(path, { enabled: true }),
    said("enabled", "; it needs new tokens"),
  );
  one(
    noun,
    "delete",
    "delete a client for good, and revoke every token it has",
    (admin, path) => admin.delete(path),
    said("deleted", "; its tokens are revoked"),
  );
}

interface CreateOptions {
  readonly project: string;
  readonly kind: string;
  readonly role?: string[];
}

type Call = (admin: AdminClient, path: string) => Promise<Client | undefined>;

/** A command on one client, which prints what the authority answered. */
function one(
  noun: Command,
  verb: string,
  summary: string,
  call: Call,
  text: (id: string, client?: Client) => string,
): void {
  noun
    .command(verb)
    .description(summary)
    .argument("<client>", "its id, or its name with --project")
    .option("--project <slug>", "project, when the client is given by name")
    .action(async (client: string, options: ProjectOption, command: Command) => {
      const { project, name } = readClientArgument(client, options.project);
      const { output, withAdmin } = contextOf(command);
      const answer = await withAdmin((admin) => call(admin, route`/v1/projects/${project}/clients/${name}`));
      const id = `${project}.${name}`;
      output.print(answer ?? { id }, () => text(id, answer));
    });
}

function said(what: string, consequence: string): (id: string) => string {
  return (id) => `${what} ${id}${consequence}`;
}

function describe(id: string, client?: Client): string {
  if (client === undefined) return id;
  return formatFacts({
    client: client.id,
    kind: client.kind,
    roles: formatList(client.roles),
    enabled: client.enabled ? "yes" : "no",
    created: formatTime(client.created_at),
  });
}
