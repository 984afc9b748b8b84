/** Filters find the values of those that match a topic, compared with a matcher that looks at every level of every filter. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FilterTree } from "../../broker/mqtt/filter-tree.ts";
import type { FilterSyntax } from "../../broker/mqtt/filter-tree.ts";
import { matches, arbitraryFilter, arbitraryTopic } from "./matches.ts";

function treeOf(filters: readonly string[], syntax?: FilterSyntax): FilterTree<string> {
  const tree = new FilterTree<string>(syntax);
  for (const filter of filters) tree.add(filter, filter);
  return tree;
}

describe("a filter matches a topic", () => {
  it.each([
    ["a/b", "a/b"],
    ["a/+", "a/b"],
    ["a/+", "a/"],
    ["+/+", "/"],
    ["+", ""],
    ["#", "a/b/c"],
    ["a/#", "a"],
    ["a/#", "a/"],
    ["a/#", "a/b/c"],
    ["+/#", "a"],
    ["a/+/#", "a/b"],
    ["+/b", "$SYS/b"],
    ["a+", "a+"],
    ["a/b#", "a/b#"],
    ["#/a", "#/a"],
    ["__proto__/+", "__proto__/constructor"],
    ["constructor", "constructor"],
  ])("%s matches %s", (filter, topic) => {
    expect(treeOf([filter]).match(topic)).toEqual([filter]);
  });

  it.each([
    ["a/b", "a/b/c"],
    ["a/+", "a"],
    ["a/+", "a/b/c"],
    ["+", "a/b"],
    ["a/#", "ab"],
    ["a+", "ab"],
    ["#/a", "b/a"],
    ["+/valueOf", "a/toString"],
  ])("%s does not match %s", (filter, topic) => {
    expect(treeOf([filter]).match(topic)).toEqual([]);
  });

  it.each(["#", "+/b", "+/#"])("%s matches no topic that begins with $, if that is asked for", (filter) => {
    const tree = treeOf([filter, "$SYS/+"], { hidesDollar: true });
    expect([tree.match("$SYS/b"), tree.match("a/b"), tree.match("$SYS")]).toEqual([["$SYS/+"], [filter], []]);
  });

  it("leaves empty levels out, if that is asked for", () => {
    const tree = treeOf(["a/+", "+/b", "a/+/c", "a/#"], { matchEmptyLevels: false });
    expect(["a/", "/b", "a//c", "a/x"].map((topic) => tree.match(topic))).toEqual([
      ["a/#"],
      [],
      ["a/#"],
      ["a/#", "a/+"],
    ]);
  });

  it("has other separators and wildcards, if that is asked for", () => {
    const tree = treeOf(["a::*::c", "a::>", "a/+"], { separator: "::", wildcardOne: "*", wildcardSome: ">" });
    expect([tree.match("a::b::c").toSorted(), tree.match("a/b")]).toEqual([["a::*::c", "a::>"], []]);
  });
});

it("gives what a matcher without a tree gives, whatever was added and removed", () => {
  const step = fc.record({ filter: arbitraryFilter, value: fc.integer({ min: 0, max: 12 }), isAdded: fc.boolean() });
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 80 }),
      fc.array(arbitraryTopic, { minLength: 1, maxLength: 8 }),
      fc.boolean(),
      (steps, topics, hidesDollar) => {
        const tree = new FilterTree<number>({ hidesDollar });
        const model = new Map<string, { filter: string; value: number }>();
        for (const { filter, value, isAdded } of steps) {
          const key = JSON.stringify([filter, value]);
          const changes = isAdded ? tree.add(filter, value) : tree.remove(filter, value);
          expect(changes).toBe(model.has(key) !== isAdded);
          if (isAdded) model.set(key, { filter, value });
          else model.delete(key);
        }
        expect(tree.count).toBe(model.size);
        for (const topic of topics) {
          const wanted = [...model.values()].filter(({ filter }) => matches(filter, topic, hidesDollar));
          const sorted = (values: readonly number[]): number[] => [...values].sort((a, b) => a - b);
          expect(sorted(tree.match(topic))).toEqual(sorted(wanted.map(({ value }) => value)));
        }
        for (const { filter } of model.values()) tree.removeAll(filter);
        expect([tree.count, topics.flatMap((topic) => tree.match(topic))]).toEqual([0, []]);
      },
    ),
    { numRuns: 500 },
  );
});

it("keeps a value once for a filter, and once for each filter", () => {
  const tree = new FilterTree<string>();
  expect([tree.add("a", "x"), tree.add("a", "x"), tree.add("+", "x"), tree.count]).toEqual([true, false, true, 2]);
  expect(tree.match("a")).toEqual(["x", "x"]);
  expect([tree.remove("a", "x"), tree.remove("a", "x"), tree.remove("b/+", "x")]).toEqual([true, false, false]);
  expect(tree.match("a")).toEqual(["x"]);
});

it.each(["a/b", "a/+", "#"])("does not change what it gave for %s when values come and go", (filter) => {
  const tree = new FilterTree<number>();
  const given: (readonly number[])[] = [];
  for (let value = 0; value < 20; value += 1) {
    given.push(tree.match("a/b"));
    tree.add(filter, value);
  }
  for (let value = 0; value < 20; value += 2) tree.remove(filter, value);
  expect(given.map(({ length }) => length)).toEqual(given.map((_list, index) => index));
  expect(tree.match("a/b")).toEqual([1, 3, 5, 7, 9, 11, 13, 15, 17, 19]);
  expect([tree.removeAll(filter), tree.removeAll(filter), tree.match("a/b")]).toEqual([10, 0, []]);
});

it("takes filters and topics of any depth", () => {
  const deep = Array.from({ length: 50_000 }, () => "a").join("/");
  const tree = treeOf([`${deep}/+`, `${deep}/#`, `+/${deep}`]);
  expect(tree.match(`${deep}/a`)).toHaveLength(3);
  for (const filter of [`${deep}/+`, `${deep}/#`, `+/${deep}`]) tree.remove(filter, filter);
  expect([tree.count, tree.match(`${deep}/a`)]).toEqual([0, []]);
});

it("ends with many values on one filter, and with one value on many", () => {
  const tree = new FilterTree<number>();
  const many = Array.from({ length: 100_000 }, (_none, index) => index);
  for (const value of many) tree.add("a/+", value);
  for (const value of many) tree.add(`b/${value}/#`, 0);
  expect([tree.count, tree.match("a/b").length, tree.match("b/7/x")]).toEqual([200_000, 100_000, [0]]);
  for (const value of many) tree.remove("a/+", value);
  for (const value of many) tree.remove(`b/${value}/#`, 0);
  expect([tree.count, tree.match("a/b"), tree.match("b/7/x")]).toEqual([0, [], []]);
});
