/** `postern ticket`: one-string enrolment secrets. */
import type { Command } from "commander";
import { parseTicket, ticketId } from "../shared/ticket.ts";
import { route } from "./admin-client.ts";
import { contextOf, readClientArgument } from "./context.ts";
import { collect, parseCount, parseDuration, parseHost } from "./duration.ts";
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

interface BrokerTicket {
  readonly id: string;
  readonly broker: string;
  readonly redeemed: boolean;
  readonly expires_at: number;
  readonly revoked: boolean;
}

/** Whose tickets are meant. */
interface HolderOptions {
  readonly project?: string;
  readonly broker?: string;
}

interface CreateOptions extends HolderOptions {
  readonly client?: string;
  readonly host?: string[];
  readonly uses?: number;
  readonly role?: string[];
  readonly ttl?: number;
}

/** Adds the commands of this noun. */
export function define(noun: Command): void {
  noun
    .command("create")
    .description("create a ticket for one client, for several devices that get roles, or for a broker elsewhere")
    .option("--project <slug>", "project; may be left out when --client is an id")
    .option("--client <client>", "the client that enrols with it")
    .option("--uses <n>", "how many devices may enrol with it", parseCount)
    .option("--role <roles...>", "roles each of them gets")
    .option("--broker <name>", "the broker elsewhere that enrols with it, made if it is new")
    .option(
      "--host <host>",
      "a name or address by which clients reach the broker; may be repeated; of one that is there already these replace all",
      (host: string, before?: string[]) => collect(parseHost(host), before),
    )
    .option("--ttl <duration>", "how long it can be used (default 24h)", parseDuration)
    .action(async (options: CreateOptions, command: Command) => {
      const { path, body } = readTicketWish(options);
      const { output, withAdmin } = contextOf(command);
      const created = await withAdmin((admin) => admin.post<NewTicket>(path, body));
      const { ticket, secret, authority, pin, expires } = created;
      output.print({ ticket, secret, authority, pin, expires }, () => ticket);
    });

  noun
    .command("list")
    .description("list the tickets of a project, or of a broker")
    .option("--project <slug>", "project")
    .option("--broker <name>", "broker")
    .action(async (holder: HolderOptions, command: Command) => {
      const { output, withAdmin } = contextOf(command);
      const path = ticketsOf(holder);
      if (holder.broker !== undefined) {
        const tickets = await withAdmin((admin) => admin.list<BrokerTicket>(path));
        return output.print(tickets, () => formatBrokerTickets(tickets));
      }
      const tickets = await withAdmin((admin) => admin.list<Ticket>(path));
      return output.print(tickets, () =>
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
    .description("end a ticket; who used it keeps the certificate")
    .argument("<ticket>", "the ticket, or its id from ticket list")
    .option("--project <slug>", "project")
    .option("--broker <name>", "broker")
    .action(async (ticket: string, holder: HolderOptions, command: Command) => {
      const { output, withAdmin } = contextOf(command);
      const id = ticket.startsWith("pt1_") ? ticketId(parseTicket(ticket).secret) : ticket;
      const answer = await withAdmin((admin) => admin.delete<unknown>(ticketsOf(holder) + route`/${id}`));
      output.print(answer ?? { id, revoked: true }, () => `revoked ticket ${id}`);
    });
}

function formatBrokerTickets(tickets: readonly BrokerTicket[]): string {
  return formatTable(
    tickets,
    {
      ticket: ({ id }) => id,
      for: ({ broker }) => `broker ${broker}`,
      used: ({ redeemed }) => (redeemed ? "yes" : "no"),
      expires: ({ expires_at }) => formatTime(expires_at),
      revoked: ({ revoked }) => (revoked ? "yes" : "no"),
    },
    "no tickets",
  );
}

/** The path of the tickets of a project or of a broker. */
function ticketsOf({ project, broker }: HolderOptions): string {
  if (project !== undefined && broker !== undefined) return failUsage("give --project or --broker, not both");
  if (broker !== undefined) return route`/v1/brokers/${broker}/tickets`;
  return project === undefined ? failUsage("give --project or --broker") : route`/v1/projects/${project}/tickets`;
}

function readTicketWish(options: CreateOptions): { path: string; body: object } {
  const { client, uses, role, ttl, broker, host } = options;
  if (broker !== undefined) {
    const others = [client, uses, role, options.project];
    if (others.some((other) => other !== undefined))
      failUsage("a broker is of no project and has no roles: give --broker alone");
    return { path: ticketsOf({ broker }), body: { hosts: host, ttl_seconds: ttl } };
  }
  if (host !== undefined) failUsage("--host is for --broker");
  if (client !== undefined) {
    if (uses !== undefined || role !== undefined) failUsage("give --client, or --uses and --role, not both");
    const { project, name } = readClientArgument(client, options.project);
    return { path: ticketsOf({ project }), body: { client: name, ttl_seconds: ttl } };
  }
  if (options.project === undefined) return failUsage("required option '--project <slug>' not specified");
  if (role === undefined) return failUsage("give --client, or --uses and --role");
  return { path: ticketsOf(options), body: { uses: uses ?? 1, roles: role, ttl_seconds: ttl } };
}
