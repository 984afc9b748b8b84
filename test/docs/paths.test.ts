import { existsSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { readText } from "./blocks.ts";

const root = new URL("../../", import.meta.url).pathname;
const documents = [
  "SECURITY.md",
  "CONTRIBUTING.md",
  "CHANGELOG.md",
  ...["architecture", "protocol", "storage", "conformance", "operating"].map((name) => `docs/${name}.md`),
  ...readdirSync(join(root, "docs/decisions")).map((name) => `docs/decisions/${name}`),
];

/** Paths of the repository that stand in back quotes. */
function readPaths(text: string): string[] {
  const named = /`((?:shared|agent|broker|cli|demo|test|docs|examples|scripts|\.ci)\/[A-Za-z0-9_./-]*)`/g;
  return [...text.matchAll(named)].map(([, path]) => path!);
}

/** The heading of a section as the part of a link after `#`. */
function toAnchor(heading: string): string {
  return heading
    .toLowerCase()
    .replaceAll(/[^a-z0-9 _-]/g, "")
    .replaceAll(" ", "-");
}

describe.each(documents)("%s", (document) => {
  const text = readText(document);

  test("names files that exist", () => {
    expect(readPaths(text).filter((path) => !existsSync(join(root, path)))).toEqual([]);
  });

  test("links to what is there", () => {
    const links = [...text.matchAll(/\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)/g)];
    const broken = links.filter(([, path, anchor]) => {
      const target = path === "" ? document : join(dirname(document), path!);
      if (!existsSync(join(root, target))) return true;
      if (anchor === undefined) return false;
      const headings = [...readText(target).matchAll(/^#+ (.+)$/gm)].map(([, heading]) => toAnchor(heading!));
      return !headings.includes(anchor);
    });
    expect(broken.map(([link]) => link)).toEqual([]);
  });
});

describe("docs/conformance.md", () => {
  const rows = readText("docs/conformance.md")
    .split("\n")
    .filter((line) => /^\| (RFC|MQTT)/.test(line))
    .map((line) => line.split("|").slice(1, -1));

  test("has a file and a test for each clause", () => {
    expect(rows.length).toBeGreaterThan(50);
    const lacking = rows.filter(([, , files = "", tests = ""]) => {
      const named = readPaths(tests);
      return readPaths(files).length === 0 || named.length === 0 || !named.every((path) => path.endsWith(".test.ts"));
    });
    expect(lacking).toEqual([]);
  });
});

describe("docs/decisions", () => {
  const names = readdirSync(join(root, "docs/decisions")).toSorted();

  test("are numbered without a gap, and each says context, decision and consequences", () => {
    expect(names.map((name) => Number(name.slice(0, 4)))).toEqual(names.map((_, index) => index + 1));
    for (const name of names) {
      const text = readText(`docs/decisions/${name}`);
      const parts = ["# ", "**Context.**", "**Decision.**", "**Consequences.**"];
      expect([name, parts.every((part) => text.includes(part))]).toEqual([name, true]);
    }
  });

  test("give a reason for each package that the program imports", () => {
    const { dependencies } = JSON.parse(readText("package.json")) as { dependencies: Record<string, string> };
    const rowsOf = [...readText("docs/decisions/0011-dependencies.md").matchAll(/^\| +`([^`]+)` +\|/gm)];
    const explained = rowsOf.map(([, name]) => name!).toSorted();
    expect(explained).toEqual(Object.keys(dependencies).toSorted());
  });
});
