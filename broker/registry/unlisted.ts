/**
 * Tokens that died with something else, a client, a signing key or a time of a project, on their way to the list.
 *
 * What kills them is the mark on that something; the list repeats it for those who follow nothing but the list. So the
 * first of them are listed in the transaction that sets the mark, and the rest in slices afterwards. What is left to do
 * is a row, so that a restart goes on where it was.
 */
import { statement } from "../sqlite/database.ts";
import { listIssued, type IssuedRow, type TokenSelection } from "./issued.ts";
import type { Registry } from "./registry.ts";
import { listTokens, type RevokedToken } from "./revoked-tokens.ts";

/** So many rows of `issued` are looked at in one transaction. */
const sliceLength = 1_000;

/**
 * Puts the selected tokens on the list, and these others; call it within the change that set the marks. Beyond the first
 * slice they are left to {@link listRest}; `others` are not. Returns how many came on the list.
 */
export function listSelected(
  r: Registry,
  selections: readonly TokenSelection[],
  others: readonly RevokedToken[] = [],
): number {
  const found = [...others];
  let room = sliceLength;
  for (const selection of selections) {
    const part = readPart(r, selection, 0, room);
    room -= part.looked;
    found.push(...part.tokens);
    if (part.isLast) continue;
    statement(r.db, `INSERT INTO unlisted (kind, name, bound, position) VALUES (?, ?, ?, ?)`).run(
      selection.kind,
      selection.name,
      selection.bound,
      part.position,
    );
  }
  return listTokens(r, found);
}

/** Lists a slice of what is left, in a transaction of its own. Returns whether there is more. */
export function listRest(r: Registry): boolean {
  const isAny = (): boolean => statement(r.db, `SELECT 1 FROM unlisted LIMIT 1`).get() !== undefined;
  if (!isAny()) return false;
  return r.change(() => {
    const found: RevokedToken[] = [];
    const oldest = statement<Unlisted>(r.db, `SELECT * FROM unlisted ORDER BY seq LIMIT 1`);
    for (let room = sliceLength, next = oldest.get(); next !== undefined && room > 0; next = oldest.get()) {
      const part = readPart(r, next, next.position, room);
      // one that has nothing left costs a look as well
      room -= part.looked + 1;
      found.push(...part.tokens);
      if (part.isLast) statement(r.db, `DELETE FROM unlisted WHERE seq = ?`).run(next.seq);
      else statement(r.db, `UPDATE unlisted SET position = ? WHERE seq = ?`).run(part.position, next.seq);
    }
    listTokens(r, found);
    return isAny();
  });
}

interface Unlisted extends TokenSelection {
  readonly seq: number;
  readonly position: number;
}

function readPart(
  r: Registry,
  { kind, name, bound }: TokenSelection,
  after: number,
  limit: number,
): {
  readonly tokens: readonly RevokedToken[];
  readonly looked: number;
  readonly position: number;
  readonly isLast: boolean;
} {
  if (limit <= 0) return { tokens: [], looked: 0, position: after, isLast: false };
  const rows = listIssued(r, { after, limit, client: kind === "client" ? name : undefined });
  const isSelected: Readonly<Record<TokenSelection["kind"], (row: IssuedRow) => boolean>> = {
    client: ({ number }) => number <= bound,
    key: ({ kid }) => kid === name,
    project: ({ client, issuedAt }) => issuedAt < bound && client.startsWith(`${name}.`),
  };
  return {
    tokens: rows.filter(isSelected[kind]),
    looked: rows.length,
    position: rows.at(-1)?.number ?? after,
    isLast: rows.length < limit,
  };
}
