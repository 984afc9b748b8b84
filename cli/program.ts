/**
 * The command tree. Each noun is a file of its own, loaded only when its name is among the arguments, so that a device
 * that starts `postern agent run` does not pay for the rest.
 *
 * Ends with an exit code: 0 done, 1 refused or failed, 2 wrong usage. Errors are one line on stderr, never a stack
 * (POSTERN_DEBUG=1 adds it for a fault of ours).
 */
import { Command, CommanderError } from "commander";
import { printable } from "../agent/failure.ts";
import { readVersion } from "../broker/version.ts";
import { Refusal } from "../shared/refusal.ts";
import { CommandFailure } from "./failure.ts";

interface Noun {
  readonly summary: string;
  readonly load: () => Promise<{ define(noun: Command): void }>;
}

const nouns: Readonly<Record<string, Noun>> = {
  up: { summary: "run authority and broker in this process", load: () => import("./up.ts") },
  broker: { summary: "run a broker elsewhere; list and delete such brokers", load: () => import("./broker.ts") },
  login: { summary: "log in as a developer", load: () => import("./login.ts") },
  logout: { summary: "end that login", load: () => import("./logout.ts") },
  developer: { summary: "register, confirm, invite, list and delete developers", load: () => import("./developer.ts") },
  apikey: { summary: "create, list and revoke your API keys", load: () => import("./apikey.ts") },
  member: { summary: "list, invite, change and remove the members of a project", load: () => import("./member.ts") },
  invitation: { summary: "list and revoke invitations", load: () => import("./invitation.ts") },
  project: { summary: "create and list projects, revoke their tokens", load: () => import("./project.ts") },
  api: { summary: "create and list the apis of a project, and set their keys", load: () => import("./api.ts") },
  role: { summary: "create and change the roles of a project", load: () => import("./role.ts") },
  client: {
    summary: "create, show, disable and delete clients, and set their keys",
    load: () => import("./client.ts"),
  },
  secret: { summary: "create, list and retire the secrets of clients and apis", load: () => import("./secret.ts") },
  ticket: { summary: "create, list and revoke enrolment tickets", load: () => import("./ticket.ts") },
  token: { summary: "get, verify, inspect and revoke tokens", load: () => import("./token.ts") },
  cert: { summary: "list and revoke certificates", load: () => import("./cert.ts") },
  key: { summary: "list and revoke signing keys", load: () => import("./key.ts") },
  audit: { summary: "list, export and verify what happened", load: () => import("./audit.ts") },
  explain: { summary: "say what a refusal meant, and what would change it", load: () => import("./explain.ts") },
  doctor: { summary: "find the first thing that is missing", load: () => import("./doctor.ts") },
  agent: { summary: "enrol and run this device", load: () => import("./agent.ts") },
};

/** Runs one command line; resolves with the exit code. */
export async function runProgram(args: readonly string[]): Promise<number> {
  if (args[0] === "--version" || args[0] === "-V") {
    process.stdout.write(`${readVersion()}\n`);
    return 0;
  }
  const program = await buildProgram(args);
  let running: Command = program;
  program.hook("preAction", (_program, command) => {
    running = command;
  });
  try {
    await program.parseAsync(withoutVainHelp(args), { from: "user" });
    return 0;
  } catch (error) {
    return report(error, pathOf(running));
  }
}

/** The tree with the nouns that the arguments name loaded, and the others by name only. */
async function buildProgram(args: readonly string[]): Promise<Command> {
  const program: Command = new Command("postern")
    .description("Identity, compact tokens and authorization for devices that speak MQTT.")
    .option("--json", "print JSON")
    .option("--data <dir>", "data folder of an authority on this machine (default ./postern-data)")
    .option("--url <url>", "address of the authority (POSTERN_URL)")
    .option("--key <key>", "admin key or API key (POSTERN_KEY; else that of the data folder, else postern login)")
    .option("--ca <file>", "trust this CA for --url, PEM (POSTERN_CA)")
    .configureHelp({
      showGlobalOptions: true,
      sortSubcommands: false,
      // those of a noun that has verbs are its own
      visibleGlobalOptions: (command) => (command === program ? [] : [...program.options]),
    })
    .exitOverride();
  for (const [name, { summary, load }] of Object.entries(nouns)) {
    const noun = program.command(name).description(summary);
    if (args.includes(name)) (await load()).define(noun);
  }
  speakInOneLine(program);
  return program;
}

/** Help for a command that there is not is an error, not the help of something else. */
function withoutVainHelp(args: readonly string[]): string[] {
  const valued = new Set(["--data", "--url", "--key", "--ca"]);
  const noun = args.find((word, index) => !word.startsWith("-") && !valued.has(args[index - 1] ?? ""));
  const isKnown = noun === undefined || noun === "help" || Object.hasOwn(nouns, noun);
  return isKnown ? [...args] : args.filter((word) => word !== "--help" && word !== "-h");
}

function speakInOneLine(command: Command): void {
  command.configureOutput({
    outputError: (text, write) => {
      const why = text
        .replace(/^error: /, "")
        .trim()
        .replace(/\s*\n\s*/g, " ");
      write(`postern: ${pathOf(command)}: ${printable(why, 500)}\n`);
    },
  });
  for (const child of command.commands) speakInOneLine(child);
}

/** The words that call a command, without `postern`; `usage` for the program itself. */
function pathOf(command: Command): string {
  const words: string[] = [];
  for (let at: Command | null = command; at?.parent != null; at = at.parent) words.unshift(at.name());
  return words.length === 0 ? "usage" : words.join(" ");
}

function report(error: unknown, what: string): number {
  if (error instanceof CommanderError) {
    // commander has printed its line, or the help that was asked for
    return error.exitCode === 0 ? 0 : 2;
  }
  if (error instanceof CommandFailure && error.message === "") return error.exitCode;
  process.stderr.write(`postern: ${what}: ${printable(explain(error), 500)}\n`);
  if (process.env["POSTERN_DEBUG"] === "1" && error instanceof Error) process.stderr.write(`${error.stack ?? ""}\n`);
  return error instanceof CommandFailure ? error.exitCode : 1;
}

/** One line for any error; the ones of other rooms are known by name, so that those rooms need not be loaded. */
function explain(error: unknown): string {
  if (!(error instanceof Error)) return "internal error";
  // what is said of a name, a field or a folder says it all
  if (error instanceof Refusal && error.detail !== "" && error.reason.startsWith("registry.")) return error.detail;
  if (error instanceof Refusal) return error.detail === "" ? error.reason : `${error.detail} (${error.reason})`;
  const { code, syscall } = error as NodeJS.ErrnoException;
  const line = error.message.split("\n", 1)[0]!;
  const isExpected = error instanceof CommandFailure || error.name === "AgentFailure" || error.name === "AdminFailure";
  if (isExpected) return line;
  if (syscall !== undefined && code !== undefined) return systemReasons[code]?.(error) ?? line;
  return `internal error: ${line}`;
}

const systemReasons: Readonly<Record<string, (error: NodeJS.ErrnoException & { port?: number }) => string>> = {
  EADDRINUSE: ({ port }) => `port ${port ?? "asked for"} is in use`,
  EACCES: ({ path, port }) => `not permitted: ${path ?? `port ${port ?? "asked for"}`}`,
  EROFS: ({ path }) => `${path ?? "the folder"} is read-only`,
  ENOSPC: () => "the disk is full",
};
