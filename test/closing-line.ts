/**
 * A vitest reporter that closes the run with `N passed, N failed, N skipped`, the line that CI reads, and names what was
 * skipped and why.
 */
import type { Reporter, TestModule } from "vitest/node";

export default class ClosingLine implements Reporter {
  onTestRunEnd(modules: ReadonlyArray<TestModule>, unhandledErrors: ReadonlyArray<unknown>): void {
    const counts = { passed: 0, failed: 0, skipped: 0 };
    const skipped = new Set<string>();
    for (const module of modules) {
      let failedHere = 0;
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        if (state === "pending") continue;
        counts[state] += 1;
        if (state === "failed") failedHere += 1;
        if (state === "skipped") skipped.add(test.fullName);
      }
      // a file that does not even load has no test that could have failed
      if (!module.ok() && failedHere === 0) counts.failed += 1;
    }
    counts.failed += unhandledErrors.length;
    for (const name of skipped) console.log(`skipped: ${name}`);
    console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
  }
}
