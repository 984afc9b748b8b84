/** The audit log on its way out: page by page into a file of its own, or to stdout. */
import { once } from "node:events";
import { createWriteStream, rmSync } from "node:fs";
import type { Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { formatRow, openChainCheck, type ChainCheck, type ChainFault, type ChainHead } from "../shared/audit-chain.ts";
import type { AdminClient } from "./admin-client.ts";
import { readServer } from "./audit-verify.ts";
import { CommandFailure, fail } from "./failure.ts";

/**
 * Writes all rows and gives the head. A log that is not whole is written as it is, and then refused as an export. Where not
 * all could be had or written no file is left: half of a log would pass for a whole one.
 */
export async function exportTo(file: string | undefined, admin: AdminClient): Promise<ChainHead> {
  const check = openChainCheck();
  try {
    const fault = await (file === undefined ? pour(admin, check, process.stdout) : writeFile(admin, check, file));
    return fault === undefined
      ? check.head
      : fail(`all of it was written, and row ${fault.seq} is wrong: ${fault.why}`);
  } catch (error) {
    const { code, syscall } = error as NodeJS.ErrnoException;
    if (file === undefined || syscall === undefined || code === undefined) throw error;
    return fail(code === "EEXIST" ? `${file} is there already` : `${file} cannot be written (${code})`);
  }
}

async function writeFile(admin: AdminClient, check: ChainCheck, file: string): Promise<ChainFault | undefined> {
  // names of clients and addresses are in it
  const out = createWriteStream(file, { flags: "wx", mode: 0o600 });
  await once(out, "open");
  const takeBack = (): void => rmSync(file, { force: true });
  const breakOff = (): void => {
    takeBack();
    process.exit(1);
  };
  process.once("SIGINT", breakOff).once("SIGTERM", breakOff);
  try {
    return await pour(admin, check, out);
  } catch (error) {
    takeBack();
    throw error;
  } finally {
    process.off("SIGINT", breakOff).off("SIGTERM", breakOff);
  }
}

/** All rows, and the first fault of their chain. */
async function pour(admin: AdminClient, check: ChainCheck, out: Writable): Promise<ChainFault | undefined> {
  let fault: ChainFault | undefined;
  async function* lines(): AsyncGenerator<string> {
    for await (const row of readServer(admin)) {
      if (row === undefined) throw new CommandFailure("the authority answers what is no row");
      fault ??= check.take(row);
      yield `${formatRow(row)}\n`;
    }
  }
  await pipeline(lines, out, { end: out !== process.stdout });
  return fault;
}
