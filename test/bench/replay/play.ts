/**
 * Plays the rows of a replay against one broker after the other, and prints what happened as one table.
 */
import { printTable } from "../table.ts";
import type { Profile } from "./profile.ts";
import { openStage, rows, type Outcome } from "./rows.ts";

/** Plays every row against one broker, and stops it. */
export async function replay(start: () => Promise<Profile>): Promise<{ name: string; outcomes: Outcome[] }> {
  const profile = await start();
  try {
    const stage = await openStage(profile);
    const outcomes: Outcome[] = [];
    for (const row of rows) outcomes.push(await row.play(stage));
    stage.close();
    return { name: profile.name, outcomes };
  } finally {
    await profile.stop();
  }
}

/** Prints one table, a column for each broker. */
export function printReplay(played: readonly { readonly name: string; readonly outcomes: readonly Outcome[] }[]): void {
  const head = ["what is tried", ...played.map(({ name }) => name)];
  const lines = rows.map((row, index) => [row.name, ...played.map(({ outcomes }) => outcomes[index]!)]);
  printTable([head, ...lines], [...head.keys()]);
}
