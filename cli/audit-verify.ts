/**
 * The rows of an audit log, from the authority page by page or from an export line by line, and the first that is wrong.
 *
 * A line counts only when it is to the byte what an export writes.
 */
import { isUtf8 } from "node:buffer";
import { createReadStream } from "node:fs";
import { parseRow, readRow, type ChainCheck, type ChainedRow, type ChainFault } from "../shared/audit-chain.ts";
import { readPage, route, type AdminClient } from "./admin-client.ts";
import { fail } from "./failure.ts";

const pageRows = "1000";
/** No row is as long. */
const longestLine = 4 * 1024 * 1024;

/** The first fault; rows that are none are undefined. */
export async function findFault(
  rows: AsyncIterable<ChainedRow | undefined>,
  check: ChainCheck,
): Promise<ChainFault | undefined> {
  for await (const row of rows) {
    if (row === undefined) return { seq: check.head.seq + 1, why: "it cannot be read" };
    const fault = check.take(row);
    if (fault !== undefined) return fault;
  }
  return check.end();
}

/** All rows that the authority has, oldest first. */
export async function* readServer(admin: AdminClient): AsyncGenerator<ChainedRow | undefined> {
  for (let after = "0"; ;) {
    const path = route`/v1/audit?limit=${pageRows}&after=${after}`;
    const { items, next } = readPage(await admin.get(path), after);
    for (const item of items) yield readRow(item);
    if (next === undefined) return;
    after = next;
  }
}

/** The rows of an export. */
export async function* readExport(file: string): AsyncGenerator<ChainedRow | undefined> {
  let rest: Buffer = Buffer.alloc(0);
  try {
    for await (const chunk of createReadStream(file) as AsyncIterable<Buffer>) {
      rest = Buffer.concat([rest, chunk]);
      let start = 0;
      for (let at = rest.indexOf(10); at >= 0; at = rest.indexOf(10, start)) {
        const line = rest.subarray(start, at);
        // bytes that are no text would be read as a character that may stand in a row
        yield isUtf8(line) ? parseRow(line.toString("utf8")) : undefined;
        start = at + 1;
      }
      rest = rest.subarray(start);
      if (rest.length > longestLine) break;
    }
  } catch (error) {
    fail(`${file} cannot be read (${(error as NodeJS.ErrnoException).code ?? "unknown error"})`);
  }
  // a line without its end, or without any
  if (rest.length > 0) yield undefined;
}
