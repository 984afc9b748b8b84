/**
 * `postern token`: getting a token with a client's secret (RFC 6749, section 4.4) or as the agent of a folder, reading one
 * without asking anybody, and taking one back.
 *
 * A secret is better given in POSTERN_CLIENT_SECRET than on the command line, where others may see it.
 */
import type { Command } from "commander";
import { sendHttps } from "../agent/request.ts";
import { readAnswer } from "./admin-client.ts";
import { contextOf, findAccess, readClientArgument, type GlobalOptions } from "./context.ts";
import { collect } from "./duration.ts";
import { fail, failUsage } from "./failure.ts";
import { formatFacts, formatList, formatTime } from "./output.ts";

interface GetOptions {
  readonly client?: string;
  readonly project?: string;
  readonly secret?: string;
  readonly audience?: string;
  readonly api?: string;
  readonly scope?: string[];
  readonly dir?: string;
}

interface TokenAnswer {
  readonly access_token: string;
  readonly token_type: string;
  readonly expires_in: number;
  readonly scope?: string;
}

/** Adds the commands of this noun. */
export function define(noun: Command): void {
  noun
    .command("get")
    .description("get a token with a client's secret, or as the agent of a folder")
    .option("--client <client>", "the client: its id, or its name with --project")
    .option("--project <slug>", "project of --client and --api")
    .option("--secret <secret>", "the client's secret (POSTERN_CLIENT_SECRET)")
    .option("--audience <audience>", "audience of the api")
    .option("--api <name>", "the api, instead of its audience; neither, when the client has one api")
    .option(
      "--scope <scope>",
      "less than the roles allow: pub:FILTER and the like, or a scope; may be repeated",
      collect,
    )
    .option("--dir <dir>", "ask as the agent that is enrolled in this folder")
    .action(async (options: GetOptions, command: Command) => {
      const { output, options: globals } = contextOf(command);
      const answer =
        options.dir === undefined ? await getWithSecret(options, globals) : await getAsAgent(options, options.dir);
      output.print(answer, () => answer.access_token);
    });

  noun
    .command("revoke")
    .description("revoke a token; the hash is what token inspect prints")
    .argument("<token-or-hash>", "base64url(CWT), JWT, or its hash in hex; - reads it from stdin")
    .action(async (argument: string, _options: object, command: Command) => {
      const text = await readToken(argument);
      const { tokenHashes } = await import("../shared/token.ts");
      // what is printed stays on screens and in logs: never the token
      const hash = /^01[0-9a-f]{64}$/i.test(text) ? text.toLowerCase() : tokenHashes(text)[0]!;
      const { revoke } = await import("./revoke.ts");
      await revoke(command, { tokens: [text] }, `token ${hash}`);
    });

  noun
    .command("inspect")
    .description("decode a token without asking anybody; says nothing about whether it is good")
    .argument("<token>", "base64url(CWT) or JWT; - reads it from stdin")
    .action(async (argument: string, _options: object, command: Command) => {
      const { output } = contextOf(command);
      const text = await readToken(argument);
      const { describeToken } = await import("./token-description.ts");
      const description = describeToken(text);
      output.print(description, () => {
        const { bytes, format, kid, claims, allows, confirmation, hashes } = description;
        return formatFacts({
          token: `${format.toUpperCase()}, ${bytes} bytes, signed with key ${kid ?? "-"}`,
          subject: claims.sub,
          issuer: claims.iss,
          audience: claims.aud,
          issued: formatTime(claims.iat),
          expires: formatTime(claims.exp),
          id: claims.cti ?? claims.jti ?? "",
          "bound to": confirmation === null ? "no key (bearer)" : `${confirmation.kind} ${confirmation.sha256}`,
          allows: formatList(allows, "nothing"),
          hash: formatList(hashes),
        });
      });
    });
}

async function readToken(argument: string): Promise<string> {
  if (argument !== "-") return argument;
  const { readStdin } = await import("./stdin.ts");
  return (await readStdin(16_384)).toString("utf8").trim();
}

async function getWithSecret(options: GetOptions, globals: GlobalOptions): Promise<TokenAnswer> {
  if (options.client === undefined) return failUsage("give --client with its secret, or --dir of an agent");
  const { project, name } = readClientArgument(options.client, options.project);
  const clientId = `${project}.${name}`;
  const secret = options.secret ?? process.env["POSTERN_CLIENT_SECRET"];
  if (secret === undefined) return failUsage("give --secret or POSTERN_CLIENT_SECRET");
  const audience = options.audience ?? (options.api === undefined ? undefined : `${project}.${options.api}`);
  const { url, ca } = await findAccess(globals);
  const response = await sendHttps({
    url: new URL("/token", url),
    method: "POST",
    headers: { "content-type": "application/json", accept: "application/json" },
    body: JSON.stringify({
      grant_type: "client_credentials",
      client_id: clientId,
      client_secret: secret,
      ...(audience !== undefined && { audience }),
      ...(options.scope !== undefined && { scope: await encodeWish(options.scope) }),
    }),
    ...(ca !== undefined && { ca }),
  });
  const answer = readAnswer(response) as Partial<TokenAnswer> | undefined;
  if (typeof answer?.access_token !== "string") return fail("the authority's answer holds no token");
  return answer as TokenAnswer;
}

async function getAsAgent(options: GetOptions, dir: string): Promise<TokenAnswer> {
  if (options.client !== undefined || options.secret !== undefined) failUsage("give --dir or --client, not both");
  const [{ openRefreshedAgent }, { parsePermission }] = await Promise.all([
    import("../agent/agent.ts"),
    import("../shared/scope.ts"),
  ]);
  const api = options.api ?? options.audience;
  const agent = await openRefreshedAgent({
    dir,
    ...(api !== undefined && { api }),
    ...(options.scope !== undefined && { scope: options.scope.map(parsePermission) }),
  });
  const { text, expiresInSeconds } = await agent.token();
  return { access_token: text, token_type: "pop", expires_in: expiresInSeconds };
}

/** Permissions become the text form of RFC 9431, section 2.3; anything else is scopes as they are. */
async function encodeWish(scopes: readonly string[]): Promise<string> {
  const { encodeScopeText, parsePermission } = await import("../shared/scope.ts");
  const permissions = scopes.filter((scope) => /^(pub|sub|pubsub):/.test(scope));
  if (permissions.length === 0) return scopes.join(" ");
  if (permissions.length < scopes.length) return failUsage("--scope is either permissions or plain scopes");
  return encodeScopeText(scopes.map(parsePermission));
}
