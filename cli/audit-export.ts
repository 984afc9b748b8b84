/** The audit log on its way out: page by page into a file of its own, or to stdout. */
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { finished } from "node:stream/promises";
import type { Writable } from "node:stream";
import { formatRow, openChainCheck, type ChainHead } from "../shared/audit-chain.ts";
import type { AdminClient } from "./admin-client.ts";
import { readServer } from "./audit-verify.ts";
import { fail } from "./failure.ts";

/** Writes all rows and gives the head. A log that is not whole is written as it is, and then refused as an export. */
export async function exportTo(file: string | undefined, admin: AdminClient): Promise<ChainHead> {
  try {
    return await write(admin, file);
  } catch (error) {
    const { code, syscall } = error as NodeJS.ErrnoException;
    if (file === undefined || syscall === undefined || code === undefined) throw error;
    return fail(code === "EEXIST" ? `${file} is there already` : `${file} cannot be written (${code})`);
  }
}

async function write(admin: AdminClient, file: string | undefined): Promise<ChainHead> {
  // names of clients and addresses are in it
  const out: Writable = file === undefined ? process.stdout : createWriteStream(file, { flags: "wx", mode: 0o600 });
  if (file !== undefined) await once(out, "open");
  const check = openChainCheck();
  let wrong: string | undefined;
  for await (const row of readServer(admin)) {
    if (row === undefined) return fail("the authority answers what is no row");
    if (!out.write(`${formatRow(row)}\n`)) await once(out, "drain");
    if (wrong !== undefined) continue;
    const fault = check.take(row);
    if (fault !== undefined) wrong = `all of it was written, and row ${fault.seq} is wrong: ${fault.why}`;
  }
  if (file !== undefined) {
    out.end();
    await finished(out);
  }
  return wrong === undefined ? check.head : fail(wrong);
}
