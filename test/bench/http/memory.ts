/**
 * What stays in our process of the tokens that it issues: resident memory and heap before and after, garbage collected.
 */
import { startChild } from "../child.ts";
import { CONNECTIONS, enterServer } from "../entrant.ts";
import type { HttpConnection } from "../http-load.ts";
import type { Installation } from "../installation.ts";
import { printHeading, printNote, printTable } from "../table.ts";
import { askBySecret, target } from "./requests.ts";

/** How many tokens. */
export interface MemoryPlan {
  readonly warmUp: number;
  readonly tokens: number;
}

const mebibyte = 1024 * 1024;

export async function benchHttpMemory(installation: Installation, plan: MemoryPlan): Promise<void> {
  const server = await startChild("postern", installation.dataDir, { canCollect: true });
  const open: HttpConnection[] = [];
  const request = askBySecret("/token", installation.provider, target.ours);
  const load = await enterServer("postern", server, () => request, { installation, open });
  const issue = async (count: number): Promise<void> => {
    await load.prepare!(count);
    await load.run(count);
  };
  await issue(plan.warmUp);
  const before = await server.memory();
  await issue(plan.tokens);
  const after = await server.memory();
  for (const connection of open) connection.close();
  await server.stop();

  printHeading("HTTP: memory after many tokens");
  printNote(
    `${plan.tokens} tokens of an hour, by client_secret_basic on ${CONNECTIONS} connections, after ${plan.warmUp} to warm ` +
      "up; all of them are on record and good at the end. MiB, garbage collected three times before each look.",
  );
  const toRow = (what: string, first: number, last: number): string[] => [
    what,
    ...[first, last, last - first].map((bytes) => (bytes / mebibyte).toFixed(1)),
  ];
  printTable([
    ["memory", "before", "after", "more"],
    toRow("resident", before.residentBytes, after.residentBytes),
    toRow("heap in use", before.heapBytes, after.heapBytes),
    toRow("outside the heap", before.externalBytes, after.externalBytes),
  ]);
}
