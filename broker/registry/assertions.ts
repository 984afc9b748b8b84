/**
 * Client assertions and DPoP proofs that were used, so that none is used twice (RFC 7523, section 3, item 7; RFC 9449, section
 * 11.1). A row is of no use once what it speaks of has expired, and goes soon after.
 */
import { MAX_ASSERTION_ID_BYTES } from "../../shared/assertion.ts";
import { DPOP_LEEWAY_SECONDS, type DpopProof } from "../../shared/dpop.ts";
import { refuse } from "../../shared/refusal.ts";
import { statement } from "../sqlite/database.ts";
import { createMovingWindow } from "./moving-window.ts";
import type { Registry } from "./registry.ts";
import { isOnRecord, noteAdded, noteRemoved, type SpentRow } from "./spent-index.ts";

/** Kept a little beyond the expiry, for a clock that is set back. */
const keptSeconds = 60;
const prune = createMovingWindow<SpentRow>({ table: "assertion", wanted: "number, client, id" });

/**
 * `id` is the assertion's `cti` or `jti`, 1 to 64 bytes; `exp` is when it expires, in seconds.
 * Throws `assertion.replayed` for one that was used before and `assertion.malformed` for an id of another length.
 */
export function spendAssertion(r: Registry, clientId: string, id: Uint8Array, exp: number): void {
  if (id.length === 0 || id.length > MAX_ASSERTION_ID_BYTES)
    refuse("assertion.malformed", `an id of ${id.length} bytes`);
  if (!spend(r, clientId, id, exp)) refuse("assertion.replayed", clientId);
}

/** Throws `assertion.replayed` for one that was used before, and leaves one that was not as it is. */
export function assertUnspent(r: Registry, clientId: string, id: Uint8Array): void {
  if (isOnRecord(r, { client: clientId, id })) refuse("assertion.replayed", clientId);
}

/** A proof is its key's and its `jti`; whose client it came from makes no difference. Throws `dpop.replayed`. */
export function spendProof(r: Registry, { thumbprint, jti, iat }: DpopProof): void {
  if (!spend(r, `dpop:${thumbprint}`, Buffer.from(jti), iat + DPOP_LEEWAY_SECONDS)) refuse("dpop.replayed");
}

/** Whether it is spent by this call, and was not before. */
function spend(r: Registry, client: string, id: Uint8Array, exp: number): boolean {
  return r.append(() => {
    noteRemoved(r, prune(r, r.nowSeconds() - keptSeconds));
    if (isOnRecord(r, { client, id })) return false;
    const insert = statement(r.db, `INSERT INTO assertion (client, id, exp) VALUES (?, ?, ?)`);
    const { lastInsertRowid } = insert.run(client, id, exp);
    noteAdded(r, { client, id, number: Number(lastInsertRowid) });
    return true;
  });
}
