/**
 * Client assertions that were used, so that none is used twice (RFC 7523, section 3, item 7): the unique insert is the
 * check. A row is of no use once the assertion has expired and goes soon after.
 */
import { MAX_ASSERTION_ID_BYTES } from "../../shared/assertion.ts";
import { refuse } from "../../shared/refusal.ts";
import { statement } from "../sqlite/database.ts";
import type { Registry } from "./registry.ts";

/** Kept a little beyond the expiry, for a clock that is set back. */
const keptSeconds = 60;
/** With each new row at most this many old ones go. */
const prunedAtOnce = 2;

/**
 * `id` is the assertion's `cti` or `jti`, 1 to 64 bytes; `exp` is when it expires, in seconds.
 * Throws `assertion.replayed` for one that was used before and `assertion.malformed` for an id of another length.
 */
export function spendAssertion(r: Registry, clientId: string, id: Uint8Array, exp: number): void {
  if (id.length === 0 || id.length > MAX_ASSERTION_ID_BYTES)
    refuse("assertion.malformed", `an id of ${id.length} bytes`);
  r.append(() => {
    statement(
      r.db,
      `DELETE FROM assertion WHERE (client, id) IN
       (SELECT client, id FROM assertion WHERE exp < ? ORDER BY exp LIMIT ${prunedAtOnce})`,
    ).run(r.nowSeconds() - keptSeconds);
    const added = statement(
      r.db,
      `INSERT INTO assertion (client, id, exp) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`,
    ).run(clientId, id, exp);
    if (added.changes === 0) refuse("assertion.replayed", clientId);
  });
}
