/** Readings of this machine. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { readMachine } from "../../agent/machine.ts";

function withZones(zones: Record<string, string>, use: (dir: string) => Promise<void>): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), "postern-thermal-"));
  for (const [zone, text] of Object.entries(zones)) {
    mkdirSync(join(dir, zone));
    writeFileSync(join(dir, zone, "temp"), text);
  }
  return use(dir).finally(() => rmSync(dir, { recursive: true }));
}

it.each([
  [{ thermal_zone0: "48312\n" }, 48.31],
  [{ thermal_zone0: "48312\n", thermal_zone1: "61000\n", cooling_device0: "99000\n" }, 61],
  [{ thermal_zone0: "-5500\n" }, -5.5],
  [{ thermal_zone0: "nonsense", thermal_zone1: "" }, null],
  [{ thermal_zone0: "-274000\n" }, null],
  [{}, null],
])("reads the temperature of %j as %s", async (zones, expected) => {
  await withZones(zones, async (dir) => expect((await readMachine(dir)).temperature).toBe(expected));
});

it("reports load, memory and no temperature where the machine has no sensor", async () => {
  const reading = await readMachine("/nowhere");
  expect(reading).toEqual({
    load: [expect.any(Number), expect.any(Number), expect.any(Number)],
    memory: { total: expect.any(Number), available: expect.any(Number) },
    temperature: null,
    uptimeSeconds: expect.any(Number),
  });
  expect(reading.memory.available).toBeLessThanOrEqual(reading.memory.total);
});
