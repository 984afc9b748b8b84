/**
 * `postern login`: logs a developer in and keeps the login, with the CA that the authority was reached with, for the commands
 * that follow. The token is in no output.
 */
import type { Command } from "commander";
import { route } from "./admin-client.ts";
import { contextOf } from "./context.ts";
import { formatTime } from "./output.ts";
import { readEmail, readPasswords, withPasswordOption, type PasswordOptions } from "./password.ts";

interface Login {
  readonly token: string;
  /** RFC 3339, and the same in seconds. */
  readonly expires: string;
  readonly expires_at: number;
  readonly developer: { readonly id: string; readonly email: string };
}

/** Adds the argument, the option and the action; this noun has no verbs. */
export function define(noun: Command): void {
  withPasswordOption(noun)
    .argument("[email]", "address of the account; asked for at the terminal, or that of the login before")
    .action(async (argument: string | undefined, options: PasswordOptions, command: Command) => {
      const { output, withoutKey } = contextOf(command);
      const { findLogin, storeLogin } = await import("./login-store.ts");
      await withoutKey(async (client, { url, ca }) => {
        const email = await readEmail(argument, findLogin(url)?.email);
        const { password } = await readPasswords(options, ["password"]);
        const answer = await client.post<Login>(route`/v1/login`, { email, password });
        const { token, expires, expires_at, developer } = answer;
        storeLogin(url, { token, email: developer.email, ...(ca !== undefined && { ca }) });
        const { origin } = new URL(url);
        output.print(
          { url: origin, developer, expires, expires_at },
          () => `logged in to ${origin} as ${developer.email} until ${formatTime(expires_at)}`,
        );
      });
    });
}
