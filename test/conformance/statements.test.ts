/** Every normative statement of MQTT 3.1.1 is named by a test here, unless it asks something of clients alone. */
import { readdirSync, readFileSync } from "node:fs";
import { expect, it } from "vitest";

/** The statements, as how many each section has. */
const sections: Readonly<Record<string, number>> = {
  "1.5.3": 3,
  "2.2.2": 2,
  "2.3.1": 7,
  "3.1.0": 2,
  "3.1.2": 24,
  "3.1.3": 11,
  "3.1.4": 5,
  "3.2.0": 1,
  "3.2.2": 6,
  "3.3.1": 12,
  "3.3.2": 3,
  "3.3.4": 1,
  "3.3.5": 2,
  "3.6.1": 1,
  "3.8.1": 1,
  "3.8.3": 4,
  "3.8.4": 6,
  "3.9.3": 2,
  "3.10.1": 1,
  "3.10.3": 2,
  "3.10.4": 6,
  "3.12.4": 1,
  "3.14.1": 1,
  "3.14.4": 3,
  "4.1.0": 2,
  "4.3.1": 1,
  "4.3.2": 2,
  "4.3.3": 2,
  "4.4.0": 1,
  "4.5.0": 2,
  "4.6.0": 6,
  "4.7.1": 3,
  "4.7.2": 1,
  "4.7.3": 4,
  "4.8.0": 2,
  "6.0.0": 4,
};

/** What only a client can keep. */
const ofClients = ["2.3.1-2", "2.3.1-3", "3.1.2-23", "3.14.4-1", "3.14.4-2", "4.5.0-2"];
/** A connection ends when what it sent cannot be stored: `test/mqtt/exchange.test.ts`. */
const elsewhere = ["4.8.0-2"];

const folder = new URL(".", import.meta.url);
const tests = readdirSync(folder).filter((name) => name.endsWith(".test.ts"));
const named = new Set(
  tests.flatMap((name) => readFileSync(new URL(name, folder), "utf8").match(/(?<=MQTT-)\d+\.\d+\.\d+-\d+/g) ?? []),
);
const all = Object.entries(sections).flatMap(([section, count]) =>
  Array.from({ length: count }, (_, index) => `${section}-${index + 1}`),
);

it("leaves none out", () => {
  expect(all.filter((statement) => !named.has(statement))).toEqual([...ofClients, ...elsewhere].toSorted(inOrder));
});

it("names none that is not there", () => {
  expect([...named].filter((statement) => !all.includes(statement))).toEqual([]);
});

function inOrder(a: string, b: string): number {
  return all.indexOf(a) - all.indexOf(b);
}
