/**
 * Where passwords come from: from stdin, a line each, where --password-stdin says so; else from POSTERN_PASSWORD and
 * POSTERN_NEW_PASSWORD; else from whoever sits at the terminal, without being shown. Never from the command line, which
 * everybody on the machine can read.
 */
import type { Command } from "commander";
import { ask, askUnseen, isAtTerminal } from "./ask.ts";
import { fail, failUsage } from "./failure.ts";
import { readStdin } from "./stdin.ts";

/** The option of every command that takes a password. */
export interface PasswordOptions {
  readonly passwordStdin?: true;
}

/** The passwords that a command may ask for. */
export interface Passwords {
  /** The one that there is, or the one that the account is to have. */
  readonly password?: string;
  readonly newPassword?: string;
}

const sources = {
  password: { variable: "POSTERN_PASSWORD", question: "password" },
  newPassword: { variable: "POSTERN_NEW_PASSWORD", question: "new password" },
} as const;

/** Adds --password-stdin. */
export function withPasswordOption(command: Command, lines = "the password, a line"): Command {
  return command.option(
    "--password-stdin",
    `read from stdin: ${lines} (else POSTERN_PASSWORD, else it is asked for at the terminal)`,
  );
}

/**
 * The passwords that are wanted, in this order; one that is `chosen` now is asked for twice at a terminal. Fails with wrong
 * usage where there is nobody to ask.
 */
export async function readPasswords<Name extends keyof Passwords>(
  options: PasswordOptions,
  wanted: readonly Name[],
  chosen?: Name,
): Promise<Record<Name, string>> {
  const read = options.passwordStdin === true ? await readLines(wanted) : await readOneByOne(wanted, chosen);
  const missing = wanted.find((name) => read[name] === "");
  return missing === undefined ? read : fail(`the ${sources[missing].question} is empty`);
}

/** The address of an account: the argument, else what is typed. */
export async function readEmail(argument: string | undefined, known?: string): Promise<string> {
  const email = argument ?? known;
  if (email !== undefined) return email;
  if (!isAtTerminal()) return failUsage("missing required argument 'email'");
  const typed = (await ask("email: ")).trim();
  return typed === "" ? fail("the email is empty") : typed;
}

async function readLines<Name extends keyof Passwords>(wanted: readonly Name[]): Promise<Record<Name, string>> {
  const lines = (await readStdin(16_384)).toString("utf8").split("\n");
  return collect(
    wanted,
    wanted.map((_, at) => (lines[at] ?? "").replace(/\r$/, "")),
  );
}

async function readOneByOne<Name extends keyof Passwords>(
  wanted: readonly Name[],
  chosen: Name | undefined,
): Promise<Record<Name, string>> {
  const given = wanted.map((name) => process.env[sources[name].variable] ?? "");
  if (given.includes("") && !isAtTerminal()) {
    const variables = wanted.map((name) => sources[name].variable).join(" and ");
    failUsage(`give ${variables}, or --password-stdin`);
  }
  const read: string[] = [];
  for (const [at, name] of wanted.entries()) {
    read.push(given[at] === "" ? await askFor(sources[name].question, name === chosen) : given[at]!);
  }
  return collect(wanted, read);
}

async function askFor(question: string, isChosen: boolean): Promise<string> {
  const typed = await askUnseen(`${question}: `);
  if (isChosen && (await askUnseen(`${question} again: `)) !== typed) return fail("the two are not the same");
  return typed;
}

function collect<Name extends string>(names: readonly Name[], values: readonly string[]): Record<Name, string> {
  return Object.fromEntries(names.map((name, at) => [name, values[at]!])) as Record<Name, string>;
}
