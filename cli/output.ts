/**
 * What commands print on stdout: JSON for machines, one value a line, or short calm text for people. Nothing else is
 * written there; logs and errors go to stderr.
 */
import { printable } from "../agent/failure.ts";

/** Where a command says what came of it. */
export interface Output {
  readonly json: boolean;
  /** Prints the value as JSON, or the text. */
  print(value: unknown, text: () => string): void;
}

/** Prints JSON or text, on stdout unless told otherwise. Neither moves the cursor, whatever an answer holds. */
export function createOutput(json: boolean, write: (line: string) => void = writeLine): Output {
  return { json, print: (value, text) => write(json ? formatJson(value) : printableLines(text())) };
}

/** JSON without the control characters that may stand in it as they are. */
function formatJson(value: unknown): string {
  return JSON.stringify(value).replaceAll(/[\u007f-\u009f]/g, (c) => `\\u00${c.charCodeAt(0).toString(16)}`);
}

function printableLines(text: string): string {
  return text
    .split("\n")
    .map((line) => printable(line, Infinity))
    .join("\n");
}

function writeLine(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** Rows under headings, in columns two spaces apart; or one sentence when there are none. */
export function formatTable<Row>(
  rows: readonly Row[],
  columns: Readonly<Record<string, (row: Row) => string>>,
  whenEmpty: string,
): string {
  if (rows.length === 0) return whenEmpty;
  const names = Object.keys(columns);
  const lines = [names, ...rows.map((row) => names.map((name) => printable(columns[name]!(row), Infinity)))];
  const widths = names.map((_, column) => Math.max(...lines.map((line) => line[column]!.length)));
  return lines
    .map((line) =>
      line
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

/** `name  value` lines, values in one column. */
export function formatFacts(facts: Readonly<Record<string, string>>): string {
  const width = Math.max(...Object.keys(facts).map((name) => name.length));
  return Object.entries(facts)
    .map(([name, value]) => `${name.padEnd(width)}  ${printable(value, Infinity)}`)
    .join("\n");
}

/** A point in time for people: 2026-11-22 00:15:02 UTC. */
export function formatTime(seconds: number): string {
  const date = new Date(seconds * 1000);
  return Number.isNaN(date.getTime()) ? "never" : `${date.toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

/** The items in one line. */
export function formatList(items: readonly string[], whenEmpty = "-"): string {
  return items.length === 0 ? whenEmpty : items.join(" ");
}
