/**
 * Blocks of a document that a test computes: a fenced block after the comment `<!-- block: name -->`. With UPDATE_DOCS=1 the
 * document is rewritten; otherwise a byte that differs is a failure.
 */
import { readFileSync, writeFileSync } from "node:fs";

const root = new URL("../../", import.meta.url);
const pattern = /(<!-- block: ([a-z0-9.-]+) -->\n\n```[a-z]*\n)((?:(?!```).*\n)*)(```)/g;

/** The text of a file of the repository. */
export function readText(path: string): string {
  return readFileSync(new URL(path, root), "utf8");
}

/** The computed blocks of a document as they stand in it, by name. Throws for a name that stands there twice. */
export function readBlocks(text: string): Map<string, string> {
  const blocks = new Map<string, string>();
  for (const [, , name, content] of text.matchAll(pattern)) {
    if (blocks.has(name!)) throw new Error(`block ${name} stands there twice`);
    blocks.set(name!, content!.replace(/\n$/, ""));
  }
  return blocks;
}

/** The names of all markers, also of those that no fenced block follows. */
export function readMarkers(text: string): string[] {
  return [...text.matchAll(/<!-- block: (\S+) -->/g)].map(([, name]) => name!);
}

/** The document with these contents in its blocks. */
export function writeBlocks(text: string, contents: ReadonlyMap<string, string>): string {
  return text.replace(pattern, (whole, head: string, name: string, _content: string, tail: string) => {
    const content = contents.get(name);
    return content === undefined ? whole : `${head}${content}\n${tail}`;
  });
}

/** Rewrites a file of the repository when UPDATE_DOCS=1 asks for it. */
export function updateBlocks(path: string, contents: ReadonlyMap<string, string>): void {
  if (process.env["UPDATE_DOCS"] !== "1") return;
  writeFileSync(new URL(path, root), writeBlocks(readText(path), contents));
}
