/**
 * The updates of the list of revoked tokens, kept for each requester by itself (RFC 9770, section 6.2): an administrator sees
 * the whole list, brokers the tokens for apis of kind mqtt, an api those for its audience, a client its own.
 *
 * A requester's updates are numbered from 0 in the order in which they came, and the numbers never start again; what the
 * standard calls an index is cut from them where an answer is made. Only the newest are kept.
 */
import { HASH_BYTES, type TrlPatch } from "../../shared/trl.ts";
import { statement } from "../sqlite/database.ts";
import { findApi } from "./apis.ts";
import type { Registry } from "./registry.ts";

/** Whose view of the list: that of an administrator, of the brokers, of the api with an audience, or of one client. */
export type TrlView = "all" | "mqtt" | `api:${string}` | `client:${string}`;

/** The constants of the list, the same for every requester. */
export interface TrlConstants {
  /** MAX_N: updates that are kept. */
  readonly maxN: number;
  /** MAX_DIFF_BATCH: updates in one answer. */
  readonly maxDiffBatch: number;
  /** MAX_INDEX: the highest number of an update, after which comes 0. */
  readonly maxIndex: number;
}

/**
 * What applies. A thousand updates let a broker be away for as many revocations before it must read the whole list, and cost
 * a client that loses a token a day 80 kB. An answer of two hundred holds 7 MiB at most, since an update names at most a
 * thousand tokens. The highest index is the one that RFC 9770 recommends in section 5.
 */
export const trlConstants: TrlConstants = { maxN: 1000, maxDiffBatch: 200, maxIndex: 2 ** 32 - 1 };
const maxTokens = 1000;
/** Stands before the first update of an api: it has asked. */
const beginning = -1;

/** A token that comes onto the list or leaves it: its hash (33 bytes), whom it was issued to and for which api. */
export interface ListedToken {
  readonly hash: Uint8Array;
  readonly client: string;
  readonly audience: string;
}

/** The updates of one requester that are kept, by their numbers. */
export interface UpdateCollection {
  /** The number of the oldest. */
  readonly first: number;
  /** The number of the newest. */
  readonly last: number;
  /** Those from one number to another, both included, oldest first. */
  read(from: number, to: number): readonly TrlPatch[];
}

/**
 * Says within a change what came onto the list and what left it, to each requester that it concerns: one update, or several
 * where it is many tokens.
 */
export function noteUpdate(
  r: Registry,
  { removed, added }: { readonly removed: readonly ListedToken[]; readonly added: readonly ListedToken[] },
  constants: TrlConstants = trlConstants,
): void {
  const known = new Map<string, readonly TrlView[]>();
  const viewsOf = ({ client, audience }: ListedToken): readonly TrlView[] => {
    let views = known.get(audience);
    if (views === undefined) known.set(audience, (views = apiViews(r, audience)));
    return ["all", `client:${client}`, ...views];
  };
  const all = [
    ...removed.map((token) => ({ token, isAdded: false })),
    ...added.map((token) => ({ token, isAdded: true })),
  ];
  for (let at = 0; at < all.length; at += maxTokens) {
    const items = new Map<TrlView, { readonly removed: Uint8Array[]; readonly added: Uint8Array[] }>();
    for (const { token, isAdded } of all.slice(at, at + maxTokens)) {
      if (token.hash.length !== HASH_BYTES) throw new TypeError(`a hash has ${HASH_BYTES} bytes`);
      for (const view of viewsOf(token)) {
        let item = items.get(view);
        if (item === undefined) items.set(view, (item = { removed: [], added: [] }));
        (isAdded ? item.added : item.removed).push(token.hash);
      }
    }
    for (const [view, item] of items) append(r, view, item, constants.maxN);
  }
}

/**
 * Keeps the updates of an api from its first question on, so that apis which nobody asks for cost nothing. Returns whether that
 * was it; what came before is on the list alone. All others' are kept in any case.
 */
export function keepUpdates(r: Registry, view: TrlView): boolean {
  if (!view.startsWith("api:") || isKept(r, view)) return false;
  const begin = `INSERT INTO trl_update (requester, position, removed, added) VALUES (?, ${beginning}, x'', x'')`;
  r.append(() => statement(r.db, begin).run(view));
  return true;
}

/** The number of the newest update that the view has ever had; nothing where there was none. */
export function newestUpdate(r: Registry, view: TrlView): number | undefined {
  const newest = statement<number | null>(
    r.db,
    `SELECT max(position) FROM trl_update WHERE requester = ? AND position > ${beginning}`,
  ).pluck();
  return newest.get(view) ?? undefined;
}

/** The updates that are kept for a view; nothing where there never was one. */
export function updatesOf(r: Registry, view: TrlView): UpdateCollection | undefined {
  const bounds = statement<{ first: number | null; last: number | null }>(
    r.db,
    `SELECT (SELECT min(position) FROM trl_update WHERE requester = @view AND position > ${beginning}) AS first,
       (SELECT max(position) FROM trl_update WHERE requester = @view AND position > ${beginning}) AS last`,
  ).get({ view });
  if (bounds?.first == null || bounds.last === null) return undefined;
  const { first, last } = bounds;
  return {
    first,
    last,
    read: (from, to) =>
      statement<TrlPatch>(
        r.db,
        `SELECT removed, added FROM trl_update WHERE requester = ? AND position BETWEEN ? AND ? ORDER BY position`,
      ).all(view, from, to),
  };
}

/** The views that an api's tokens are in, beside that of their client. */
function apiViews(r: Registry, audience: string): readonly TrlView[] {
  const views: TrlView[] = findApi(r, audience)?.kind === "mqtt" ? ["mqtt"] : [];
  return isKept(r, `api:${audience}`) ? [...views, `api:${audience}`] : views;
}

function isKept(r: Registry, view: TrlView): boolean {
  return statement(r.db, `SELECT 1 FROM trl_update WHERE requester = ? LIMIT 1`).get(view) !== undefined;
}

/** The oldest go, the newest always stays, so that the numbers go on from it. */
function append(
  r: Registry,
  view: TrlView,
  { removed, added }: { readonly removed: readonly Uint8Array[]; readonly added: readonly Uint8Array[] },
  maxN: number,
): void {
  const position = (newestUpdate(r, view) ?? -1) + 1;
  statement(r.db, `INSERT INTO trl_update (requester, position, removed, added) VALUES (?, ?, ?, ?)`).run(
    view,
    position,
    Buffer.concat(removed),
    Buffer.concat(added),
  );
  statement(r.db, `DELETE FROM trl_update WHERE requester = ? AND position <= ?`).run(view, position - maxN);
}
