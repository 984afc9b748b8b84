/**
 * How rows go that have expired, in the tables that every token request writes to: a window moves over all rows, round and
 * round, so far with every so many new ones. So there need be no index by expiry, which would cost more than the row.
 */
import { statement } from "../sqlite/database.ts";
import type { Registry } from "./registry.ts";

/** A table of numbered rows that expire, by the columns `number` and `exp`. */
export interface Expiring {
  readonly table: string;
  /** The columns of rows that have gone which somebody wants to know; default none. */
  readonly wanted?: string;
}

/** Four rows are looked at for each new one, in few steps: a statement that finds nothing costs as much as a row. */
const everyRows = 32;
const length = 128;

/**
 * Makes what is to be called before each new row, in its transaction: it deletes those in the window that expired before a
 * time, in seconds, and gives what is wanted of them. Where the window stands is not kept, for it does not matter where it begins.
 */
export function createMovingWindow<Row = never>({ table, wanted }: Expiring): (r: Registry, before: number) => Row[] {
  const places = new WeakMap<Registry, { added: number; position: number }>();
  const last = `SELECT number FROM ${table} WHERE number > ? ORDER BY number LIMIT 1 OFFSET ${length - 1}`;
  const remove = `DELETE FROM ${table} WHERE number > ? AND number <= ? AND exp < ?`;
  return (r, before) => {
    let at = places.get(r);
    if (at === undefined) places.set(r, (at = { added: 0, position: 0 }));
    if (at.added++ % everyRows !== 0) return [];
    const end = statement<number>(r.db, last).pluck().get(at.position);
    const range = [at.position, end ?? Number.MAX_SAFE_INTEGER, before];
    // at the end it starts again, or it would follow the new rows for ever
    at.position = end ?? 0;
    if (wanted !== undefined) return statement<Row>(r.db, `${remove} RETURNING ${wanted}`).all(range);
    statement(r.db, remove).run(range);
    return [];
  };
}
