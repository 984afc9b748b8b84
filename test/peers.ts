/**
 * Programs that are not ours and that tests talk to. A test that needs one which is not installed is skipped and says so;
 * with REQUIRE_PEERS=1 it fails instead.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test, type TestFunction } from "vitest";

/** Whether a program is on the PATH. */
export function isInstalled(program: string): boolean {
  return spawnSync("sh", ["-c", `command -v ${program}`]).status === 0;
}

/** A test that needs programs: skipped by name where one is missing. */
export function testWith(programs: readonly string[], name: string, run: TestFunction, timeoutMs?: number): void {
  const missing = programs.find((program) => !isInstalled(program));
  if (missing === undefined) test(name, run, timeoutMs);
  else if (process.env["REQUIRE_PEERS"] === "1") {
    test(name, () => {
      throw new Error(`${missing} is missing and REQUIRE_PEERS=1`);
    });
  } else test.skip(`${name} (skipped: ${missing} is missing)`, run);
}

const vectorFolder = process.env["POSTERN_VECTORS"] ?? new URL("../../shared/vectors", import.meta.url).pathname;

/** Whether the folder with the standards' vectors is there (POSTERN_VECTORS, default `../shared/vectors`). */
export const hasVectors = existsSync(join(vectorFolder, "published"));

/** One file of vectors. */
export function readVectors<T>(path: string): T {
  return JSON.parse(readFileSync(join(vectorFolder, path), "utf8")) as T;
}
