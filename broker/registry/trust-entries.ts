/**
 * What a broker elsewhere is told of that which changed: each thing as it is now, in parts that are bounded by number and by
 * size, whatever a role or an api has grown to.
 */
import { encodeTrust, type TrustEntry, type TrustPart } from "../../shared/trust-entries.ts";
import { statement } from "../sqlite/database.ts";
import { findApi } from "./apis.ts";
import { readClientTrust } from "./clients.ts";
import { isForeignRevoked, readAuthorityTrust } from "./device-authorities.ts";
import { getProject } from "./projects.ts";
import type { Registry } from "./registry.ts";
import { publishedKeys } from "./signing-keys.ts";
import { readChanges, type ChangeKind, type TrustChange } from "./trust-changes.ts";

const maxEntries = 500;
/** A part ends behind the entry that goes beyond this. */
const maxBytes = 1024 * 1024;

/** What changed after the cursor, oldest first; from the beginning for a cursor that is none of ours. */
export function readTrustPart(r: Registry, cursor: string): TrustPart {
  const all = readChanges(r, cursor, maxEntries);
  const entries: TrustEntry[] = [];
  let bytes = 0;
  for (const change of all.changes) {
    if (bytes > maxBytes) break;
    const entry = readTrustEntry(r, change);
    entries.push(entry);
    bytes += encodeTrust({ isReset: false, cursor: "", more: false, entries: [entry] }).length;
  }
  const {
    isReset,
    cursor: next,
    more,
  } = entries.length < all.changes.length ? readChanges(r, cursor, entries.length) : all;
  return { isReset, cursor: next, more, entries };
}

/** Whether {@link readTrustPart} would have anything to tell. */
export function hasTrustNews(r: Registry, cursor: string): boolean {
  const { isReset, changes } = readChanges(r, cursor, 1);
  return isReset || changes.length > 0;
}

/** One thing as it is now. */
export function readTrustEntry(r: Registry, { kind, name }: TrustChange): TrustEntry {
  return readers[kind](r, name);
}

const readers: Readonly<Record<ChangeKind, (r: Registry, name: string) => TrustEntry>> = {
  key: (r, kid) => ({ kind: "key", kid, key: publishedKeys(r).find((key) => key.kid === kid)?.key }),
  api: (r, audience) => ({ kind: "api", audience, api: findApi(r, audience) }),
  client: readClientEntry,
  certificate: (r, name) => {
    return { kind: "certificate", name, isRevoked: isOwnRevoked(r, name) || isForeignRevoked(r, name) };
  },
  project: (r, slug) => ({ kind: "project", slug, tokensSince: getProject(r, slug).tokensSince }),
  authority: readAuthorityEntry,
};

function readClientEntry(r: Registry, id: string): TrustEntry {
  const trust = readClientTrust(r, id);
  const client = trust && {
    enabled: trust.enabled,
    tokensAfter: trust.tokensAfter ?? 0,
    grants: trust.grants ?? [],
  };
  return { kind: "client", id, client };
}

function readAuthorityEntry(r: Registry, id: string): TrustEntry {
  const trust = readAuthorityTrust(r, id);
  const authority = trust && {
    der: trust.certificate.raw,
    needsList: trust.needsList ?? false,
    ...(trust.listEndsAt !== undefined && { listEndsAt: trust.listEndsAt }),
  };
  return { kind: "authority", id, authority };
}

/** Whether it is one of ours that was taken back; the serials of our own are unique. */
function isOwnRevoked(r: Registry, name: string): boolean {
  const [authority, serial] = name.split(":", 2);
  const found = statement(
    r.db,
    `SELECT 1 FROM certificate, device_authority
     WHERE serial = ? AND revoked_at IS NOT NULL AND device_authority.id = ? AND device_authority.own = 1`,
  );
  return found.get(serial ?? "", authority ?? "") !== undefined;
}
