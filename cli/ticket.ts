/** `postern ticket`: one-string enrolment secrets. */
import type { Command } from "commander";
import { parseTicket, ticketId } from "../shared/ticket.ts";
import { route } from "./admin-client.ts";
import { contextOf, readClientArgument } from "./context.ts";
import { parseCount, parseDuration } from "./duration.ts";
import { failUsage } from "./failure.ts";
import { formatList, formatTable, formatTime } from "./output.ts";

interface NewTicket {
  readonly ticket: string;
  readonly secret: string;
  readonly authority: string;
  readonly pin: string;
  /** RFC 3339. */
  readonly expires: string;
}

interface Ticket {
  readonly id: string;
  readonly client: string | null;
  readonly uses: number;
  readonly used: number;
  readonly roles: readonly string[];
  readonly expires_at: number;
  readonly revoked: boolean;
}

interface CreateOptions {
  readonly project?: string;
  readonly client?: string;
  readonly uses?: number;
  readonly role?: string[];
  readonly ttl?: number;
}

/** Adds the commands of this noun. */
export function define(noun: Command): void {
  noun
    .command("create")
    .description("create a ticket for one client, or for several devices that get roles")
    .option("--project <slug>", "project; may be left out when --client is an id")
    .option("--client <client>", "the client that enrols with it")
    .option("--uses <n>", "how many devices may enrol with it", parseCount)
    .option("--role <roles...>", "roles each of them gets")
    .option("--ttl <duration>", "how long it can be used (default 24h)", parseDuration)
    .action(async (options: CreateOptions, command: Command) => {
      const { project, body } = readTicketWish(options);
      const { output, withAdmin } = contextOf(command);
      const created = await withAdmin((admin) => admin.post<NewTicket>(route`/v1/projects/${project}/tickets`, body));
      const { ticket, secret, authority, pin, expires } = created;
      output.print({ ticket, secret, authority, pin, expires }, () => ticket);
    });

  noun
    .command("list")
    .description("list the tickets of a project")
    .requiredOption("--project <slug>", "project")
    .action(async ({ project }: { project: string }, command: Command) => {
      const { output, withAdmin } = contextOf(command);
      const tickets = await withAdmin((admin) => admin.list<Ticket>(route`/v1/projects/${project}/tickets`));
      output.print(tickets, () =>
        formatTable(
          tickets,
          {
            ticket: ({ id }) => id,
            for: ({ client, roles }) => client ?? `roles ${formatList(roles)}`,
            used: ({ used, uses }) => `${used} of ${uses}`,
            expires: ({ expires_at }) => formatTime(expires_at),
            revoked: ({ revoked }) => (revoked ? "yes" : "no"),
          },
          "no tickets",
        ),
      );
    });

  noun
    .command("revoke")
    .description("end a ticket; devices that used it keep their certificates")
    .argument("<ticket>", "the ticket, or its id from ticket list")
    .requiredOption("--project <slug>", "project")
    .action(async (ticket: string, { project }: { project: string }, command: Command) => {
      const { output, withAdmin } = contextOf(command);
      const id = ticket.startsWith("pt1_") ? ticketId(parseTicket(ticket).secret) : ticket;
      const answer = await withAdmin((admin) => admin.delete<unknown>(route`/v1/projects/${project}/tickets/${id}`));
      output.print(answer ?? { id, revoked: true }, () => `revoked ticket ${id}`);
    });
}

function readTicketWish(options: CreateOptions): { project: string; body: object } {
  const { client, uses, role, ttl } = options;
  if (client !== undefined) {
    if (uses !== undefined || role !== undefined) failUsage("give --client, or --uses and --role, not both");
    const { project, name } = readClientArgument(client, options.project);
    return { project, body: { client: name, ttl_seconds: ttl } };
  }
  if (options.project === undefined) return failUsage("required option '--project <slug>' not specified");
  if (role === undefined) return failUsage("give --client, or --uses and --role");
  return { project: options.project, body: { uses: uses ?? 1, roles: role, ttl_seconds: ttl } };
}
