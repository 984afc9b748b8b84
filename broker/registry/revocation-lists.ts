/**
 * The lists of revoked certificates that authorities elsewhere have given out: the newest of each takes the place of the one
 * before, all of it in one transaction, so that a gate sees the one or the other and never a part.
 *
 * What is not on the new list is released: an authority may lift a hold. Refuses a list that is older than the one on
 * record, because whoever keeps an old one could so bring back what was revoked since. A list is not refused because its
 * time is over: what is on it is revoked all the same, and that it is too old is for {@link DeviceAuthority} to say.
 */
import { refuse } from "../../shared/refusal.ts";
import { statement } from "../sqlite/database.ts";
import { ADMIN, audit } from "./audit.ts";
import {
  announceAuthority,
  eachBatch,
  getDeviceAuthority,
  readSerials,
  type AuthorityRecord,
  type ListRecord,
} from "./device-authorities.ts";
import type { Registry } from "./registry.ts";
import { noteChange } from "./trust-changes.ts";

/** A list whose signature was verified. Times in seconds. */
export interface RevocationList {
  /** Its cRLNumber; absent in lists of old. */
  readonly number?: bigint | undefined;
  readonly thisUpdate: number;
  readonly nextUpdate: number;
  /** Lower-case hex without leading zeros. */
  readonly serials: ReadonlySet<string>;
}

/** Throws `registry.not-found`, and `registry.invalid` for an older list than the one on record. */
export function importList(r: Registry, name: string, list: RevocationList, actor: string = ADMIN): AuthorityRecord {
  return r.changeDurably(() => {
    const { id, list: before } = getDeviceAuthority(r, name);
    if (before !== null) assertNotOlder(list, before);
    const gone = readSerials(r, id).filter((serial) => !list.serials.has(serial));
    const take = statement(r.db, `DELETE FROM foreign_certificate WHERE authority = ? AND serial = ?`);
    const put = statement(r.db, `INSERT OR IGNORE INTO foreign_certificate (authority, serial) VALUES (?, ?)`);
    for (const serial of gone) take.run(id, serial);
    // in the order of the index: a long list is written once from end to end, and not all over the file
    const added = [...list.serials].toSorted().filter((serial) => put.run(id, serial).changes > 0);
    for (const serials of [gone, added]) {
      for (const serial of serials) noteChange(r, "certificate", `${id}:${serial}`);
    }
    const number = list.number?.toString() ?? null;
    statement(
      r.db,
      `UPDATE device_authority SET list_number = ?, list_at = ?, list_ends_at = ?, list_entries = ? WHERE id = ?`,
    ).run(number, list.thisUpdate, list.nextUpdate, list.serials.size, id);
    const facts = { id, number, entries: list.serials.size, added: added.length, released: gone.length };
    audit(r, { event: "device-authority.list-imported", actor, subject: name, facts });
    r.afterCommit(() => {
      eachBatch(id, added, (names) => r.sink.revokeCertificates(names));
      eachBatch(id, gone, (names) => r.sink.releaseCertificates(names));
    });
    // told last: where a list is needed, nobody is let in before it is in force
    announceAuthority(r, id);
    return getDeviceAuthority(r, name);
  });
}

/** By number where both have one, and by time in any case; the same list may come again. */
function assertNotOlder(list: RevocationList, before: ListRecord): void {
  if (list.number !== undefined && before.number !== null && list.number < BigInt(before.number)) {
    refuse("registry.invalid", `crl: its number ${list.number} is below ${before.number}, which is on record`);
  }
  if (list.thisUpdate < before.at) refuse("registry.invalid", "crl: older than the one on record");
}
