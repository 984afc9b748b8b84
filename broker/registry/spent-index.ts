/**
 * Where in the table of assertions that were used one stands, found in memory: an index in the file would have to be on the
 * ids, which are random, and then every token would write a page of its own.
 *
 * It is made of the table at the first use after a start, and is what the table is from then on, in a transaction too: what
 * that adds and removes is taken back here if it is undone. It knows of each row no more than 32 bits, so whoever finds one
 * here asks the row itself.
 */
import { hash, randomBytes } from "node:crypto";
import { statement, type Database } from "../sqlite/database.ts";
import type { Registry } from "./registry.ts";

/** What was used: whose, and its `cti` or `jti`. */
export interface Spent {
  readonly client: string;
  readonly id: Uint8Array;
}

/** A row of the table. */
export interface SpentRow extends Spent {
  readonly number: number;
}

const indexes = new WeakMap<Database, Map<number, number | number[]>>();
/** So that nobody makes ids that look alike here. */
const salt = randomBytes(8).toString("hex");

/** One is looked for and then added. */
let last: (Spent & { readonly mark: number }) | undefined;

/** Whether it is in the table. */
export function isOnRecord(r: Registry, spent: Spent): boolean {
  const found = indexOf(r).get(markOf(spent));
  if (found === undefined) return false;
  const read = statement<Spent>(r.db, `SELECT client, id FROM assertion WHERE number = ?`);
  return toNumbers(found).some((number) => {
    const row = read.get(number);
    return row?.client === spent.client && Buffer.compare(row.id, spent.id) === 0;
  });
}

/** Says within a transaction that a row was added. */
export function noteAdded(r: Registry, row: SpentRow): void {
  const [index, mark] = [indexOf(r), markOf(row)];
  add(index, mark, row.number);
  r.ifUndone(() => remove(index, mark, row.number));
}

/** Says within a transaction that rows were deleted. */
export function noteRemoved(r: Registry, rows: readonly SpentRow[]): void {
  const index = indexOf(r);
  for (const row of rows) {
    const mark = markOf(row);
    remove(index, mark, row.number);
    r.ifUndone(() => add(index, mark, row.number));
  }
}

/** How many rows it knows of. */
export function countOnRecord(r: Registry): number {
  return [...indexOf(r).values()].flatMap(toNumbers).length;
}

function indexOf(r: Registry): Map<number, number | number[]> {
  const known = indexes.get(r.db);
  if (known !== undefined) return known;
  const index = new Map<number, number | number[]>();
  for (const row of statement<SpentRow>(r.db, `SELECT number, client, id FROM assertion`).iterate()) {
    add(index, markOf(row), row.number);
  }
  indexes.set(r.db, index);
  return index;
}

function add(index: Map<number, number | number[]>, mark: number, number: number): void {
  const before = index.get(mark);
  index.set(mark, before === undefined ? number : [...toNumbers(before), number]);
}

function remove(index: Map<number, number | number[]>, mark: number, number: number): void {
  const left = toNumbers(index.get(mark) ?? []).filter((one) => one !== number);
  if (left.length === 0) index.delete(mark);
  else index.set(mark, left.length === 1 ? left[0]! : left);
}

function toNumbers(found: number | number[]): number[] {
  return typeof found === "number" ? [found] : found;
}

/** A small whole number, as the engine keeps without an object. */
function markOf({ client, id }: Spent): number {
  if (last?.id === id && last.client === client) return last.mark;
  const text = `${salt}${client}\n${Buffer.from(id.buffer, id.byteOffset, id.byteLength).toString("latin1")}`;
  const mark = Number.parseInt(hash("sha256", text, "hex").slice(0, 8), 16) | 0;
  last = { client, id, mark };
  return mark;
}
