/** What the README shows is what runs: its example of the gate is the file that a test of its own starts. */
import { existsSync, readFileSync } from "node:fs";
import { expect, it } from "vitest";

const root = new URL("../../", import.meta.url);
const readme = read("README.md");
const example = readme
  ?.split("<!-- example:embed -->")[1]
  ?.match(/^\s*```(?:js|javascript|ts|typescript)?\n([^]*?)```/)?.[1];

it.skipIf(example === undefined)("shows examples/embed.mjs as it is, in at most 20 lines", () => {
  expect(example?.trimEnd()).toBe(read("examples/embed.mjs")?.trimEnd());
  expect(example?.trimEnd().split("\n").length).toBeLessThanOrEqual(20);
});

it.skipIf(readme === undefined)("names no command that is not there", () => {
  const { scripts } = JSON.parse(read("package.json")!) as { scripts: Record<string, string> };
  const named = [...readme!.matchAll(/npm run ([a-z:]+)/g)].map(([, name]) => name!);
  expect(named.filter((name) => scripts[name] === undefined)).toEqual([]);
});

function read(path: string): string | undefined {
  const file = new URL(path, root);
  return existsSync(file) ? readFileSync(file, "utf8") : undefined;
}
