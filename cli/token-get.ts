/**
 * `postern token get`: a token for a client with its secret, its key or its certificate, or as the agent of a folder.
 *
 * A secret is better given in POSTERN_CLIENT_SECRET than on the command line, where others may see it.
 */
import { Option, type Command } from "commander";
import type { Grant, Scope } from "../shared/scope.ts";
import type { ClientProof, TokenAnswer } from "./ask-token.ts";
import { contextOf, findAccess, readClientArgument, readVariable, type GlobalOptions } from "./context.ts";
import { collect } from "./duration.ts";
import { failUsage } from "./failure.ts";

interface GetOptions {
  readonly client?: string;
  readonly project?: string;
  readonly secret?: string;
  readonly keyFile?: string;
  readonly cert?: string;
  readonly dpopKey?: string;
  readonly audience?: string;
  readonly api?: string;
  readonly scope?: string[];
  readonly format?: "cwt" | "jwt";
  readonly dir?: string;
}

/** Adds the command. */
export function defineGet(noun: Command): void {
  noun
    .command("get")
    .description("get a token with a client's secret or key, or as the agent of a folder")
    .option("--client <client>", "the client: its id, or its name with --project")
    .option("--project <slug>", "project of --client and --api")
    .option("--secret <secret>", "the client's secret (POSTERN_CLIENT_SECRET)")
    .option("--key-file <file>", "the client's private key, PEM or JWK, instead of a secret")
    .option("--cert <file>", "certificate of --key-file, PEM: the client proves itself in TLS")
    .option("--dpop-key <file>", "private key, PEM or JWK, that the token shall be bound to by DPoP")
    .option("--audience <audience>", "audience of the api")
    .option("--api <name>", "the api, instead of its audience; neither, when the client has one api")
    .option(
      "--scope <scope>",
      "less than the roles allow: pub:FILTER and the like, or a scope; may be repeated",
      collect,
    )
    .addOption(new Option("--format <format>", "what to ask for (default jwt)").choices(["cwt", "jwt"]))
    .option("--dir <dir>", "ask as the agent that is enrolled in this folder")
    .action(async (options: GetOptions, command: Command) => {
      const { output, options: globals } = contextOf(command);
      const { dir } = options;
      const answer = dir === undefined ? await getAsClient(options, globals) : await getAsAgent(options, dir);
      output.print(answer, () => answer.access_token);
    });
}

async function getAsClient(options: GetOptions, globals: GlobalOptions): Promise<TokenAnswer> {
  if (options.client === undefined) return failUsage("give --client with its secret or key, or --dir of an agent");
  const { project, name } = readClientArgument(options.client, options.project);
  assertOneBinding(options);
  const proof = await readProof(options);
  const dpop = await readDpopKey(options);
  const scope = options.scope && (await readWish(options.scope));
  const { url, issuer, ca } = await findAccess(globals, process.env, "none");
  const { askToken } = await import("./ask-token.ts");
  return askToken({
    url,
    issuer,
    ca,
    clientId: `${project}.${name}`,
    proof,
    dpop,
    audience: options.audience ?? (options.api === undefined ? undefined : `${project}.${options.api}`),
    scope,
    format: options.format ?? "jwt",
    nowSeconds: Math.floor(Date.now() / 1000),
  });
}

async function readProof({ secret: given, keyFile, cert }: GetOptions): Promise<ClientProof> {
  if (keyFile === undefined) {
    if (cert !== undefined) return failUsage("give --cert together with --key-file");
    const secret = given ?? readVariable("POSTERN_CLIENT_SECRET");
    return secret === undefined
      ? failUsage("give --secret, --key-file or POSTERN_CLIENT_SECRET")
      : { kind: "secret", secret };
  }
  if (given !== undefined) return failUsage("give --secret or --key-file, not both");
  const { readCertificateOf, readSigner } = await import("./private-key.ts");
  const { signer, privateKey } = readSigner(keyFile);
  if (cert === undefined) return { kind: "key", signer };
  const keyPem = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  return { kind: "certificate", certificatePem: readCertificateOf(privateKey, cert), keyPem };
}

function assertOneBinding({ dpopKey, cert, format }: GetOptions): void {
  if (dpopKey === undefined) return;
  if (cert !== undefined) failUsage("give --dpop-key or --cert, not both: a token is bound to one key");
  if (format === "cwt") failUsage("give --dpop-key or --format cwt, not both: DPoP is for JWTs");
}

async function readDpopKey({ dpopKey }: GetOptions) {
  if (dpopKey === undefined) return undefined;
  const { readSigner } = await import("./private-key.ts");
  return readSigner(dpopKey).signer;
}

async function getAsAgent(options: GetOptions, dir: string): Promise<TokenAnswer> {
  const { client, secret, keyFile, dpopKey, cert, format } = options;
  if (client !== undefined || secret !== undefined) failUsage("give --dir or --client, not both");
  if ([keyFile, dpopKey, cert, format].some((given) => given !== undefined)) {
    failUsage("an agent has its own key and its own form of tokens: give --client, or none of the options of a client");
  }
  const scope = options.scope && (await readPermissions(options.scope));
  const { openRefreshedAgent } = await import("../agent/agent.ts");
  const api = options.api ?? options.audience;
  const agent = await openRefreshedAgent({
    dir,
    ...(api !== undefined && { api }),
    ...(scope !== undefined && { scope }),
  });
  const { text, expiresInSeconds } = await agent.token();
  return { access_token: text, token_type: "pop", expires_in: expiresInSeconds };
}

/** Permissions are grants of an api of kind mqtt; anything else is scopes as they are. */
async function readWish(scopes: readonly string[]): Promise<Scope> {
  const permissions = scopes.filter((scope) => /^(pub|sub|pubsub):/.test(scope));
  if (permissions.length === 0) return scopes.join(" ");
  if (permissions.length < scopes.length) return failUsage("--scope is either permissions or plain scopes");
  return readPermissions(scopes);
}

async function readPermissions(texts: readonly string[]): Promise<Grant[]> {
  const [{ parsePermission }, { Refusal }] = await Promise.all([
    import("../shared/scope.ts"),
    import("../shared/refusal.ts"),
  ]);
  return texts.map((text) => {
    try {
      return parsePermission(text);
    } catch (error) {
      if (error instanceof Refusal) return failUsage(`--scope ${text}: ${error.detail}`);
      throw error;
    }
  });
}
