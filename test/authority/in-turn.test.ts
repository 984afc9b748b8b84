import { expect, it } from "vitest";
import { createInTurn } from "../../broker/authority/oauth/in-turn.ts";

it("work of one turn is done in its order and in one go, and what fails fails alone", async () => {
  const inTurn = createInTurn();
  const done: number[] = [];
  const work = (n: number) => (): number => {
    done.push(n);
    if (n === 2) throw new RangeError("two");
    return n;
  };
  const told = [1, 2, 3].map((n) => inTurn(work(n)));
  expect(done).toEqual([]);
  // whoever hears of the first finds all of them done
  expect(await told[0]!.then(() => [...done])).toEqual([1, 2, 3]);
  const results = await Promise.allSettled(told);
  expect(results.map((one) => (one.status === "fulfilled" ? one.value : one.reason))).toEqual([
    1,
    new RangeError("two"),
    3,
  ]);
});

it("work that comes while others are done waits for the next turn", async () => {
  const inTurn = createInTurn();
  const done: string[] = [];
  const inner = await inTurn(() => {
    const promise = inTurn(() => done.push("inner"));
    done.push("outer");
    return { promise };
  });
  expect(done).toEqual(["outer"]);
  await inner.promise;
  expect(done).toEqual(["outer", "inner"]);
});
