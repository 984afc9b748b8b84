/**
 * A published set of signing keys, as a JWK Set (RFC 7517, section 5) or a COSE Key Set (RFC 9052, section 7).
 *
 * Takes the P-256 keys that have a key id and leaves the others: an issuer may publish keys for other uses. Refuses a set
 * with none, and a private key anywhere in it.
 */
import { decode } from "../../shared/cbor.ts";
import { readCoseKey, readJwk } from "../../shared/cose-key.ts";
import type { PublicKey } from "../../shared/cose-key.ts";
import { Refusal, refuse } from "../../shared/refusal.ts";

/** Keys by key id; a COSE key id is read as its ASCII characters. */
export type KeySet = ReadonlyMap<string, PublicKey>;

/** A JWK Set, as parsed from JSON. */
export interface JsonWebKeySet {
  readonly keys: readonly object[];
}

const maxKeys = 64;
/** Label of the key id in a COSE_Key (RFC 9052, section 7.1). */
const KID = 2;

/** Reads a JWK Set. Throws `key.*`. */
export function readJwkSet(value: unknown): KeySet {
  const entries = typeof value === "object" && value !== null ? (value as { keys?: unknown }).keys : undefined;
  if (!Array.isArray(entries)) return refuse("key.malformed", "a JWK Set has an array of keys");
  return collect(entries, (jwk) => {
    const { kid, use } = (jwk ?? {}) as { kid?: unknown; use?: unknown };
    return typeof kid === "string" && (use === undefined || use === "sig") ? [kid, readJwk(jwk)] : undefined;
  });
}

/** Reads a COSE Key Set. Throws `key.*` and `cbor.*`. */
export function readCoseKeySet(bytes: Uint8Array): KeySet {
  const entries = decode(bytes, { anyOrder: true });
  if (!Array.isArray(entries)) return refuse("key.malformed", "a COSE Key Set is an array");
  return collect(entries, (entry) => {
    const kid = entry instanceof Map ? entry.get(KID) : undefined;
    return kid instanceof Uint8Array ? [Buffer.from(kid).toString("latin1"), readCoseKey(entry)] : undefined;
  });
}

function collect<T>(entries: readonly T[], read: (entry: T) => [string, PublicKey] | undefined): KeySet {
  if (entries.length > maxKeys) return refuse("key.malformed", "too many keys");
  const keys = new Map<string, PublicKey>();
  for (const entry of entries) {
    try {
      const named = read(entry);
      if (named !== undefined) keys.set(...named);
    } catch (error) {
      if (!(error instanceof Refusal) || error.reason === "key.private") throw error;
    }
  }
  return keys.size > 0 ? keys : refuse("key.malformed", "no P-256 key with a key id");
}
