/** docs/operating.md says of each limit and each figure what the program has. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { defaultLimits, highestLimits, type PosternLimits } from "../../broker/limits.ts";
import { openMetrics, type Metrics } from "../../broker/metrics.ts";
import { readUpSettings, toLimitName } from "../../cli/config.ts";
import { readText } from "./blocks.ts";

const text = readText("docs/operating.md");

/** The cells of the rows of a section whose first cell is a name in back quotes. */
function readRows(heading: string): string[][] {
  const section = text.split(/^## /m).find((part) => part.startsWith(`${heading}\n`)) ?? "";
  return section
    .split("\n")
    .filter((line) => line.startsWith("| `"))
    .map((line) =>
      line
        .split("|")
        .slice(1, -1)
        .map((cell) => cell.trim().replaceAll("`", "")),
    );
}

describe("the limits", () => {
  const names = Object.keys(defaultLimits) as (keyof PosternLimits)[];

  test("are all there once, with their defaults and their highest values", () => {
    const documented = readRows("Limits").map(([name, standard, highest]) => [name, standard, highest]);
    const expected = names.map((name) => [toLimitName(name), `${defaultLimits[name]}`, `${highestLimits[name]}`]);
    const byName = (a: (string | undefined)[], b: (string | undefined)[]): number => (a[0]! < b[0]! ? -1 : 1);
    expect(documented.toSorted(byName)).toEqual(expected.toSorted(byName));
  });

  test("each say what they are and what happens beyond them", () => {
    const rows = readRows("Limits");
    expect(rows.length).toBeGreaterThan(30);
    expect(rows.filter(([, , , is, beyond]) => !is || !beyond)).toEqual([]);
  });
});

describe("the settings", () => {
  test("have the defaults that the program has", () => {
    const settings = readUpSettings({}, {});
    const cellOf = (flag: string): string | undefined =>
      readRows("Settings").find(([name]) => name!.startsWith(flag))?.[3];
    expect([cellOf("--http-port"), cellOf("--mqtts-port"), cellOf("--wss-port")].map(Number)).toEqual([
      settings.httpPort,
      settings.mqttsPort,
      settings.wssPort,
    ]);
    expect([cellOf("--data"), cellOf("--log-level")]).toEqual([settings.dataDir, settings.logLevel]);
  });
});

describe("the figures", () => {
  let metrics: Metrics;
  beforeAll(() => {
    metrics = openMetrics();
  });
  afterAll(() => metrics.close());

  test("are those that a scrape gives, of the same kinds and with the same labels", async () => {
    metrics.follow({ sessions: () => 0, lists: () => new Map([["plant", true]]) });
    // a series of refusals appears with its first one, and one of sessions that were taken back
    metrics.meter.refused("connect", "token.expired");
    metrics.meter.takenBack("token.revoked");
    const scraped = await metrics.scrape();
    const found = [...scraped.text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, kind]) => {
      const labels = new RegExp(`^${name}\\{(.*?)\\} `, "m").exec(scraped.text)?.[1] ?? "";
      return [name, kind, [...labels.matchAll(/(\w+)="/g)].map(([, label]) => label).join(", ")];
    });
    const documented = readRows("Figures").map(([name, kind, labels]) => [name, kind, labels]);
    expect(new Map(documented.map((row) => [row[0], row]))).toEqual(new Map(found.map((row) => [row[0], row])));
    expect(documented).toHaveLength(found.length);
  });
});
