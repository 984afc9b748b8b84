/** A map of topics that a filter finds its way in, compared with a plain map whose topics are all looked at. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { TopicTree } from "../../broker/mqtt/topic-tree.ts";
import { arbitraryFilter, arbitraryTopic, matches } from "./matches.ts";

const byTopic = (a: readonly [string, number], b: readonly [string, number]): number => (a[0] < b[0] ? -1 : 1);

const steps = fc.array(fc.record({ topic: arbitraryTopic, value: fc.nat(9), isSet: fc.boolean() }), { maxLength: 60 });

it("holds what a map holds, and finds what a filter matches", () => {
  fc.assert(
    fc.property(steps, fc.array(arbitraryFilter, { maxLength: 8 }), (changes, filters) => {
      const tree = new TopicTree<number>();
      const model = new Map<string, number>();
      for (const { topic, value, isSet } of changes) {
        if (isSet) {
          tree.set(topic, value);
          model.set(topic, value);
        } else {
          expect(tree.delete(topic)).toBe(model.delete(topic));
        }
        expect([tree.size, tree.get(topic), tree.has(topic)]).toEqual([model.size, model.get(topic), model.has(topic)]);
      }
      for (const filter of ["#", ...filters, ...model.keys()]) {
        const wanted = [...model].filter(([topic]) => matches(filter, topic, true));
        expect([...tree.matching(filter)].sort(byTopic)).toEqual(wanted.sort(byTopic));
      }
    }),
  );
});

it("gives each topic that stays once, and none that is gone, while it changes", () => {
  fc.assert(
    fc.property(
      fc.array(arbitraryTopic, { maxLength: 40 }),
      arbitraryFilter,
      steps,
      fc.nat(5),
      (topics, filter, changes, each) => {
        const tree = new TopicTree<number>();
        for (const topic of topics) tree.set(topic, 0);
        const stays = new Set(topics.filter((topic) => matches(filter, topic, true)));
        const given: string[] = [];
        let next = 0;
        for (const [topic, value] of tree.matching(filter)) {
          expect([tree.has(topic), tree.get(topic)]).toEqual([true, value]);
          given.push(topic);
          for (const { topic: other, value, isSet } of changes.slice(next, next + each)) {
            if (!isSet) stays.delete(other);
            if (isSet) tree.set(other, value);
            else tree.delete(other);
          }
          next += each;
        }
        expect(new Set(given).size).toBe(given.length);
        expect([...stays].filter((topic) => !given.includes(topic))).toEqual([]);
      },
    ),
  );
});

it("comes to an end when each topic it gives is deleted and set again", () => {
  const tree = new TopicTree<number>();
  for (let index = 0; index < 100; index += 1) tree.set(`a/${index}`, index);
  let given = 0;
  for (const [topic, value] of tree.matching("a/#")) {
    given += 1;
    tree.delete(topic);
    tree.set(topic, value);
  }
  expect([given, tree.size]).toEqual([100, 100]);
});

it("holds nothing for the levels above a topic", () => {
  const tree = new TopicTree<number>();
  tree.set("a/b", 0);
  expect([tree.has("a/b"), tree.has("a"), tree.delete("a"), tree.size]).toEqual([true, false, false, 1]);
  expect([...tree.matching("a/#"), ...tree.matching("a"), ...tree.matching("+")]).toEqual([["a/b", 0]]);
});

it("takes topics and filters of any depth", () => {
  const deep = Array.from({ length: 10_000 }, () => "a").join("/");
  const tree = new TopicTree<number>();
  tree.set(deep, 1);
  expect([...tree.matching(deep.replaceAll("a", "+")), ...tree.matching("#")]).toEqual([
    [deep, 1],
    [deep, 1],
  ]);
  expect([tree.delete(deep), tree.size]).toEqual([true, 0]);
});

it("looks at the branches that the filter names, and at no others", () => {
  const tree = new TopicTree<number>();
  for (let index = 0; index < 100_000; index += 1) tree.set(`a/${index}/b`, index);
  const found: number[] = [];
  // all of them at every step would take for ever
  for (let index = 0; index < 100_000; index += 1) {
    for (const [, value] of tree.matching(`a/${index}/+`)) found.push(value);
  }
  expect(found).toHaveLength(100_000);
});
