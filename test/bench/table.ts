/**
 * Tables as Markdown, aligned, so that what is printed can be kept as it is.
 */
import { median, type Measured } from "./rounds.ts";

/** Prints a table; the first row is the head. Columns after the first are right-aligned unless they are prose. */
export function printTable(rows: readonly (readonly string[])[], prose: readonly number[] = [0]): void {
  const head = rows[0] ?? [];
  const widths = head.map((_, column) => Math.max(3, ...rows.map((row) => (row[column] ?? "").length)));
  const isProse = (column: number): boolean => prose.includes(column);
  const toLine = (row: readonly string[]): string => {
    const cells = widths.map((width, column) => {
      const text = row[column] ?? "";
      return isProse(column) ? text.padEnd(width) : text.padStart(width);
    });
    return `| ${cells.join(" | ")} |`;
  };
  const rule = widths.map((width, column) => (isProse(column) ? "-".repeat(width) : `${"-".repeat(width - 1)}:`));
  console.log([toLine(head), `| ${rule.join(" | ")} |`, ...rows.slice(1).map(toLine)].join("\n"));
  console.log();
}

export function printHeading(text: string): void {
  console.log(`## ${text}\n`);
}

export function printNote(text: string): void {
  console.log(`${text}\n`);
}

/** CPU per operation as median and, in brackets, the least and the most. */
export function formatCpu({ cpu }: Measured, digits = 0): string {
  const [middle, least, most] = [median(cpu), Math.min(...cpu), Math.max(...cpu)].map((value) => value.toFixed(digits));
  return `${middle} (${least}–${most})`;
}

export function formatRate({ rates }: Measured): string {
  return median(rates).toFixed(0);
}

/** Whether a figure is within its goal, in words. */
export function formatGoal(value: number, goal: number, unit = ""): string {
  return `goal ≤ ${goal}${unit}: ${value <= goal ? "met" : "not met"}`;
}

/** The same where more is better. */
export function formatLeast(value: number, goal: number): string {
  return `goal ≥ ${goal}: ${value >= goal ? "met" : "not met"}`;
}
