import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { meanings, Refusal } from "../../shared/refusal.ts";

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

test("no id begins as an option does: it is an argument of postern explain", () => {
  const ids = Array.from({ length: 5000 }, () => new Refusal("internal").id);
  expect(ids.filter((id) => !/^\w[\w-]{11}$/.test(id))).toEqual([]);
});
