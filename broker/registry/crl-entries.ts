/**
 * What stands on our own list of revoked certificates: certificates that were revoked, those of deleted brokers among them;
 * those of disabled clients, which are on hold until the client is enabled again; and those of deleted clients.
 *
 * Read in slices, so that a long list does not keep everybody else waiting; what changes between two slices is a change of
 * the registry, after which the list is made again.
 */
import { statement } from "../sqlite/database.ts";
import type { Registry } from "./registry.ts";

/** Why, where it is known (RFC 5280, section 5.3.1). */
export const crlReasons = { cessationOfOperation: 5, certificateHold: 6 } as const;

/** A certificate on the list. */
export interface CrlEntry {
  /** Lower-case hex without leading zeros. */
  readonly serial: string;
  readonly revokedAt: number;
  readonly reason?: keyof typeof crlReasons | undefined;
}

const sliceSize = 2_000;

/** Those that end at this time or later, no serial twice. */
export function* crlEntries(r: Registry, endsFrom: number): Generator<CrlEntry[]> {
  const others = new Set<string>();
  for (const slice of eachOther(r, endsFrom)) {
    for (const { serial } of slice) others.add(serial);
    yield slice;
  }
  for (let after = ""; ;) {
    const rows = statement<{ serial: string; revokedAt: number }>(
      r.db,
      `SELECT serial, revoked_at AS revokedAt FROM certificate INDEXED BY certificate_on_list
       WHERE revoked_at IS NOT NULL AND serial > ? AND not_after >= ? ORDER BY serial LIMIT ${sliceSize}`,
    ).all(after, endsFrom);
    yield rows.filter(({ serial }) => !others.has(serial));
    if (rows.length < sliceSize) return;
    after = rows.at(-1)!.serial;
  }
}

interface ClientRow {
  readonly project: string;
  readonly name: string;
  readonly disabled_at: number | null;
  readonly deleted_at: number | null;
}

/** Certificates that were not revoked themselves, of those who may not use them. */
function* eachOther(r: Registry, endsFrom: number): Generator<CrlEntry[]> {
  const serials = statement<string>(
    r.db,
    `SELECT serial FROM certificate WHERE client = ? AND not_after >= ? AND revoked_at IS NULL`,
  ).pluck();
  for (let after = ["", ""]; ;) {
    const clients = statement<ClientRow>(
      r.db,
      `SELECT project, name, disabled_at, deleted_at FROM client INDEXED BY client_by_disabling
       WHERE enabled = 0 AND (project, name) > (?, ?) ORDER BY project, name LIMIT ${sliceSize}`,
    ).all(...after);
    yield clients.flatMap(({ project, name, disabled_at: disabled, deleted_at: deleted }) =>
      serials
        .all(`${project}.${name}`, endsFrom)
        .map((serial): CrlEntry =>
          deleted === null
            ? { serial, revokedAt: disabled ?? r.nowSeconds(), reason: "certificateHold" }
            : { serial, revokedAt: deleted, reason: "cessationOfOperation" },
        ),
    );
    const last = clients.at(-1);
    if (last === undefined || clients.length < sliceSize) return;
    after = [last.project, last.name];
  }
}

/**
 * The number of the next list: higher than any before (RFC 5280, section 5.2.3), also after a power cut that lost the last
 * commits and after a restore from a backup, because it is never below the time.
 */
export function nextCrlNumber(r: Registry, authority: string): number {
  // no change of what the list says, so nobody is told of one
  return r.append(() =>
    statement<number>(
      r.db,
      `INSERT INTO crl (authority, number) VALUES (?, ?)
       ON CONFLICT (authority) DO UPDATE SET number = max(number + 1, excluded.number) RETURNING number`,
    )
      .pluck()
      .get(authority, r.nowSeconds()),
  )!;
}
