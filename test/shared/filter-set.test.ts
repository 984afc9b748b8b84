import fc from "fast-check";
import { expect, test } from "vitest";
import { FilterSet } from "../../shared/filter-set.ts";
import { covers, intersectFilters } from "../../shared/topic.ts";

const level = fc.constantFrom("a", "b", "+", "", "$x", "__proto__");
const filter = fc
  .tuple(fc.array(level, { maxLength: 4 }), fc.boolean())
  .map(([levels, hash]) => [...levels, ...(hash ? ["#"] : [])].join("/"))
  .filter((text) => text !== "");

test("a set covers what one of its filters covers, the filter itself counted or not", () => {
  fc.assert(
    fc.property(fc.array(filter, { maxLength: 8 }), filter, (filters, asked) => {
      const set = new FilterSet(filters);
      const all = [...filters, asked];
      expect(set.covers(asked)).toBe(filters.some((one) => covers(one, asked)));
      for (const one of all) {
        expect(set.coversBeside(one)).toBe(filters.some((other) => other !== one && covers(other, one)));
      }
    }),
    { numRuns: 2_000 },
  );
});

test("a set finds all of its filters that match something that another one matches", () => {
  fc.assert(
    fc.property(fc.array(filter, { maxLength: 8 }), filter, (filters, asked) => {
      const met = new FilterSet(filters).meeting(asked);
      expect(met.toSorted()).toEqual([...new Set(met)].toSorted());
      const meant = filters.filter((one) => intersectFilters(one, asked) !== undefined);
      expect(met).toEqual(expect.arrayContaining(meant));
    }),
    { numRuns: 2_000 },
  );
});

test.each<[string, readonly string[], boolean, boolean]>([
  ["a/b", ["a/b"], true, false],
  ["a/b", ["a/+"], true, true],
  ["a", ["a/#"], true, true],
  ["a/#", ["a/#"], true, false],
  ["a/#", ["+/#", "a/#"], true, true],
  ["#", ["+/#"], false, false],
  ["$x/a", ["+/a", "#"], false, false],
  ["a/+", ["a/b", "a/c"], false, false],
  ["a", ["a/b"], false, false],
])("%s in %j", (asked, filters, isCovered, isCoveredBeside) => {
  const set = new FilterSet(filters);
  expect([set.covers(asked), set.coversBeside(asked)]).toEqual([isCovered, isCoveredBeside]);
});
