/**
 * How rows go that have expired, in the tables that every token request writes to: a window moves over all rows, round and
 * round, so far with every so many new ones. So there need be no index by expiry, which would cost more than the row.
 */
import { statement } from "../sqlite/database.ts";
import type { Registry } from "./registry.ts";

/** A table of which rows expire, by the column `exp`. */
export interface Expiring {
  readonly table: string;
  /** The columns of its key, in order. */
  readonly key: readonly string[];
  /** Less than every key. */
  readonly start: readonly (number | string | Uint8Array)[];
}

/** Four rows are looked at for each new one, in few steps: a statement that finds nothing costs as much as a row. */
const everyRows = 32;
const length = 128;

/**
 * Makes what is to be called before each new row, in its transaction: it deletes those in the window that expired before a
 * time, in seconds. Where the window stands is not kept, for it does not matter where it begins.
 */
export function createMovingWindow({ table, key, start }: Expiring): (r: Registry, before: number) => void {
  const places = new WeakMap<Registry, { added: number; position: readonly unknown[] }>();
  const columns = key.join(", ");
  const marks = key.map(() => "?").join(", ");
  const rest = `FROM ${table} WHERE (${columns}) > (${marks})`;
  return (r, before) => {
    let at = places.get(r);
    if (at === undefined) places.set(r, (at = { added: 0, position: start }));
    if (at.added++ % everyRows !== 0) return;
    const last = `SELECT ${columns} ${rest} ORDER BY ${columns} LIMIT 1 OFFSET ${length - 1}`;
    const end = statement(r.db, last).raw().get(at.position) as unknown[] | undefined;
    if (end === undefined) statement(r.db, `DELETE ${rest} AND exp < ?`).run(at.position, before);
    else statement(r.db, `DELETE ${rest} AND (${columns}) <= (${marks}) AND exp < ?`).run(at.position, end, before);
    // at the end it starts again, or it would follow the new rows for ever
    at.position = end ?? start;
  };
}
