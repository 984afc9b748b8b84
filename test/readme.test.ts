import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";

const root = new URL("..", import.meta.url);
const readme = readFileSync(new URL("README.md", root), "utf8");
const executable = new URL("dist/cli/main.js", root).pathname;

/** Nouns without verbs that take an argument. */
const alone: ReadonlySet<string> = new Set(["login", "explain"]);

/** The lines of the shell blocks. */
const shell = [...readme.matchAll(/```sh\n([\s\S]*?)```/g)].flatMap((match) => match[1]!.split("\n"));

test("states the two commands at the top", () => {
  expect(readme.slice(0, 600)).toContain("npm ci && npm start");
  expect(readme.slice(0, 600)).toContain("npm ci && npm test");
});

test("shows the gate example as it stands in examples/, in at most 20 lines", () => {
  const example = readFileSync(new URL("examples/embed.mjs", root), "utf8");
  const shown = /<!-- example:embed -->\s+```js\n([\s\S]*?)```/.exec(readme)?.[1];
  expect(shown).toBe(example);
  expect(example.trim().split("\n").length).toBeLessThanOrEqual(20);
});

test("links only to files that are there", () => {
  const links = [...readme.matchAll(/\]\(([^)#]+)\)/g)]
    .map((match) => match[1]!)
    .filter((link) => !link.includes("://"));
  expect(links.length).toBeGreaterThan(5);
  expect(links.filter((link) => !existsSync(new URL(link, root)))).toEqual([]);
});

test("every postern command in it exists, with the options it is given", () => {
  const commands = shell
    .flatMap((line) => [...line.matchAll(/(?:^|\(|\s)postern ((?:[a-z]+ ){1,2}[^|)]*)/g)])
    .map(([, rest]) => rest!);
  expect(commands.length).toBeGreaterThan(10);
  for (const command of commands) {
    const words = command.trim().split(/\s+/);
    // some have no verb
    const isAlone = words[1] === undefined || words[1].startsWith("-") || alone.has(words[0]!);
    const names = words.slice(0, isAlone ? 1 : 2);
    const { stdout, status } = spawnSync(process.execPath, [executable, ...names, "--help"], { encoding: "utf8" });
    const options = words.filter((word) => word.startsWith("--"));
    const missing = options.filter((option) => !new RegExp(`${option}\\b`).test(stdout));
    expect([command, status, missing]).toEqual([command, 0, []]);
    expect(stdout).toContain(`Usage: postern ${names.join(" ")}`);
  }
});

test("every npm script in it exists", () => {
  const { scripts } = JSON.parse(readFileSync(new URL("package.json", root), "utf8")) as {
    scripts: Record<string, string>;
  };
  const named = [...readme.matchAll(/npm (?:run ([a-z:]+)|(start|test))/g)].map(([, script, own]) => script ?? own!);
  expect(named).toContain("build");
  expect(named.filter((name) => scripts[name] === undefined)).toEqual([]);
});
