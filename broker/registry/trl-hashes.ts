/**
 * The list of revoked tokens itself, as one requester sees it (RFC 9770, section 6.1).
 *
 * A list of a million is 33 MB. It crosses from SQLite many hashes at a time, lets others have their turn in between, and is
 * held once for all who are being sent it.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import { HASH_BYTES } from "../../shared/trl.ts";
import { statement } from "../sqlite/database.ts";
import type { Registry } from "./registry.ts";
import { newestUpdate, type TrlView } from "./trl-updates.ts";

/** A view of the list at one moment. */
export interface ListedHashes {
  /** The number of the newest update of the view; nothing where there never was one. */
  readonly newest: number | undefined;
  readonly count: number;
  /** Packed, some at a time. */
  readonly slices: readonly Uint8Array[];
}

const sliceHashes = 20_000;
/** A list that changes all the time is at last read at one go. */
const attempts = 3;
const held = new WeakMap<Registry, Map<TrlView, WeakRef<ListedHashes>>>();

/** Reads the view as it was at one moment, which may be a little later. */
export async function readListedHashes(r: Registry, view: TrlView): Promise<ListedHashes> {
  for (let attempt = 1; ; attempt++) {
    const newest = newestUpdate(r, view);
    const known = held.get(r)?.get(view)?.deref();
    if (known !== undefined && known.newest === newest) return known;
    const slices: Uint8Array[] = [];
    for (let row = readSlice(r, view, empty); row?.hashes != null; row = readSlice(r, view, row.last)) {
      slices.push(row.hashes);
      if (row.hashes.length < sliceHashes * HASH_BYTES) break;
      if (attempt < attempts) await nextTurn();
    }
    // what changed in between is not half of it in the answer
    if (newestUpdate(r, view) === newest) return hold(r, view, { newest, count: countOf(slices), slices });
  }
}

/** Whether there is anything in the view. */
export function isAnyListed(r: Registry, view: TrlView): boolean {
  return readSlice(r, view, empty, 1)?.hashes != null;
}

const empty = new Uint8Array(0);

interface Slice {
  readonly hashes: Uint8Array | null;
  readonly last: Uint8Array;
}

/** The order by hash is that of the primary key, and within a client or an audience that of the index. */
function readSlice(r: Registry, view: TrlView, after: Uint8Array, most = sliceHashes): Slice | undefined {
  const [where, ...values] = condition(view);
  const slice = statement<Slice>(
    r.db,
    `SELECT CAST(group_concat(token_hash, '') AS BLOB) AS hashes, max(token_hash) AS last FROM
       (SELECT token_hash FROM revoked_token WHERE token_hash > ? AND ${where} ORDER BY token_hash LIMIT ${most})`,
  );
  return slice.get(after, ...values);
}

function condition(view: TrlView): [where: string, ...values: string[]] {
  if (view === "all") return ["true"];
  if (view === "mqtt") return ["audience IN (SELECT audience FROM api WHERE kind = 'mqtt')"];
  const [column, name] = [view.slice(0, view.indexOf(":")), view.slice(view.indexOf(":") + 1)];
  return [column === "api" ? "audience = ?" : "client = ?", name];
}

function countOf(slices: readonly Uint8Array[]): number {
  return slices.reduce((sum, slice) => sum + slice.length, 0) / HASH_BYTES;
}

function hold(r: Registry, view: TrlView, hashes: ListedHashes): ListedHashes {
  // the lists of clients are short and many
  if (!view.startsWith("client:")) {
    const views = held.get(r) ?? new Map<TrlView, WeakRef<ListedHashes>>();
    held.set(r, views.set(view, new WeakRef(hashes)));
  }
  return hashes;
}
