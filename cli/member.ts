/** `postern member`: who may do what in a project. */
import { Option, type Command } from "commander";
import { route, type AdminClient } from "./admin-client.ts";
import { contextOf } from "./context.ts";
import { fail } from "./failure.ts";
import { sayInvitation, type NewInvitation } from "./invitation.ts";
import { formatTable } from "./output.ts";

interface Member {
  readonly id: string;
  readonly email: string;
  readonly name: string;
  readonly role: string;
}

interface ProjectOption {
  readonly project: string;
}

interface RoleOptions extends ProjectOption {
  readonly role: string;
}

/** Adds the commands of this noun. */
export function define(noun: Command): void {
  noun
    .command("list")
    .description("list the members of a project")
    .requiredOption("--project <slug>", "project")
    .action(async ({ project }: ProjectOption, command: Command) => {
      const { output, withAdmin } = contextOf(command);
      const members = await withAdmin((admin) => admin.list<Member>(route`/v1/projects/${project}/members`));
      output.print(members, () =>
        formatTable(
          members,
          {
            developer: ({ id }) => id,
            email: ({ email }) => email,
            name: ({ name }) => name,
            role: ({ role }) => role,
          },
          "no members",
        ),
      );
    });

  withRole(noun.command("invite").description("invite a developer to a project; the invitation goes by mail"))
    .argument("<email>", "address of the developer")
    .action(async (email: string, { project, role }: RoleOptions, command: Command) => {
      const { output, withAdmin } = contextOf(command);
      const path = route`/v1/projects/${project}/invitations`;
      const invited = await withAdmin((admin) => admin.post<NewInvitation>(path, { email, role }));
      output.print(invited, () => sayInvitation(invited, `to ${project} as ${role}`));
    });

  noun
    .command("accept")
    .description("accept an invitation to a project that was sent to your address")
    .argument("<invitation>", "pi1_…")
    .action(async (invitation: string, _options: object, command: Command) => {
      const { output, withLogin } = contextOf(command);
      const joined = await withLogin((client) =>
        client.post<{ project: string; role: string }>(route`/v1/invitations/accept`, { invitation }),
      );
      output.print(joined, () => `you are ${joined.role} of ${joined.project}`);
    });

  withRole(noun.command("set").description("change the role of a member"))
    .argument("<member>", "id or address, from member list")
    .action(async (member: string, { project, role }: RoleOptions, command: Command) => {
      const { output, withAdmin } = contextOf(command);
      const changed = await withAdmin(async (admin) => {
        const id = await findId(admin, project, member);
        return (
          (await admin.put<Member | undefined>(route`/v1/projects/${project}/members/${id}`, { role })) ?? { id, role }
        );
      });
      output.print(changed, () => `${member} is ${role} of ${project}`);
    });

  noun
    .command("remove")
    .description("remove a member, or yourself, from a project")
    .argument("<member>", "id or address, from member list")
    .requiredOption("--project <slug>", "project")
    .action(async (member: string, { project }: ProjectOption, command: Command) => {
      const { output, withAdmin } = contextOf(command);
      const id = await withAdmin(async (admin) => {
        const found = await findId(admin, project, member);
        await admin.delete(route`/v1/projects/${project}/members/${found}`);
        return found;
      });
      output.print({ id, project, removed: true }, () => `removed ${member} from ${project}`);
    });
}

function withRole(command: Command): Command {
  return command
    .requiredOption("--project <slug>", "project")
    .addOption(
      new Option(
        "--role <role>",
        "owner, admin (all but who the owners are), auditor (reads all), enroller (makes tickets)",
      )
        .choices(["owner", "admin", "auditor", "enroller"])
        .makeOptionMandatory(),
    );
}

/** The id of a member who may be named by their address. */
async function findId(admin: AdminClient, project: string, member: string): Promise<string> {
  if (!member.includes("@")) return member;
  const members = await admin.list<Member>(route`/v1/projects/${project}/members`);
  const found = members.find(({ email }) => email === member.toLowerCase());
  return found === undefined ? fail(`not found: no member ${member} in project ${project}`) : found.id;
}
