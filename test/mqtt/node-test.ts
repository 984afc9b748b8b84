/**
 * The `test` of node:test, as far as abstract suites written for it use it, on top of vitest.
 *
 * `t.plan` counts what `t.assert` was asked. The first assertion that fails fails the test at once, also when whoever was
 * called back with it catches what it throws.
 */
import assert from "node:assert";
import { test } from "vitest";

/** What a test is handed, as node:test hands it over. */
export interface NodeTestContext {
  readonly name: string;
  /** node:assert, not the strict one; counted. */
  readonly assert: typeof assert;
  /** How many assertions and tests within there are to be. */
  plan(count: number): void;
  fail(message?: string): never;
  diagnostic(text: string): void;
  after(clean: () => unknown): void;
  test(name: string, run: NodeTestRun): Promise<void>;
}

/** The body of a test. */
export type NodeTestRun = (t: NodeTestContext) => unknown;

/** Registers a test, as node:test's `test` does. */
export function nodeTest(name: string, run: NodeTestRun): void {
  // oxlint-disable-next-line vitest/valid-title, vitest/expect-expect
  test(name, () => runTest(name, run));
}

async function runTest(name: string, run: NodeTestRun): Promise<void> {
  const cleanups: (() => unknown)[] = [];
  let planned: number | undefined;
  let counted = 0;
  let broken: { readonly error: unknown } | undefined;
  let stop: (error: unknown) => void = () => undefined;
  // a failed assertion may leave the test waiting for ever
  const stopped = new Promise<never>((_resolve, reject) => (stop = reject));
  stopped.catch(() => undefined);

  const noting = <T>(check: () => T): T => {
    counted += 1;
    try {
      return check();
    } catch (error) {
      broken ??= { error };
      stop(error);
      throw error;
    }
  };
  const counting = new Proxy(assert, {
    get(target, key) {
      const method: unknown = Reflect.get(target, key);
      if (typeof method !== "function") return method;
      return (...values: unknown[]) => noting(() => Reflect.apply(method, target, values) as unknown);
    },
  });
  const context: NodeTestContext = {
    name,
    assert: counting,
    plan(count) {
      planned = count;
    },
    fail: (message) => noting(() => assert.fail(message)),
    diagnostic: () => undefined,
    after(clean) {
      cleanups.push(clean);
    },
    test(within, run) {
      counted += 1;
      return runTest(`${name} > ${within}`, run);
    },
  };

  try {
    await Promise.race([run(context), stopped]);
    if (broken !== undefined) throw broken.error;
    if (planned !== undefined)
      assert.equal(counted, planned, `${name}: ${planned} assertions planned, ${counted} made`);
  } finally {
    for (const clean of cleanups) await clean();
  }
}
