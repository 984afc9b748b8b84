/**
 * `postern token verify`: asks the authority whether a token is good (RFC 7662), with the admin key, as a client about its own,
 * or as an api about those for its audience. Exit code 0 for one that is, 1 for one that is not.
 *
 * A secret is better given in POSTERN_CLIENT_SECRET or POSTERN_API_SECRET than on the command line, where others may see it.
 */
import type { Command } from "commander";
import { sendHttps } from "../agent/request.ts";
import type { Confirmation } from "../shared/claims.ts";
import type { ActiveToken } from "../shared/introspection.ts";
import { readAnswer } from "./admin-client.ts";
import { contextOf, findAccess, readClientArgument, readVariable, type GlobalOptions } from "./context.ts";
import { endWithNo, fail, failUsage } from "./failure.ts";
import { formatFacts, formatList, formatTime } from "./output.ts";

interface VerifyOptions {
  readonly client?: string;
  readonly api?: string;
  readonly project?: string;
  readonly secret?: string;
  readonly keyFile?: string;
}

/** Who asks, and the parameters by which they prove it once the authority is known. */
interface Credential {
  readonly id: string;
  readonly prove: (issuer: string) => Promise<Record<string, string>>;
}

/** Adds `verify` to the noun. */
export function defineVerify(noun: Command, readToken: (argument: string) => Promise<string>): void {
  noun
    .command("verify")
    .description("ask the authority whether a token is good; exit code 1 when it is not")
    .argument("<token>", "base64url(CWT) or JWT; - reads it from stdin")
    .option("--client <client>", "ask as this client, about a token of its own: its id, or its name with --project")
    .option("--api <name>", "ask as this api of --project, about a token for it")
    .option("--project <slug>", "project of --client or --api")
    .option("--secret <secret>", "the secret of either (POSTERN_CLIENT_SECRET, POSTERN_API_SECRET)")
    .option("--key-file <file>", "the private key of either, PEM or JWK, instead of a secret")
    .action(async (argument: string, options: VerifyOptions, command: Command) => {
      const { output, options: globals } = contextOf(command);
      const credential = readCredential(options);
      const token = await readToken(argument);
      const answer = await ask(token, credential, globals);
      const { readIntrospectionJson } = await import("../shared/introspection.ts");
      const found = readIntrospectionJson(answer);
      const facts = found.active ? await describe(found) : undefined;
      output.print(answer, () => (facts === undefined ? "inactive" : formatFacts({ token: "active", ...facts })));
      if (!found.active) endWithNo();
    });
}

/** Who asks; nothing for the administrator. */
function readCredential({ client, api, project, secret, keyFile }: VerifyOptions): Credential | undefined {
  if (client === undefined && api === undefined) {
    if (secret !== undefined) failUsage("--secret is that of a --client or an --api");
    return keyFile === undefined ? undefined : failUsage("--key-file is that of a --client or an --api");
  }
  if (client !== undefined && api !== undefined) failUsage("give --client or --api, not both");
  const id = nameAsker(client, api, project);
  if (keyFile !== undefined) {
    if (secret !== undefined) failUsage("give --secret or --key-file, not both");
    return { id, prove: (issuer) => sign(id, issuer, keyFile) };
  }
  const variable = client === undefined ? "POSTERN_API_SECRET" : "POSTERN_CLIENT_SECRET";
  const given = secret ?? readVariable(variable) ?? failUsage(`give --secret or ${variable}, or --key-file`);
  return { id, prove: async () => ({ client_secret: given }) };
}

async function sign(clientId: string, issuer: string, keyFile: string): Promise<Record<string, string>> {
  const [{ readSigner }, { toAssertion }] = await Promise.all([import("./private-key.ts"), import("./ask-token.ts")]);
  const nowSeconds = Math.floor(Date.now() / 1000);
  return toAssertion({ clientId, issuer, nowSeconds }, readSigner(keyFile).signer);
}

function nameAsker(client: string | undefined, api: string | undefined, project: string | undefined): string {
  if (client !== undefined) {
    const asker = readClientArgument(client, project);
    return `${asker.project}.${asker.name}`;
  }
  return project === undefined ? failUsage(`${api} is a name; give --project`) : `${project}/${api}`;
}

async function ask(token: string, credential: Credential | undefined, globals: GlobalOptions): Promise<unknown> {
  const { url, issuer, ca, key } = await findAccess(globals, process.env, credential === undefined ? "any" : "none");
  if (credential === undefined && key === undefined) {
    return fail(`no key for ${url}; give --key, POSTERN_KEY or --data, or --client or --api with a secret`);
  }
  if (credential === undefined && /^(?:ps1|pk1)_/.test(key!)) {
    return failUsage("as a developer give --client or --api with a secret or key");
  }
  const proof = credential && { client_id: credential.id, ...(await credential.prove(issuer)) };
  const response = await sendHttps({
    url: new URL("/introspect", url),
    method: "POST",
    headers: {
      "content-type": "application/json",
      accept: "application/json",
      ...(proof === undefined && { authorization: `Bearer ${key}` }),
    },
    body: JSON.stringify({ token, ...proof }),
    ...(ca !== undefined && { ca }),
  });
  return readAnswer(response);
}

async function describe({ claims, tokenType, time }: ActiveToken): Promise<Record<string, string>> {
  const [{ toBase64url }, { formatPermission }] = await Promise.all([
    import("../shared/base64url.ts"),
    import("../shared/scope.ts"),
  ]);
  const { scope = "" } = claims;
  const allows = typeof scope === "string" ? scope.split(" ") : scope.map(formatPermission);
  return {
    subject: claims.sub,
    issuer: claims.iss,
    audience: claims.aud,
    issued: formatTime(claims.iat),
    expires: `${formatTime(claims.exp)}, in ${claims.exp - time} s`,
    id: toBase64url(claims.id),
    type: tokenType,
    "bound to": describeConfirmation(claims.cnf),
    "allows now": formatList(allows, "nothing"),
  };
}

function describeConfirmation(cnf: Confirmation | undefined): string {
  if (cnf === undefined) return "no key (bearer)";
  if (cnf.kind === "thumbprint") return `the key of DPoP proofs ${cnf.jkt}`;
  return cnf.kind === "key" ? `key ${cnf.key.thumbprint}` : `certificate ${Buffer.from(cnf.sha256).toString("hex")}`;
}
