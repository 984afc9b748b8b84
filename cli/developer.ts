/**
 * `postern developer`: accounts of those who provide apis. Registering and resetting need no login: a code that was sent to
 * the address takes its place. Passwords are never arguments.
 */
import type { Command } from "commander";
import { route } from "./admin-client.ts";
import { contextOf } from "./context.ts";
import { failUsage } from "./failure.ts";
import { sayInvitation, type NewInvitation } from "./invitation.ts";
import { formatFacts, formatList, formatTable, formatTime } from "./output.ts";
import { readPasswords, withPasswordOption, type PasswordOptions } from "./password.ts";

interface Developer {
  readonly id: string;
  readonly email: string;
  readonly name: string;
  readonly created_at: number;
  readonly confirmed?: boolean;
}

/** The developer who asks. */
interface Me extends Developer {
  readonly projects: readonly { readonly project: string; readonly role: string }[];
}

interface RegisterOptions extends PasswordOptions {
  readonly invitation?: string;
  readonly name?: string;
}

interface ResetOptions extends PasswordOptions {
  readonly code?: string;
}

/** Adds the commands of this noun. */
export function define(noun: Command): void {
  defineOwn(noun);

  noun
    .command("invite")
    .description("invite somebody to register (with the admin key); the invitation goes to the address by mail")
    .argument("<email>", "address of the account to come")
    .action(async (email: string, _options: object, command: Command) => {
      const { output, withAdmin } = contextOf(command);
      const invited = await withAdmin((admin) => admin.post<NewInvitation>(route`/v1/invitations`, { email }));
      output.print(invited, () => sayInvitation(invited, "to register"));
    });

  noun
    .command("list")
    .description("list the developers (with the admin key)")
    .action(async (_options: object, command: Command) => {
      const { output, withAdmin } = contextOf(command);
      const developers = await withAdmin((admin) => admin.list<Developer>(route`/v1/developers`));
      output.print(developers, () =>
        formatTable(
          developers,
          {
            developer: ({ id }) => id,
            email: ({ email }) => email,
            name: ({ name }) => name,
            created: ({ created_at }) => formatTime(created_at),
            confirmed: ({ confirmed }) => (confirmed === true ? "yes" : "no"),
          },
          "no developers yet",
        ),
      );
    });

  withPasswordOption(noun.command("delete"))
    .description("delete your account, or (with the admin key) that of somebody else")
    .argument("[id]", "the other one's id, from developer list")
    .action(async (id: string | undefined, options: PasswordOptions, command: Command) => {
      const { output, withAdmin, withLogin } = contextOf(command);
      if (id !== undefined) {
        await withAdmin((admin) => admin.delete(route`/v1/developers/${id}`));
        return output.print({ id }, () => `deleted ${id}`);
      }
      const { forgetLogin } = await import("./login-store.ts");
      return withLogin(async (client, { url, email }) => {
        const { password } = await readPasswords(options, ["password"]);
        await client.post(route`/v1/me/delete`, { password });
        if (email !== undefined) forgetLogin(url);
        output.print({ deleted: true }, () => `deleted ${email ?? "your account"}`);
      });
    });
}

/** What developers do with their own accounts. */
function defineOwn(noun: Command): void {
  withPasswordOption(noun.command("register"))
    .description("register as a developer; a code is sent to the address, unless an invitation proves it")
    .argument("<email>", "your address")
    .option("--name <name>", "what you are called")
    .option("--invitation <invitation>", "the invitation that was sent to the address, pi1_…")
    .action(async (email: string, { name, invitation, ...options }: RegisterOptions, command: Command) => {
      const { output, withoutKey } = contextOf(command);
      await withoutKey(async (client) => {
        const { password } = await readPasswords(options, ["password"], "password");
        const body = { email, password, name, invitation };
        const answer = await client.post<Developer | { readonly status: string }>(route`/v1/developers`, body);
        output.print(answer, () =>
          "id" in answer
            ? `registered ${answer.email} as ${answer.id}; log in with postern login ${answer.email}`
            : `a code is on its way to ${email}, if it can be registered; go on with postern developer confirm ${email} CODE`,
        );
      });
    });

  withPasswordOption(noun.command("confirm"))
    .description("confirm your address with the code and the password that you registered with")
    .argument("<email>", "your address")
    .argument("<code>", "what was sent to it")
    .action(async (email: string, code: string, options: PasswordOptions, command: Command) => {
      const { output, withoutKey } = contextOf(command);
      await withoutKey(async (client) => {
        const { password } = await readPasswords(options, ["password"]);
        await client.post(route`/v1/developers/confirm`, { email, code, password });
        output.print({ email, confirmed: true }, () => `confirmed ${email}; log in with postern login ${email}`);
      });
    });

  noun
    .command("show")
    .description("show your account and your projects")
    .action(async (_options: object, command: Command) => {
      const { output, withLogin } = contextOf(command);
      const me = await withLogin((client) => client.get<Me>(route`/v1/me`));
      output.print(me, () =>
        formatFacts({
          developer: me.id,
          email: me.email,
          name: me.name === "" ? "-" : me.name,
          created: formatTime(me.created_at),
          projects: formatList(me.projects.map(({ project, role }) => `${project}:${role}`)),
        }),
      );
    });

  withPasswordOption(noun.command("password"), "the password and the new one, a line each")
    .description("change your password; your other logins end (POSTERN_PASSWORD, POSTERN_NEW_PASSWORD)")
    .action(async (options: PasswordOptions, command: Command) => {
      const { output, withLogin } = contextOf(command);
      await withLogin(async (client) => {
        const { password, newPassword } = await readPasswords(options, ["password", "newPassword"], "newPassword");
        await client.put(route`/v1/me/password`, { password, new_password: newPassword });
        output.print({ changed: true }, () => "changed the password; your other logins have ended");
      });
    });

  withPasswordOption(noun.command("reset"))
    .description("ask for a code to reset a forgotten password, and with --code reset it; all logins end")
    .argument("<email>", "your address")
    .option("--code <code>", "what was sent to it")
    .action(async (email: string, { code, ...options }: ResetOptions, command: Command) => {
      const { output, withoutKey } = contextOf(command);
      if (code === undefined) {
        if (options.passwordStdin === true) failUsage("--password-stdin goes with --code");
        const answer = await withoutKey((client) => client.post<object>(route`/v1/password-reset`, { email }));
        const next = `postern developer reset ${email} --code CODE`;
        return output.print(answer, () => `if ${email} has an account, a code is on its way; go on with ${next}`);
      }
      return withoutKey(async (client) => {
        const { password } = await readPasswords(options, ["password"], "password");
        await client.post(route`/v1/password-reset/confirm`, { email, code, password });
        output.print({ email, reset: true }, () => `the password of ${email} is the new one; its logins have ended`);
      });
    });
}
