/**
 * `postern doctor`: walks through what has to be there, in order, from the authority to a token and the broker, and names the
 * first that is missing with the command that mends it. Changes nothing.
 */
import type { Command } from "commander";
import { openAdminClient } from "./admin-client.ts";
import { contextOf, findAccess, readClientArgument, type FoundAccess, type GlobalOptions } from "./context.ts";
import { agentChecks, brokerCheck, readAgent } from "./doctor-agent.ts";
import { authorityChecks } from "./doctor-authority.ts";
import { missing, walk, type Found } from "./doctor-check.ts";
import { flowChecks, installationChecks, type Status, type Subject } from "./doctor-registry.ts";
import { CommandFailure, endWithNo, failUsage } from "./failure.ts";

interface Options {
  readonly project?: string;
  readonly api?: string;
  readonly client?: string;
  readonly dir?: string;
}

/** Adds the options and the action; this noun has no verbs. */
export function define(noun: Command): void {
  noun
    .option("--project <slug>", "what a client of this project needs")
    .option("--api <name>", "for this api; else for any of the project")
    .option("--client <client>", "this client, by id, or by name with --project")
    .option("--dir <dir>", "the agent in this folder, and not the installation")
    .action(async (options: Options, command: Command) => {
      const { output, options: access } = contextOf(command);
      if (options.dir !== undefined && (options.project ?? options.api ?? options.client) !== undefined) {
        failUsage("--dir is for the agent in a folder, the others for an installation");
      }
      const checks =
        options.dir === undefined
          ? await examine(access, readSubject(options))
          : await walk(agentChecks(readAgent(options.dir)));
      const isWell = checks.every(({ ok }) => ok !== false);
      output.print({ ok: isWell, checks }, () => format(checks, isWell));
      if (!isWell) endWithNo();
    });
}

async function examine(options: GlobalOptions, subject: Subject): Promise<Found[]> {
  const access = await findPlace(options);
  if ("why" in access) return walk([{ check: "authority", run: () => missing(access.why, "postern up") }]);
  const { url, key, ca } = access;
  const admin = openAdminClient({ url, ...(key !== undefined && { key }), ...(ca !== undefined && { ca }) });
  let status: Status;
  try {
    return await walk([
      ...authorityChecks({ url, ca }),
      ...installationChecks(admin, { key }, (learnt) => (status = learnt)),
      ...flowChecks(admin, subject, () => status),
      { check: "broker", run: () => brokerCheck(status.brokers.mqtts, ca) },
    ]);
  } finally {
    admin.close();
  }
}

/** Where the authority is, or why none is known. */
async function findPlace(options: GlobalOptions): Promise<FoundAccess | { readonly why: string }> {
  try {
    return await findAccess(options);
  } catch (error) {
    if (error instanceof CommandFailure && error.exitCode === 1) return { why: error.message };
    throw error;
  }
}

function readSubject({ project, api, client }: Options): Subject {
  if (client !== undefined) {
    const named = readClientArgument(client, project);
    return { project: named.project, api, client: named.name };
  }
  if (api !== undefined && project === undefined) failUsage("--api needs --project");
  return { project, api, client: undefined };
}

function format(checks: readonly Found[], isWell: boolean): string {
  const width = Math.max(...checks.map(({ check }) => check.length));
  const marks = new Map<boolean | null, string>([
    [true, "ok"],
    [false, "no"],
    [null, "- "],
  ]);
  const markOf = ({ ok, warns }: Found): string => (warns === true ? "!!" : marks.get(ok)!);
  const lines = checks.map((found) => `${markOf(found)}  ${found.check.padEnd(width)}  ${toWords(found)}`);
  const mend = checks.at(-1)?.mend;
  return [...lines, ...(isWell || mend === undefined ? [] : [`to mend it: ${mend}`])].join("\n");
}

/** A warning has the command that mends it beside it; what is missing has it at the end. */
function toWords({ says, warns, mend }: Found): string {
  return warns === true && mend !== undefined ? `${says}: ${mend}` : says;
}
