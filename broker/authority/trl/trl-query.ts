/**
 * What a query of the list of revoked tokens asks, and which updates answer it (RFC 9770, sections 6 to 9): full query, diff
 * query, and the cursor extension.
 *
 * An index is the number of an update, cut to the range 0 to MAX_INDEX. Of the updates with one index at most one is held, so
 * that the newest number with the index of a cursor is the one that the cursor means.
 */
import { Refusal } from "../../../shared/refusal.ts";
import type { TrlError, TrlPatch } from "../../../shared/trl.ts";
import type { TrlConstants, UpdateCollection } from "../../registry/trl-updates.ts";

/** The parameters as they came; a list where one came several times. */
export interface TrlParameters {
  readonly diff?: unknown;
  readonly cursor?: unknown;
}

/** Where the answer to a full query stands. */
export interface FullResult {
  readonly kind: "full";
  readonly cursor: number | null;
}

/** The answer to a diff query, newest first. */
export interface DiffResult {
  readonly kind: "diff";
  readonly diffSet: readonly TrlPatch[];
  readonly cursor: number | null;
  readonly more: boolean;
}

/** A refused query. `cursor` is what the peer is told of where the list stands. */
export class TrlRefusal extends Refusal {
  readonly error: TrlError;
  readonly cursor: number | null | undefined;

  constructor(error: TrlError, detail: string, cursor?: number | null) {
    super(error, detail);
    this.error = error;
    this.cursor = cursor;
  }
}

/** Answers a query from what is held for the requester. Throws {@link TrlRefusal}. */
export function queryTrl(
  { diff, cursor }: TrlParameters,
  held: UpdateCollection | undefined,
  constants: TrlConstants,
): FullResult | DiffResult {
  const newest = held === undefined ? null : toIndex(held.last, constants);
  if (diff === undefined) {
    if (cursor !== undefined) throw new TrlRefusal("list.parameters", "cursor without diff");
    return { kind: "full", cursor: newest };
  }
  const number = readCount(diff);
  if (number === undefined) throw new TrlRefusal("list.parameter", "diff is neither 0 nor a positive number");
  const known = cursor === undefined ? undefined : readCount(cursor);
  if (cursor !== undefined && (known === undefined || known > constants.maxIndex)) {
    throw new TrlRefusal("list.parameter", "cursor is no index", newest);
  }
  if (held === undefined || newest === null) return { kind: "diff", diffSet: [], cursor: null, more: false };
  const most = number === 0 ? constants.maxN : Math.min(number, constants.maxN);
  if (known === undefined) return take(held, held.first, most, newest, constants);

  // once the numbers have gone round, every index was given out
  if (known > held.last) throw new TrlRefusal("list.cursor", "cursor is ahead of the newest update");
  const range = constants.maxIndex + 1;
  const meant = held.last - ((newest - known + range) % range);
  // it may have gone as long as the one after it is held
  if (meant < held.first - 1) return { kind: "diff", diffSet: [], cursor: null, more: true };
  return take(held, meant + 1, most, newest, constants);
}

/** Of the newest `most` updates from `from` on the oldest that go into one answer. */
function take(held: UpdateCollection, from: number, most: number, newest: number, constants: TrlConstants): DiffResult {
  const size = Math.min(held.last - from + 1, most);
  if (size === 0) return { kind: "diff", diffSet: [], cursor: newest, more: false };
  const start = held.last - size + 1;
  const end = Math.min(held.last, start + constants.maxDiffBatch - 1);
  const diffSet = held.read(start, end).toReversed();
  return { kind: "diff", diffSet, cursor: toIndex(end, constants), more: size > constants.maxDiffBatch };
}

function toIndex(position: number, { maxIndex }: TrlConstants): number {
  return position % (maxIndex + 1);
}

/** A number in decimal digits without leading zeros. */
function readCount(text: unknown): number | undefined {
  return typeof text === "string" && /^(?:0|[1-9][0-9]*)$/.test(text) ? Number(text) : undefined;
}
