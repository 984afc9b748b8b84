/**
 * `npm run fuzz [-- --seed N] [--runs N] [--from N]`: spoiled packets against the frame reader and against a running broker,
 * for as long as one likes; stops at the first case that goes wrong, and says how to run it again.
 */
import { parseArgs } from "node:util";
import { fuzzBroker, fuzzFrames } from "./campaign.ts";
import { anySeed } from "./random.ts";

/** Cases of one round: against the frame reader, then against a broker that is new in each round. */
const frameRuns = 100_000;
const brokerRuns = 5000;

const { values } = parseArgs({
  options: { seed: { type: "string" }, runs: { type: "string" }, from: { type: "string", default: "0" } },
});
const seed = values.seed === undefined ? anySeed() : Number(values.seed);
const most = values.runs === undefined ? Infinity : Number(values.runs);
const first = Number(values.from);
console.log(`seed ${seed}`);

try {
  for (let from = first; from < first + most; from += brokerRuns) {
    const runs = Math.min(brokerRuns, first + most - from);
    const accepted = fuzzFrames({ seed, from: (from / brokerRuns) * frameRuns, runs: frameRuns });
    console.log(`frame reader: ${frameRuns} cases, ${accepted} frames accepted, all as the parser reads them`);
    await fuzzBroker({ seed, from, runs });
    console.log(`broker: cases ${from} to ${from + runs - 1}: closed, served on, nothing leaked`);
  }
} catch (error) {
  console.error(error);
  console.error(
    `again: npm run fuzz -- --seed ${seed} --from N --runs 1, where N is the case; or a few from before it`,
  );
  process.exitCode = 1;
}
