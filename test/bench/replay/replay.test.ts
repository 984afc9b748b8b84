/** The replay, as a test: ours does what it is for; of others it is only said what they do. */
import { afterAll, describe, expect, it } from "vitest";
import { testWith } from "../../peers.ts";
import { programs, startMosquitto } from "./mosquitto.ts";
import { printReplay, replay } from "./play.ts";
import { startPostern } from "./postern.ts";
import { rows } from "./rows.ts";

const played: Awaited<ReturnType<typeof replay>>[] = [];
afterAll(() => printReplay(played));

describe("the replay", () => {
  it("goes against Postern as it is to", async () => {
    const { name, outcomes } = await replay(startPostern);
    played.push({ name, outcomes });
    const said = rows.map((row, index) => `${row.name}: ${outcomes[index]}`);
    const wanted = rows.map(
      ({ name, ours }, index) => `${name}: ${ours.find((one) => one === outcomes[index]) ?? ours[0]}`,
    );
    expect(said).toEqual(wanted);
  }, 60_000);

  testWith(
    programs,
    "runs through against mosquitto",
    async () => {
      const { name, outcomes } = await replay(startMosquitto);
      played.push({ name, outcomes });
      expect(outcomes).toHaveLength(rows.length);
      expect(outcomes[0]).toBe("delivered");
    },
    60_000,
  );
});
