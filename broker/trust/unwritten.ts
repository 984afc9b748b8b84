/**
 * What an answer takes back holds also where the answer cannot be written, because the disk is full or gone: the trust is
 * told of that, and of nothing else. The place on disk stays what it was, so that the answer comes again.
 */
import type { TrlPatch } from "../../shared/trl.ts";
import type { TrustEntry } from "../../shared/trust-entries.ts";
import type { MemoryTrust } from "./memory-trust.ts";

/** Tells of it. Nothing becomes known by this that a later answer would not speak of again. */
export function takeBackUnwritten(
  trust: MemoryTrust,
  patches: readonly TrlPatch[],
  entries: readonly TrustEntry[],
): void {
  for (const { added } of patches) trust.revokeTokens(added);
  for (const entry of entries) takeBack(trust, entry);
}

function takeBack(trust: MemoryTrust, entry: TrustEntry): void {
  switch (entry.kind) {
    case "key":
      return entry.key === undefined ? trust.forgetKey(entry.kid) : undefined;
    case "api":
      return entry.api === undefined ? trust.forgetApi(entry.audience) : undefined;
    case "client": {
      const { id, client } = entry;
      if (client === undefined) trust.forgetClient(id);
      else if (trust.client(id) !== undefined) trust.learnClient({ id, ...client });
      return;
    }
    case "certificate":
      return entry.isRevoked ? trust.revokeCertificates([entry.name]) : undefined;
    case "project":
      return trust.learnTokensSince(entry.slug, entry.tokensSince);
    case "authority":
      return entry.authority === undefined ? trust.forgetAuthority(entry.id) : undefined;
  }
}
