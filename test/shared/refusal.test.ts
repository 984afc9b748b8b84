import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { meanings } from "../../shared/refusal.ts";

const root = new URL("../..", import.meta.url).pathname;

function textOf(folders: readonly string[]): string {
  return folders
    .flatMap((folder) =>
      readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
        .filter((file) => file.endsWith(".ts") && file !== "refusal.ts" && file !== "shared/refusal.test.ts")
        .map((file) => readFileSync(join(root, folder, file), "utf8")),
    )
    .join("\n");
}

test("every reason is given somewhere, and some test asserts it", () => {
  const [code, tests] = [textOf(["shared", "broker", "agent", "verify"]), textOf(["test"])];
  const reasons = Object.keys(meanings);
  expect(reasons.filter((reason) => !code.includes(`"${reason}"`))).toEqual([]);
  expect(reasons.filter((reason) => !tests.includes(`"${reason}"`))).toEqual([]);
});
