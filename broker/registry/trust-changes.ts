/**
 * What changed of that which a gate must know, in the order in which it changed: what a broker elsewhere follows.
 *
 * A row says that something is not what it was, not how it was: whoever asks is given what it is now, so that what changed
 * twice is told once and a broker that knows nothing reads everything by starting before the first row.
 *
 * A cursor names the run of this program in which it was given out, beside its place. After a restore from a backup the
 * runs that the backup has not seen are unknown, and the one that it was made in ends where the next begins: a cursor from
 * beyond that is told to start again, also when the numbers have been reached once more.
 */
import { randomBytes } from "node:crypto";
import { Refusal } from "../../shared/refusal.ts";
import { statement } from "../sqlite/database.ts";
import type { Registry } from "./registry.ts";

/** What can change. A client's name is its id, an api's its audience, a key's its kid, an authority's its id. */
export type ChangeKind = "key" | "api" | "client" | "certificate" | "project" | "authority";

/** Something that is not what it was. */
export interface TrustChange {
  readonly kind: ChangeKind;
  readonly name: string;
}

/** A part of what changed, oldest first. */
export interface TrustChanges {
  /** The cursor was none of ours: what follows starts from the beginning. */
  readonly isReset: boolean;
  readonly changes: readonly TrustChange[];
  /** Where the next part starts. */
  readonly cursor: string;
  readonly more: boolean;
}

/** Runs that are remembered; a cursor of an older one starts again. */
const runsKept = 1000;
const runs = new WeakMap<Registry, string>();

/** Says within a change that something is not what it was. */
export function noteChange(r: Registry, kind: ChangeKind, name: string): void {
  // a new row in place of the old one, so that it comes after all others
  statement(r.db, `INSERT OR REPLACE INTO trust_change (kind, name) VALUES (?, ?)`).run(kind, name);
}

/** Begins a run: call it once when the registry is opened. */
export function beginRun(r: Registry): void {
  const id = randomBytes(9).toString("base64url");
  r.change(() => {
    statement(r.db, `INSERT INTO run (id, since, started_at) VALUES (?, ?, ?)`).run(id, newest(r), r.nowSeconds());
    statement(r.db, `DELETE FROM run WHERE number <= (SELECT max(number) FROM run) - ${runsKept}`).run();
  });
  runs.set(r, id);
}

/** The run of this program on this registry: another after each start, also on a copy of the file. */
export function currentRun(r: Registry): string {
  return runs.get(r)!;
}

/**
 * That the disk takes a row: that of the present run, there and back, since SQLite writes no row that is as it was. Throws
 * `storage.failed`.
 */
export function assertWritable(r: Registry): void {
  r.append(() => {
    statement(r.db, `UPDATE run SET started_at = started_at + 1 WHERE id = ?`).run(currentRun(r));
    statement(r.db, `UPDATE run SET started_at = started_at - 1 WHERE id = ?`).run(currentRun(r));
  });
}

/** Whether {@link assertWritable} holds. */
export function isWritable(r: Registry): boolean {
  try {
    assertWritable(r);
    return true;
  } catch (error) {
    if (error instanceof Refusal && error.reason === "storage.failed") return false;
    throw error;
  }
}

/** What changed after the cursor, at most so much; from the beginning for a cursor that is none of ours. */
export function readChanges(r: Registry, cursor: string, most: number): TrustChanges {
  const known = placeOf(r, cursor);
  const rows = statement<{ seq: number; kind: ChangeKind; name: string }>(
    r.db,
    `SELECT seq, kind, name FROM trust_change WHERE seq > ? ORDER BY seq LIMIT ?`,
  ).all(known ?? 0, most + 1);
  const changes = rows.slice(0, most);
  const place = changes.at(-1)?.seq ?? known ?? 0;
  return {
    isReset: known === undefined,
    changes: changes.map(({ kind, name }) => ({ kind, name })),
    cursor: `${currentRun(r)}.${place}`,
    more: rows.length > most,
  };
}

/** The place that a cursor names, if it is on the way that led here. */
function placeOf(r: Registry, cursor: string): number | undefined {
  const [, id, digits] = /^([\w-]{12})\.(\d{1,15})$/.exec(cursor) ?? [];
  if (id === undefined || digits === undefined) return undefined;
  const run = statement<{ number: number }>(r.db, `SELECT number FROM run WHERE id = ?`).get(id);
  if (run === undefined) return undefined;
  const next = statement<number>(r.db, `SELECT since FROM run WHERE number > ? ORDER BY number LIMIT 1`).pluck();
  const end = next.get(run.number) ?? newest(r);
  return Number(digits) <= end ? Number(digits) : undefined;
}

function newest(r: Registry): number {
  const sql = `SELECT seq FROM sqlite_sequence WHERE name = 'trust_change'`;
  return statement<number>(r.db, sql).pluck().get() ?? 0;
}
