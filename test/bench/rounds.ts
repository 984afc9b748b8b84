/**
 * Measuring side by side: every contestant does the same number of operations in each round, one after the other
 * (A B C A B C …), so that what else the machine does falls on all of them. The figure that holds is the server's CPU
 * time per operation; rates and latencies stand beside it and swing with the machine.
 */

/** What one round of load found. Latencies in milliseconds. */
export interface Load {
  readonly seconds: number;
  readonly latencies: readonly number[];
  /** Operations that were really done, where that can differ from those asked for. */
  readonly done?: number;
  /** The part of what was sent that arrived. */
  readonly share?: number;
}

export interface Contestant {
  readonly name: string;
  /** Makes what the operations need, unmeasured. */
  prepare?(operations: number): void | Promise<void>;
  run(operations: number): Promise<Load>;
  /** Of the server, since it started. */
  cpuMicroseconds(): Promise<number> | number;
}

export interface Plan {
  readonly rounds: number;
  readonly operations: number;
  /** Operations of an unmeasured first round. */
  readonly warmUp: number;
}

/** What was measured of one contestant; one entry a round, but for the latencies. */
export interface Measured {
  readonly name: string;
  /** Microseconds of the server per operation. */
  readonly cpu: number[];
  /** Operations per second. */
  readonly rates: number[];
  /** Milliseconds, sorted, of all rounds. */
  readonly latencies: number[];
  /** Of what was sent, the part that arrived; empty where that is not looked at. */
  readonly shares: number[];
}

/** Runs the rounds. */
export async function measure(contestants: readonly Contestant[], plan: Plan): Promise<Measured[]> {
  for (const contestant of contestants) {
    await contestant.prepare?.(plan.warmUp);
    await contestant.run(plan.warmUp);
  }
  const results: Measured[] = contestants.map(({ name }) => ({
    name,
    cpu: [],
    rates: [],
    latencies: [],
    shares: [],
  }));
  for (let round = 0; round < plan.rounds; round++) {
    for (const [index, contestant] of contestants.entries()) {
      await contestant.prepare?.(plan.operations);
      const before = await contestant.cpuMicroseconds();
      const load = await contestant.run(plan.operations);
      const used = (await contestant.cpuMicroseconds()) - before;
      const result = results[index]!;
      const done = load.done ?? plan.operations;
      result.cpu.push(used / done);
      result.rates.push(done / load.seconds);
      result.latencies.push(...load.latencies);
      if (load.share !== undefined) result.shares.push(load.share);
    }
  }
  for (const { latencies } of results) latencies.sort((a, b) => a - b);
  return results;
}

/** The first to the last of `operations`, `width` of them at a time. */
export async function runWide(
  operations: number,
  width: number,
  operate: (operation: number, lane: number) => Promise<void>,
): Promise<Load> {
  const latencies: number[] = [];
  let next = 0;
  const lane = async (number: number): Promise<void> => {
    while (next < operations) {
      const operation = next++;
      const started = performance.now();
      await operate(operation, number);
      latencies.push(performance.now() - started);
    }
  };
  const started = performance.now();
  await Promise.all(Array.from({ length: width }, (_, number) => lane(number)));
  return { seconds: (performance.now() - started) / 1000, latencies };
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Of sorted values. */
export function quantile(sorted: readonly number[], part: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN;
}

/** The median, over the rounds, of one contestant's CPU time to another's in the same round. */
export function cpuRatio(a: Measured, b: Measured): number {
  return median(a.cpu.map((cpu, round) => cpu / b.cpu[round]!));
}

/** The same for operations per second. */
export function rateRatio(a: Measured, b: Measured): number {
  return median(a.rates.map((rate, round) => rate / b.rates[round]!));
}

/** The median, over the rounds, of what one contestant takes more than another, in microseconds. */
export function cpuExcess(a: Measured, b: Measured): number {
  return median(a.cpu.map((cpu, round) => cpu - b.cpu[round]!));
}
