/**
 * A campaign: case after case from one seed, until one goes wrong or there have been enough. Every case is followed by the
 * next without asking the broker; now and then it is asked whether it still serves, and when it is gone the last case is named.
 */
import { openArena, type Arena } from "../attacks/engine/arena.ts";
import { tryFrames } from "./frame-case.ts";
import { openRange } from "./live-cases.ts";

export interface Campaign {
  readonly seed: number;
  /** Index of the first case. Default 0. */
  readonly from?: number;
  readonly runs: number;
  /** Told now and then how many cases there have been. */
  readonly progress?: (cases: number) => void;
}

/** Cases between two questions to the broker. */
const checkedEvery = 20;
/** Nothing here is about how many may connect. */
const limits = { connectsPerMinute: 1_000_000_000, connections: 100_000, connectionsPerAddress: 100_000 };

/** Runs against the frame reader; throws at the first case that goes wrong. Answers how many frames were accepted. */
export function fuzzFrames({ seed, from = 0, runs }: Campaign): number {
  let accepted = 0;
  for (let index = from; index < from + runs; index++) accepted += tryFrames(seed, index);
  return accepted;
}

/** Runs against a broker of its own; rejects at the first case that goes wrong. */
export async function fuzzBroker(campaign: Campaign): Promise<void> {
  const arena = await openArena({ hasPair: false, limits });
  try {
    await arena.begin();
    await runAll(arena, campaign).catch(async (error: unknown) => {
      const { end, complaints } = await arena.finish();
      throw end === undefined ? error : new Error(`${String(error)}\nthe broker ${end}\n${complaints}`);
    });
  } finally {
    await arena.close();
  }
}

async function runAll(arena: Arena, { seed, from = 0, runs, progress }: Campaign): Promise<void> {
  const range = await openRange(arena, seed);
  await range.check();
  for (let index = from; index < from + runs; index++) {
    await range.run(index);
    if (index % checkedEvery !== 0) continue;
    await range.check().catch((error: unknown) => {
      throw new Error(`after case ${index}, at most ${checkedEvery} cases before: ${String(error)}`);
    });
    progress?.(index - from + 1);
  }
  await range.check();
  await range.drain();
}
