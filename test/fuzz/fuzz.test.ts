/** A bounded number of fuzzing cases; `npm run fuzz` goes on for as long as one likes. The seed is printed. */
import { describe, expect, it } from "vitest";
import { fuzzBroker, fuzzFrames } from "./campaign.ts";
import { anySeed } from "./random.ts";

const seed = process.env["FUZZ_SEED"] === undefined ? anySeed() : Number(process.env["FUZZ_SEED"]);
console.log(`fuzzing with FUZZ_SEED=${seed}`);

describe(`spoiled packets, seed ${seed}`, () => {
  it("are refused by the frame reader, or are packets to the parser behind it", () => {
    expect(fuzzFrames({ seed, runs: 40_000 })).toBeGreaterThan(10_000);
  }, 180_000);

  it("leave a broker that serves, closes and leaks nothing", async () => {
    await expect(fuzzBroker({ seed, runs: 4000 })).resolves.toBeUndefined();
  }, 300_000);
});
