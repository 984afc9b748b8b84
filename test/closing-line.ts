/**
 * A vitest reporter that closes the run with `N passed, N failed, N skipped`, the line that CI reads, and names what was
 * skipped and what failed, and why. CI prints those lines once more at its end: two long runs lie between.
 */
import { stripVTControlCharacters } from "node:util";
import type { Reporter, SerializedError, TestModule } from "vitest/node";

interface Failure {
  readonly message: string;
  readonly stack?: string | undefined;
  readonly diff?: string | undefined;
}

/** An error on one line: what was expected, what differs and where, as much of it as a log is read for. */
const brief = (error: Failure | undefined): string => {
  const place = /^ +at .*test\/.*$/m.exec(error?.stack ?? "")?.[0] ?? "";
  const text = `${error?.message ?? "no error"} ${error?.diff ?? ""}`;
  return `${stripVTControlCharacters(text).replaceAll(/\s+/g, " ").slice(0, 1500)} ${place.trim()}`;
};

export default class ClosingLine implements Reporter {
  onTestRunEnd(modules: ReadonlyArray<TestModule>, unhandledErrors: ReadonlyArray<SerializedError>): void {
    const counts = { passed: 0, failed: 0, skipped: 0 };
    const skipped = new Set<string>();
    for (const module of modules) {
      let failedHere = 0;
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        if (state === "pending") continue;
        counts[state] += 1;
        if (state === "failed") {
          failedHere += 1;
          console.log(`failed: ${module.relativeModuleId} > ${test.fullName}: ${brief(test.result().errors?.[0])}`);
        }
        if (state === "skipped") skipped.add(test.fullName);
      }
      // a file that does not even load has no test that could have failed
      if (!module.ok() && failedHere === 0) {
        counts.failed += 1;
        console.log(`failed: ${module.relativeModuleId}: ${brief(module.errors()[0])}`);
      }
    }
    for (const error of unhandledErrors) {
      counts.failed += 1;
      console.log(`failed: unhandled: ${brief(error)}`);
    }
    for (const name of skipped) console.log(`skipped: ${name}`);
    console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
  }
}
