/** `postern client`: devices, services and apps. */
import { Option, type Command } from "commander";
import { route, type AdminClient } from "./admin-client.ts";
import { contextOf, readClientArgument } from "./context.ts";
import { askKeys, formatKeys, formatSecrets, type PublicKey, type Secret } from "./credentials.ts";
import { collect } from "./duration.ts";
import { addKeyOptions, readKeyOptions, type KeyOptions } from "./jwk-file.ts";
import { formatFacts, formatList, formatTable, formatTime } from "./output.ts";

interface Client {
  readonly id: string;
  readonly name: string;
  readonly kind: string;
  readonly enabled: boolean;
  readonly roles: readonly string[];
  readonly created_at: number;
}

/** A client with its credentials. */
interface WholeClient extends Client {
  readonly secrets: readonly Secret[];
  readonly keys: readonly PublicKey[];
}

interface ProjectOption {
  readonly project?: string;
}

/** Adds the commands of this noun. */
export function define(noun: Command): void {
  addKeyOptions(noun.command("create"))
    .description("create a client; a service or app without a key gets a secret, shown once")
    .argument("<name>", "name of the client, unique in the project")
    .requiredOption("--project <slug>", "project it belongs to")
    .addOption(new Option("--kind <kind>", "what it is").choices(["device", "service", "app"]).makeOptionMandatory())
    .option("--role <role>", "a role it holds; may be repeated", collect)
    .action(async (name: string, options: CreateOptions, command: Command) => {
      const { project, kind, role: roles = [] } = options;
      const body = { name, kind, roles, keys: readKeyOptions(options) };
      const { output, withAdmin } = contextOf(command);
      const created = await withAdmin((admin) =>
        admin.post<Client & { client_secret?: string }>(route`/v1/projects/${project}/clients`, body),
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

  noun
    .command("update")
    .description("replace the roles of a client")
    .argument("<client>", "its id, or its name with --project")
    .option("--project <slug>", "project, when the client is given by name")
    .option("--role <role>", "a role it holds from now on; may be repeated; without it none", collect)
    .action(async (client: string, options: ProjectOption & { readonly role?: string[] }, command: Command) => {
      const { project, name } = readClientArgument(client, options.project);
      const { output, withAdmin } = contextOf(command);
      const path = route`/v1/projects/${project}/clients/${name}`;
      const changed = await withAdmin((admin) => admin.patch<Client>(path, { roles: options.role ?? [] }));
      output.print(changed, () => `${changed.id} now has roles ${formatList(changed.roles)}`);
    });

  addKeyOptions(noun.command("keys"))
    .description("show the public keys by which a client proves itself, or replace them all")
    .argument("<client>", "its id, or its name with --project")
    .option("--project <slug>", "project, when the client is given by name")
    .action(async (client: string, options: KeyOptions & ProjectOption, command: Command) => {
      const { project, name } = readClientArgument(client, options.project);
      const keys = readKeyOptions(options);
      const { output, withAdmin } = contextOf(command);
      const path = route`/v1/projects/${project}/clients/${name}/keys`;
      const found = await withAdmin((admin) => askKeys(admin, path, keys));
      output.print(found, () => formatKeys(found));
    });

  one(noun, "show", "show a client, its secrets and its keys", readWhole, describe);
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

interface CreateOptions extends KeyOptions {
  readonly project: string;
  readonly kind: string;
  readonly role?: string[];
}

type Call<Answer> = (admin: AdminClient, path: string) => Promise<Answer | undefined>;

async function readWhole(admin: AdminClient, path: string): Promise<WholeClient> {
  const client = await admin.get<Client>(path);
  const secrets = await admin.list<Secret>(`${path}/secrets`);
  return { ...client, secrets, keys: await admin.list<PublicKey>(`${path}/keys`) };
}

/** A command on one client, which prints what the authority answered. */
function one<Answer extends Client>(
  noun: Command,
  verb: string,
  summary: string,
  call: Call<Answer>,
  text: (id: string, answer?: Answer) => string,
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

function describe(id: string, client?: WholeClient): string {
  if (client === undefined) return id;
  const facts = formatFacts({
    client: client.id,
    kind: client.kind,
    roles: formatList(client.roles),
    enabled: client.enabled ? "yes" : "no",
    created: formatTime(client.created_at),
  });
  const secrets = client.secrets.length === 0 ? [] : [formatSecrets(client.secrets)];
  return [facts, ...secrets, ...(client.keys.length === 0 ? [] : [formatKeys(client.keys)])].join("\n\n");
}
