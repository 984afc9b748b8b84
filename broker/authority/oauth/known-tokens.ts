/**
 * What tokens say that were asked about before and are on record, so that a question about one of them reads neither the
 * token nor its record again.
 *
 * Only what never changes is kept. Whether the token is good, and whom that concerns, is found out anew at each question.
 */
import type { Claims } from "../../../shared/claims.ts";
import type { Registry } from "../../registry/registry.ts";

/** A token that is on record. */
export interface KnownToken {
  readonly kid: string | undefined;
  readonly claims: Claims;
  /** That by which it would be on the list of revoked tokens. */
  readonly hash: Uint8Array;
}

/** Characters of tokens in one of two halves; all of it is a few MB. */
const halfLength = 1024 * 1024;

/** What was asked for since the last turn, and before it; who is in neither goes. */
interface Halves {
  recent: Map<string, KnownToken>;
  former: Map<string, KnownToken>;
  recentLength: number;
}

const known = new WeakMap<Registry, Halves>();

/** What is known of a token by its text. */
export function recallToken(r: Registry, presented: string | Uint8Array): KnownToken | undefined {
  const halves = known.get(r);
  if (halves === undefined || typeof presented !== "string") return undefined;
  const found = halves.recent.get(presented);
  if (found !== undefined) return found;
  const before = halves.former.get(presented);
  if (before !== undefined) keepToken(r, presented, before);
  return before;
}

/** Keeps what a token says that is on record; one that came as bytes is not kept. */
export function keepToken(r: Registry, presented: string | Uint8Array, token: KnownToken): void {
  if (typeof presented !== "string") return;
  let halves = known.get(r);
  if (halves === undefined) known.set(r, (halves = { recent: new Map(), former: new Map(), recentLength: 0 }));
  halves.recentLength += presented.length;
  if (halves.recentLength > halfLength) {
    Object.assign(halves, { recent: new Map(), former: halves.recent, recentLength: presented.length });
  }
  // a copy, because a part of a text keeps all of it, here the body of a request
  halves.recent.set(Buffer.from(presented).toString(), token);
}
