import { describe, expect, test } from "vitest";
import { storeSchema } from "../../broker/mqtt/store/schema.ts";
import { openDatabase } from "../../broker/registry/database.ts";
import { openFile, type Database } from "../../broker/sqlite/database.ts";
import { copySchema } from "../../broker/trust/copy-schema.ts";
import { readText } from "./blocks.ts";

/** Tables and their columns as the document has them: a heading `### \`table\`` and the first cell of each row below it. */
function readDescribed(text: string): Record<string, string[]> {
  const sections = text.split(/^### /m).slice(1);
  return Object.fromEntries(
    sections.map((section) => {
      const name = /^`([a-z_]+)`\n/.exec(section)?.[1] ?? section.split("\n", 1)[0]!;
      return [name, [...section.matchAll(/^\| +`([a-z_]+)` +\|/gm)].map(([, column]) => column!).toSorted()];
    }),
  );
}

/** Tables and columns of a database that was just migrated. */
function readSchema(db: Database): Record<string, string[]> {
  try {
    const tables = db
      .prepare(`SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'`)
      .pluck()
      .all() as string[];
    const columns = db.prepare(`SELECT name FROM pragma_table_info(?)`).pluck();
    return Object.fromEntries(tables.map((table) => [table, (columns.all(table) as string[]).toSorted()]));
  } finally {
    db.close();
  }
}

/** The part of the document below a heading of the second level. */
function readPart(heading: string): string {
  const part = readText("docs/storage.md")
    .split(/^## /m)
    .find((text) => text.startsWith(`${heading}\n`));
  if (part === undefined) throw new Error(`docs/storage.md has no part ${heading}`);
  return part;
}

const databases: Readonly<Record<string, () => Database>> = {
  "The registry": () => openDatabase(":memory:"),
  "The store": () => openFile(":memory:", storeSchema),
  "The copy": () => openFile(":memory:", copySchema),
};

describe.each(Object.keys(databases))("docs/storage.md: %s", (heading) => {
  const described = readDescribed(readPart(heading));
  const schema = readSchema(databases[heading]!());

  test("names every table, and no other", () => {
    expect(Object.keys(described).toSorted()).toEqual(Object.keys(schema).toSorted());
    expect(Object.keys(schema).length).toBeGreaterThan(5);
  });

  test.each(Object.keys(schema))("names every column of %s, and no other", (table) => {
    expect(described[table]).toEqual(schema[table]);
  });
});
