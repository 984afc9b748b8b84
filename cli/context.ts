/**
 * What every command is given: its output and, when it asks, a client of the authority.
 *
 * Address, key and trust come from the flags, else from POSTERN_URL, POSTERN_KEY and POSTERN_CA, else from the data folder
 * (`--data`, POSTERN_DATA, ./postern-data), else from `postern login`: the login at that address, or, where nothing names
 * one, the last. A data folder that is named wins over the environment, and a variable that is empty counts as none. A key is
 * sent only where it is from, or where the caller said.
 */
import { readFileSync } from "node:fs";
import type { Command } from "commander";
import { CommandFailure, fail, failUsage } from "./failure.ts";
import type { AdminAccess, AdminClient } from "./admin-client.ts";
import { createOutput, type Output } from "./output.ts";

/** The options that every command takes. */
export interface GlobalOptions {
  readonly json?: boolean;
  readonly url?: string;
  readonly key?: string;
  readonly ca?: string;
  readonly data?: string;
}

/** Uses a client of the registry. */
export type UseClient<Result> = (client: AdminClient, access: FoundAccess) => Promise<Result>;

/** What a command works with. The clients are closed after use. */
export interface Context {
  readonly options: GlobalOptions;
  readonly output: Output;
  /** Runs with whatever key is found: the admin key, an API key, or a login. */
  readonly withAdmin: <Result>(use: UseClient<Result>) => Promise<Result>;
  /** Runs as a developer: with a key that was given, else with a login, and not with the key of a data folder. */
  readonly withLogin: <Result>(use: UseClient<Result>) => Promise<Result>;
  /** Runs without a key, as anybody. */
  readonly withoutKey: <Result>(use: UseClient<Result>) => Promise<Result>;
}

/** Which key is wanted: any, that of a developer, or none. */
export type WantedKey = "any" | "developer" | "none";

/** Where the authority is and how to be let in. */
export interface FoundAccess extends AdminAccess {
  /** The name in its tokens: that of the data folder, else the address. */
  readonly issuer: string;
  /** Whose login the key is, where it is one that is stored. */
  readonly email?: string;
}

/** Where an authority on this machine keeps its data unless told otherwise. */
export const defaultDataDir = "./postern-data";

/** The context of the command that runs. */
export function contextOf(command: Command): Context {
  const options = command.optsWithGlobals<GlobalOptions>();
  return {
    options,
    output: createOutput(options.json === true),
    withAdmin: (use) => withClient(options, "any", use),
    withLogin: (use) => withClient(options, "developer", use),
    withoutKey: (use) => withClient(options, "none", use),
  };
}

async function withClient<Result>(options: GlobalOptions, wanted: WantedKey, use: UseClient<Result>): Promise<Result> {
  const { AdminFailure, openAdminClient } = await import("./admin-client.ts");
  const access = await findAccess(options, process.env, wanted);
  const { url, key, ca, email } = access;
  if (key === undefined && wanted === "any") {
    return fail(`no key for ${url}; give --key, POSTERN_KEY or --data, or log in with postern login`);
  }
  if (key === undefined && wanted === "developer") return fail(`not logged in at ${url}; log in with postern login`);
  const client = openAdminClient({ url, ...(key !== undefined && { key }), ...(ca !== undefined && { ca }) });
  try {
    return await use(client, access);
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    if (ca === undefined && error.message.includes("the expected authority")) {
      throw new CommandFailure(`${error.message}; name its CA with --ca or POSTERN_CA`);
    }
    // a password that is wrong is another 401
    const isKeyRefused = error instanceof AdminFailure && error.status === 401 && error.message.includes("the key");
    if (email !== undefined && isKeyRefused) {
      throw new CommandFailure(`${error.message}; the login of ${email} is over, log in again with postern login`);
    }
    throw error;
  } finally {
    client.close();
  }
}

/** Where the authority is, with its key when one is known and wanted. */
export async function findAccess(
  options: GlobalOptions,
  environment: NodeJS.ProcessEnv = process.env,
  wanted: WantedKey = "any",
): Promise<FoundAccess> {
  const { readAdminKey, readCaFor, readPlace } = await import("./admin-client.ts");
  const { findCa, findLastLogin, findLogin } = await import("./login-store.ts");
  const named = options.data !== undefined;
  const read = (name: string): string | undefined => (named ? undefined : readVariable(name, environment));
  const url = options.url ?? read("POSTERN_URL");
  const given = wanted === "none" ? undefined : (options.key ?? read("POSTERN_KEY"));
  const dir = options.data ?? read("POSTERN_DATA") ?? defaultDataDir;
  const files = url === undefined || named ? readPlace(dir) : {};
  // a key that was given is for an authority that was named
  const isOpen = given === undefined && !named && read("POSTERN_DATA") === undefined;
  const found = url ?? files.url ?? (isOpen ? findLastLogin(environment)?.url : undefined);
  if (found === undefined)
    return fail(`no authority in ${dir}; start one with postern up, log in to one, or give --url or --data`);
  assertAddress(found);

  const caFile = options.ca ?? read("POSTERN_CA");
  const ca = caFile === undefined ? (files.ca ?? readCaFor(dir, found) ?? findCa(found, environment)) : readCa(caFile);
  // TLS would go back to what the system trusts
  if (ca?.trim() === "") return fail(`the CA of ${found} that is kept here is empty`);
  const issuer = files.issuer ?? found.replace(/\/+$/, "");
  const place = { url: found, issuer, ...(ca !== undefined && { ca }) };
  if (wanted === "none") return place;
  if (given !== undefined)
    return isKey(given) ? { ...place, key: given } : failUsage("the key has what no key has in it");
  const isOfFolder = named || (url === undefined && files.url !== undefined);
  const key = isOfFolder && wanted === "any" ? readAdminKey(dir) : undefined;
  if (typeof key === "string")
    return isKey(key) ? { ...place, key } : fail(`${dir} holds no admin key that can be one`);
  const login = findLogin(found, environment);
  // a key that others may read and we may not is missing only where there is no login
  if (login === undefined && key instanceof Error) throw key;
  return login === undefined ? place : { ...place, key: login.token, email: login.email };
}

/** What a variable of the environment says; nothing where it is empty. */
export function readVariable(name: string, environment: NodeJS.ProcessEnv = process.env): string | undefined {
  const value = environment[name];
  return value === "" ? undefined : value;
}

/** Fails for what is no address of an authority. A password in it is not said again. */
function assertAddress(text: string): void {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url !== undefined && url.username + url.password !== "")
    failUsage("an address has no user and no password in it");
  if (url?.protocol !== "https:") failUsage(`${text} is not an https address`);
}

/** Whether it can stand in a header. */
function isKey(text: string): boolean {
  return /^[!-~]+$/.test(text);
}

/** The project and name of a client given as id, or as name with `--project`. */
export function readClientArgument(client: string, project: string | undefined): { project: string; name: string } {
  const dot = client.indexOf(".");
  if (dot < 0) {
    return project === undefined
      ? failUsage(`${client} is a name; give --project or the id`)
      : { project, name: client };
  }
  const parts = { project: client.slice(0, dot), name: client.slice(dot + 1) };
  if (project !== undefined && project !== parts.project) return failUsage(`${client} is not in project ${project}`);
  return parts;
}

function readCa(file: string): string {
  const text = readFile(file);
  return text.includes("-----BEGIN CERTIFICATE-----") ? text : fail(`${file} holds no certificate in PEM`);
}

function readFile(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    return fail(`${file} cannot be read (${(error as NodeJS.ErrnoException).code ?? "unknown error"})`);
  }
}
