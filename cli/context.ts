/**
 * What every command is given: its output and, when it asks, a client of the authority.
 *
 * Address, key and trust come from the flags, else from POSTERN_URL, POSTERN_KEY and POSTERN_CA, else from the data folder
 * (`--data`, POSTERN_DATA, ./postern-data). A data folder that is named wins over the environment.
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

/** What a command works with. */
export interface Context {
  readonly options: GlobalOptions;
  readonly output: Output;
  /** Runs with a client of the registry and closes it. */
  readonly withAdmin: <Result>(use: (admin: AdminClient) => Promise<Result>) => Promise<Result>;
}

/** Where an authority on this machine keeps its data unless told otherwise. */
export const defaultDataDir = "./postern-data";

/** The context of the command that runs. */
export function contextOf(command: Command): Context {
  const options = command.optsWithGlobals<GlobalOptions>();
  return {
    options,
    output: createOutput(options.json === true),
    async withAdmin(use) {
      const { openAdminClient } = await import("./admin-client.ts");
      const { url, key, ca } = await findAccess(options);
      const where = `no key for ${url}`;
      if (key === undefined) return fail(`${where}; give --key, POSTERN_KEY or --data`);
      const admin = openAdminClient({ url, key, ...(ca !== undefined && { ca }) });
      try {
        return await use(admin);
      } catch (error) {
        const isStranger =
          ca === undefined && error instanceof Error && error.message.includes("the expected authority");
        throw isStranger ? new CommandFailure(`${error.message}; name its CA with --ca or POSTERN_CA`) : error;
      } finally {
        admin.close();
      }
    },
  };
}

/** Where the authority is, with its key when one is known. */
export async function findAccess(
  options: GlobalOptions,
  environment: NodeJS.ProcessEnv = process.env,
): Promise<Omit<AdminAccess, "key"> & { readonly key?: string }> {
  const { readCaFor, readDataDir } = await import("./admin-client.ts");
  const named = options.data !== undefined;
  const env = named ? {} : environment;
  const url = options.url ?? env["POSTERN_URL"];
  const dir = options.data ?? environment["POSTERN_DATA"] ?? defaultDataDir;
  const files = url === undefined || named ? readDataDir(dir) : {};
  const found = url ?? files.url;
  if (found === undefined) return fail(`no authority in ${dir}; start one with postern up, or give --url or --data`);
  if (!URL.canParse(found) || new URL(found).protocol !== "https:")
    return failUsage(`${found} is not an https address`);
  const key = options.key ?? env["POSTERN_KEY"] ?? files.key;
  const caFile = options.ca ?? env["POSTERN_CA"];
  const ca = caFile === undefined ? (files.ca ?? readCaFor(dir, found)) : readCa(caFile);
  return { url: found, ...(key !== undefined && { key }), ...(ca !== undefined && { ca }) };
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
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    return fail(`${file} cannot be read (${(error as NodeJS.ErrnoException).code ?? "unknown error"})`);
  }
}
