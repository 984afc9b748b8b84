/** `postern invitation`: what was sent to addresses and is not accepted yet, and what `invite` says of a new one. */
import type { Command } from "commander";
import { route } from "./admin-client.ts";
import { contextOf } from "./context.ts";
import { orOfProject } from "./failure.ts";
import { formatTable, formatTime } from "./output.ts";

/** An invitation as `/v1` has it. */
export interface Invitation {
  readonly id: string;
  readonly email: string;
  /** Null, with the role: to register. */
  readonly project: string | null;
  readonly role: string | null;
  readonly status: string;
  readonly expires_at: number;
}

/** A new one; its secret is told to the holder of the admin key alone. */
export interface NewInvitation extends Invitation {
  readonly invitation?: string;
}

interface ProjectOption {
  readonly project?: string;
}

/** Adds the commands of this noun. */
export function define(noun: Command): void {
  noun
    .command("list")
    .description("list the invitations to a project, or (with the admin key) those to register")
    .option("--project <slug>", "project")
    .action(async ({ project }: ProjectOption, command: Command) => {
      const { output, withAdmin } = contextOf(command);
      const invitations = await orOfProject(project, () =>
        withAdmin((admin) => admin.list<Invitation>(pathOf(project))),
      );
      output.print(invitations, () =>
        formatTable(
          invitations,
          {
            invitation: ({ id }) => id,
            email: ({ email }) => email,
            for: ({ project: to, role }) => (to === null ? "registration" : `${role ?? ""} of ${to}`),
            status: ({ status }) => status,
            expires: ({ expires_at }) => formatTime(expires_at),
          },
          "no invitations",
        ),
      );
    });

  noun
    .command("revoke")
    .description("end an invitation")
    .argument("<id>", "its id from invitation list")
    .option("--project <slug>", "project, where it is to one")
    .action(async (id: string, { project }: ProjectOption, command: Command) => {
      const { output, withAdmin } = contextOf(command);
      await orOfProject(project, () => withAdmin((admin) => admin.delete(pathOf(project) + route`/${id}`)));
      output.print({ id, revoked: true }, () => `revoked invitation ${id}`);
    });
}

/** What a command that invites prints. */
export function sayInvitation({ id, email, expires_at, invitation }: NewInvitation, toWhat: string): string {
  const secret = invitation === undefined ? "" : `\ninvitation, shown only now: ${invitation}`;
  return `invited ${email} ${toWhat}, until ${formatTime(expires_at)}; invitation ${id}${secret}`;
}

function pathOf(project: string | undefined): string {
  return project === undefined ? route`/v1/invitations` : route`/v1/projects/${project}/invitations`;
}
