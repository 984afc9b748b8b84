/** `postern cert authority-add` and its like: authorities elsewhere whose device certificates are accepted, and their lists. */
import { readFileSync, statSync } from "node:fs";
import type { Command } from "commander";
import { route } from "./admin-client.ts";
import { contextOf } from "./context.ts";
import { fail } from "./failure.ts";
import { formatTable, formatTime } from "./output.ts";

interface DeviceAuthority {
  readonly name: string;
  readonly subject: string;
  readonly needs_crl: boolean;
  readonly crl: { readonly entries: number; readonly next_update: number } | null;
}

/** As much as the authority takes, in base64 and with what stands around it. */
const maxFileBytes = 16_000_000;

/** Adds these commands to the noun. */
export function defineAuthorityCommands(noun: Command): void {
  noun
    .command("authority-add")
    .description("accept device certificates of another authority, which can then speak for every client")
    .argument("<name>", "what to call it here")
    .argument("<file>", "its certificate, PEM")
    .option("--needs-crl", "refuse its certificates without a list of revoked ones that is not too old")
    .action(async (name: string, file: string, options: { readonly needsCrl?: true }, command: Command) => {
      const { output, withAdmin } = contextOf(command);
      const body = { name, ca: readFile(file).toString("utf8"), needs_crl: options.needsCrl === true };
      const added = await withAdmin((admin) => admin.post<DeviceAuthority>(route`/v1/device-authorities`, body));
      output.print(added, () => `added authority ${added.name}: ${added.subject.replaceAll("\n", ", ")}`);
    });

  noun
    .command("authority-list")
    .description("list the other authorities, with the state of their lists of revoked certificates")
    .action(async (_options: object, command: Command) => {
      const { output, withAdmin } = contextOf(command);
      const authorities = await withAdmin((admin) => admin.list<DeviceAuthority>(route`/v1/device-authorities`));
      output.print(authorities, () =>
        formatTable(
          authorities,
          {
            authority: ({ name }) => name,
            subject: ({ subject }) => subject.replaceAll("\n", ", "),
            "needs list": ({ needs_crl }) => (needs_crl ? "yes" : "no"),
            revoked: ({ crl }) => String(crl?.entries ?? "-"),
            list: ({ crl }) => (crl === null ? "none" : describeEnd(crl.next_update)),
          },
          "no other authorities",
        ),
      );
    });

  noun
    .command("authority-remove")
    .description("accept no certificate of another authority any more, and drop its list")
    .argument("<name>")
    .action(async (name: string, _options: object, command: Command) => {
      const { output, withAdmin } = contextOf(command);
      await withAdmin((admin) => admin.delete(route`/v1/device-authorities/${name}`));
      output.print({ name }, () => `removed authority ${name}`);
    });

  noun
    .command("import-crl")
    .description("replace the list of revoked certificates of another authority by a newer one")
    .argument("<name>", "the authority")
    .argument("<file>", "the list, PEM or DER")
    .action(async (name: string, file: string, _options: object, command: Command) => {
      const { output, withAdmin } = contextOf(command);
      const bytes = readFile(file);
      const crl = bytes.includes("-----BEGIN ") ? bytes.toString("utf8") : bytes.toString("base64");
      const after = await withAdmin((admin) =>
        admin.put<DeviceAuthority>(route`/v1/device-authorities/${name}/crl`, { crl }),
      );
      output.print(after, () => {
        const { entries, next_update } = after.crl!;
        return `imported the list of ${name}: ${entries} revoked, ${describeEnd(next_update)}`;
      });
    });
}

function describeEnd(atSeconds: number): string {
  return `${atSeconds * 1000 > Date.now() ? "good until" : "too old since"} ${formatTime(atSeconds)}`;
}

function readFile(file: string): Buffer {
  let bytes: Buffer;
  try {
    if (statSync(file).size > maxFileBytes) fail(`${file} is longer than ${maxFileBytes} bytes`);
    bytes = readFileSync(file);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    return fail(`${file} cannot be read (${code})`);
  }
  return bytes;
}
