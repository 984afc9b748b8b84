/** `postern api`: the resource servers that tokens are for. */
import { Option, type Command } from "commander";
import { route } from "./admin-client.ts";
import { contextOf } from "./context.ts";
import { askKeys, formatKeys } from "./credentials.ts";
import { collectList, formatDuration, parseDuration } from "./duration.ts";
import { failUsage } from "./failure.ts";
import { addKeyOptions, readKeyOptions, type KeyOptions } from "./jwk-file.ts";
import { formatList, formatTable } from "./output.ts";

interface Api {
  readonly name: string;
  readonly kind: "mqtt" | "http";
  readonly audience: string;
  readonly topics: readonly string[];
  readonly scopes: readonly string[];
  readonly ttl_seconds: number;
  readonly format: "cwt" | "jwt" | null;
  readonly bearer: boolean;
  readonly purge: Purge;
}

/** When the messages that a client left retained go with it. */
type Purge = "client" | "always" | "never";

interface CreateOptions {
  readonly project: string;
  readonly kind: "mqtt" | "http";
  readonly audience?: string;
  readonly topics?: string[];
  readonly scopes?: string[];
  readonly ttl?: number;
  readonly format?: "cwt" | "jwt";
  readonly bearer?: boolean;
  readonly purge?: Purge;
}

/** Adds the commands of this noun. */
export function define(noun: Command): void {
  noun
    .command("create")
    .description("create an api: topic filters (mqtt) or scopes (http)")
    .argument("<name>", "name of the api, unique in the project")
    .requiredOption("--project <slug>", "project it belongs to")
    .addOption(new Option("--kind <kind>", "what it is").choices(["mqtt", "http"]).makeOptionMandatory())
    .option("--topics <filters...>", "topic filters it consists of (mqtt); those of a developer begin with the project")
    .option("--scopes <a,b>", "scopes it knows (http)", collectList)
    .option("--ttl <duration>", "life of its tokens, for example 1h", parseDuration)
    .addOption(
      new Option("--format <format>", "format of its tokens; as the request is, when left out").choices(["cwt", "jwt"]),
    )
    .option("--bearer", "let tokens in that are bound to no key")
    .addOption(
      new Option(
        "--purge <when>",
        "retained messages of a client go when it is disabled or deleted (client, the default), when any credential of it is revoked (always), or never",
      ).choices(["client", "always", "never"]),
    )
    .option("--audience <text>", "what its tokens say in aud (default <project>.<name>)")
    .action(async (name: string, options: CreateOptions, command: Command) => {
      const { project, kind, audience, topics, scopes, ttl, format, bearer, purge } = options;
      if (kind === "mqtt" && topics === undefined) failUsage("an api of kind mqtt needs --topics");
      if (kind === "http" && scopes === undefined) failUsage("an api of kind http needs --scopes");
      if (kind === "mqtt" ? scopes !== undefined : topics !== undefined) {
        failUsage("--topics are for kind mqtt, --scopes for kind http");
      }
      const { output, withAdmin } = contextOf(command);
      const body = { name, kind, audience, topics, scopes, ttl_seconds: ttl, format, bearer, purge };
      const api = await withAdmin((admin) => admin.post<Api>(route`/v1/projects/${project}/apis`, body));
      output.print(api, () => `created api ${name} with audience ${api.audience}`);
    });

  noun
    .command("list")
    .description("list the apis of a project")
    .requiredOption("--project <slug>", "project")
    .action(async ({ project }: { project: string }, command: Command) => {
      const { output, withAdmin } = contextOf(command);
      const apis = await withAdmin((admin) => admin.list<Api>(route`/v1/projects/${project}/apis`));
      output.print(apis, () =>
        formatTable(
          apis,
          {
            api: ({ name }) => name,
            kind: ({ kind }) => kind,
            audience: ({ audience }) => audience,
            "token life": ({ ttl_seconds }) => formatDuration(ttl_seconds),
            format: ({ format }) => format ?? "as asked",
            bearer: ({ bearer }) => (bearer ? "yes" : "no"),
            purge: ({ purge }) => purge,
            "topics or scopes": ({ topics, scopes }) => formatList([...topics, ...scopes]),
          },
          "no apis yet",
        ),
      );
    });

  addKeyOptions(noun.command("keys"))
    .description("show the public keys by which the resource server of an api asks about tokens, or replace them all")
    .argument("<name>", "name of the api")
    .requiredOption("--project <slug>", "project it belongs to")
    .action(async (name: string, options: KeyOptions & { project: string }, command: Command) => {
      const keys = readKeyOptions(options);
      const { output, withAdmin } = contextOf(command);
      const path = route`/v1/projects/${options.project}/apis/${name}/keys`;
      const found = await withAdmin((admin) => askKeys(admin, path, keys));
      output.print(found, () => formatKeys(found));
    });
}
