/** `postern audit`: what happened, as it is on record; taken elsewhere, and verified here or there. */
import { Option, type Command } from "commander";
import { parseJson } from "../agent/folder.ts";
import type { ChainHead } from "../shared/audit-chain.ts";
import { route, type AdminClient } from "./admin-client.ts";
import { contextOf, type Context } from "./context.ts";
import { endWithNo, failUsage, orOfProject } from "./failure.ts";
import { formatTable, formatTime } from "./output.ts";

/** A row as both lists have it. */
interface Row {
  readonly seq: number;
  readonly at: number;
  readonly event: string;
  readonly actor: string;
  readonly subject: string | null;
  readonly reason: string | null;
  readonly refusal_id: string | null;
  /** Text in the whole log, as the hash covers it. */
  readonly facts: object | string | null;
}

/** Beyond the last row. */
const end = "999999999999999";

/** Adds the commands of this noun. */
export function define(noun: Command): void {
  noun
    .command("list")
    .description("list what happened, newest first")
    .option("--project <slug>", "only what is about this project")
    .addOption(new Option("--limit <rows>", "how many").default("50"))
    .action(async (options: { readonly project?: string; readonly limit: string }, command: Command) => {
      const { output, withAdmin } = contextOf(command);
      const { project, limit } = options;
      if (!/^[1-9][0-9]{0,3}$/.test(limit)) failUsage("--limit is a number from 1 to 9999");
      const path = project === undefined ? route`/v1/audit` : route`/v1/projects/${project}/audit`;
      const found = await orOfProject(project, () => withAdmin((admin) => readNewest(admin, path, Number(limit))));
      const items = found.map(toReadable);
      output.print(items, () =>
        formatTable(
          items,
          {
            seq: ({ seq }) => String(seq),
            time: ({ at }) => formatTime(at),
            event: ({ event }) => event,
            actor: ({ actor }) => actor,
            subject: ({ subject }) => subject ?? "-",
            refused: ({ reason, refusal_id: id }) => (reason === null ? "-" : `${reason} (${id ?? "no id"})`),
          },
          "nothing happened yet",
        ),
      );
    });

  noun
    .command("export")
    .description("write the whole log, one JSON object a line, with its hashes; prints the head to be noted down")
    .argument("[file]", "a new file; without it the log goes to stdout")
    .action(async (file: string | undefined, _options: object, command: Command) => {
      const { output, withAdmin } = contextOf(command);
      const { exportTo } = await import("./audit-export.ts");
      const head = await withAdmin((admin) => exportTo(file, admin));
      if (file === undefined) return;
      output.print(
        { file, rows: head.seq, head: headText(head) },
        () => `wrote ${head.seq} rows to ${file}\n${says(head)}`,
      );
    });

  noun
    .command("verify")
    .description("verify the chain of hashes, at the authority or in an export; prints the head to be noted down")
    .argument("[file]", "what audit export wrote; without it the authority is asked")
    .option("--head <seq:hash>", "a head that was noted down before: shows also that the end was cut, or all made anew")
    .action(async (file: string | undefined, options: { readonly head?: string }, command: Command) => {
      const { openChainCheck, parseHead } = await import("../shared/audit-chain.ts");
      const noted = options.head === undefined ? undefined : parseHead(options.head);
      if (options.head !== undefined && noted === undefined)
        failUsage("--head is <seq>:<hash>, as audit verify prints it");
      const context = contextOf(command);
      const check = openChainCheck(noted);
      const { findFault } = await import("./audit-verify.ts");
      const fault = await withRows(context, file, (rows) => findFault(rows, check));
      if (fault === undefined) {
        const { head } = check;
        context.output.print(
          { ok: true, rows: head.seq, head: headText(head) },
          () => `the log is whole: ${head.seq} rows\n${says(head)}`,
        );
        return;
      }
      context.output.print({ ok: false, ...fault }, () => `row ${fault.seq} is wrong: ${fault.why}`);
      endWithNo();
    });
}

/** As many rows as are asked for, newest first: a page may hold fewer. */
async function readNewest(admin: AdminClient, path: string, limit: number): Promise<Row[]> {
  const { readPage } = await import("./admin-client.ts");
  const rows: Row[] = [];
  for (let before = end; ;) {
    const { items, next } = readPage(
      await admin.get(path + route`?limit=${String(limit - rows.length)}&before=${before}`),
      before,
    );
    for (const item of items) rows.push(item as Row);
    if (next === undefined || rows.length >= limit) return rows;
    before = next;
  }
}

/** The same whichever list it is from. Facts that are no JSON, which the verification finds, are shown as they are. */
function toReadable({ facts, ...row }: Row): Row {
  return { ...row, facts: typeof facts === "string" ? ((parseJson(facts) as object | undefined) ?? facts) : facts };
}

type Rows = AsyncIterable<import("../shared/audit-chain.ts").ChainedRow | undefined>;

async function withRows<Result>(
  { withAdmin }: Context,
  file: string | undefined,
  use: (rows: Rows) => Promise<Result>,
): Promise<Result> {
  const { readExport, readServer } = await import("./audit-verify.ts");
  return file === undefined ? withAdmin((admin: AdminClient) => use(readServer(admin))) : use(readExport(file));
}

function headText({ seq, hash }: ChainHead): string {
  return `${seq}:${hash}`;
}

function says(head: ChainHead): string {
  return `head ${headText(head)}`;
}
