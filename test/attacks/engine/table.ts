/**
 * The attack table: a row is a name and an attack; after each the broker lives, the innocent pair lost nothing and was never
 * disconnected, and memory stayed within bounds. That nothing refused was delivered is for the attack itself to say.
 *
 * The table that is printed has times, for people to read. Nothing here depends on one.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { printTable } from "../../bench/table.ts";
import { openArena, type Arena, type ArenaOptions, type Damage } from "./arena.ts";

/** One attack. */
export interface Row {
  readonly name: string;
  /** MiB by which the broker may grow meanwhile. Default 64. */
  readonly memory?: number;
  /** Says what happened, in a few words; rejects when something happened that must not. */
  readonly attack: (arena: Arena) => Promise<string>;
}

const mebibyte = 1024 * 1024;
const defaultMemory = 64;
/** An attack that has not ended by then is not going to. */
const patienceMs = 120_000;
const rowTimeoutMs = 240_000;
const head = ["attack", "what happened", "longest stall seen by the innocent", "memory: before → peak → after"];

/** Makes a test of every row, on one broker, and prints the table in the end. */
export function describeAttacks(title: string, rows: readonly Row[], options: ArenaOptions = {}): void {
  // oxlint-disable-next-line vitest/valid-title -- the title of the table
  describe(title, () => {
    let arena: Arena;
    const lines: string[][] = [];
    beforeAll(async () => {
      arena = await openArena(options);
    }, rowTimeoutMs);
    afterAll(async () => {
      await arena?.close();
      console.log(`\nAttacks: ${title}\n`);
      printTable([head, ...lines], [0, 1]);
    }, rowTimeoutMs);

    // oxlint-disable-next-line vitest/expect-expect -- a row asserts, and so does what judges it
    it.each(rows)(
      "$name",
      async ({ name, memory = defaultMemory, attack }) => {
        await arena.begin();
        let what: string;
        let failure: unknown;
        try {
          what = await within(attack(arena));
        } catch (error) {
          failure = error;
          what = `FAILED: ${error instanceof Error ? error.message.split("\n")[0] : String(error)}`;
        }
        const damage = await arena.finish();
        lines.push(toLine(name, what, damage));
        if (damage.end !== undefined) throw new Error(`the broker ${damage.end}`, { cause: failure });
        if (failure !== undefined) throw failure;
        assertUnharmed(damage, memory);
      },
      rowTimeoutMs,
    );
  });
}

/** Rejects when an attack does not end at all: the broker owes it an answer, or an end of the connection. */
async function within(attack: Promise<string>): Promise<string> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`not ended after ${patienceMs / 1000} s`)), patienceMs);
  });
  try {
    return await Promise.race([attack, late]);
  } finally {
    clearTimeout(timer);
  }
}

function assertUnharmed({ before, after, pair }: Damage, memory: number): void {
  expect(after).toBeDefined();
  if (pair !== undefined) {
    expect(pair).toMatchObject({ disconnects: 0, lost: 0, unacknowledged: 0 });
    expect(pair.sent).toBeGreaterThan(0);
  }
  const grown = (after!.peakRss - before.rss) / mebibyte;
  expect(grown, "MiB that the broker grew by").toBeLessThan(memory);
}

function toLine(name: string, what: string, { end, before, after, pair }: Damage): string[] {
  const inMiB = (bytes: number | undefined): string =>
    bytes === undefined ? "?" : `${Math.round(bytes / mebibyte)} MiB`;
  const memory = [before.rss, after?.peakRss, after?.rss].map(inMiB).join(" → ");
  const lost = pair === undefined ? "" : lossOf(pair);
  const stall = pair === undefined ? "–" : `${Math.round(pair.longestGapMs)} ms${lost}`;
  return [name, end === undefined ? what : `the broker ${end}`, stall, memory];
}

function lossOf({ disconnects, lost }: NonNullable<Damage["pair"]>): string {
  if (disconnects > 0) return ", disconnected";
  return lost > 0 ? `, ${lost} lost` : "";
}
