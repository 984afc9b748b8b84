import fc from "fast-check";
import { expect, test } from "vitest";
import { FilterTree } from "../../shared/filter-tree.ts";
import { covers } from "../../shared/topic.ts";

const level = fc.constantFrom("a", "b", "+", "", "$x", "__proto__");
const filter = fc
  .tuple(fc.array(level, { maxLength: 4 }), fc.boolean())
  .map(([levels, hash]) => [...levels, ...(hash ? ["#"] : [])].join("/"))
  .filter((text) => text !== "");

test("a tree covers what one of its filters covers, the filter itself counted or not", () => {
  fc.assert(
    fc.property(fc.array(filter, { maxLength: 8 }), filter, (filters, asked) => {
      const tree = new FilterTree(filters);
      const all = [...filters, asked];
      expect(tree.covers(asked)).toBe(filters.some((one) => covers(one, asked)));
      for (const one of all) {
        expect(tree.coversBeside(one)).toBe(filters.some((other) => other !== one && covers(other, one)));
      }
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
  const tree = new FilterTree(filters);
  expect([tree.covers(asked), tree.coversBeside(asked)]).toEqual([isCovered, isCoveredBeside]);
});
