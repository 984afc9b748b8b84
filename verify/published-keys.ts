/**
 * The keys that the issuer publishes (RFC 7517), kept current: from time to time, and when a token names one that is not known.
 *
 * A failure leaves the keys as they are, and they grow old. Fetching because of a token is rate limited and shared by all who
 * ask for it meanwhile, because strangers make up key ids: for one that was not found then, not again before the whole of the
 * pause, and for another after a tenth of it, so that who makes up many delays a new key by no more.
 */
import { readJwkSet } from "../broker/trust/key-set.ts";
import { samePublicKey, type PublicKey } from "../shared/cose-key.ts";
import { describe, readJson, type Authority } from "./authority.ts";
import type { Settings } from "./options.ts";

/** Keys that are kept current. */
export interface PublishedKeys {
  keyFor(kid: string): PublicKey | undefined;
  /** Since they were fetched; Infinity before the first time. */
  readonly ageSeconds: number;
  /** Fetches them again, because of this key id, unless that was done a moment ago. Never rejects. */
  refresh(kid?: string): Promise<void>;
  close(): void;
}

const everyMilliseconds = 300_000;
/** After a failure the next attempt is made after so long, whoever asks. */
const retryMilliseconds = 1000;
const maxBytes = 64 * 1024;
/** Of the pause between two fetches for one key id, between two for any. */
const part = 10;
/** Key ids that were not found, and are remembered. */
const soughtKept = 256;

/** Begins to fetch. `changed` is called after each change. */
export function openPublishedKeys(
  authority: Authority,
  { log, monotonicMs, keysRefetchSeconds }: Settings,
  changed: () => void,
): PublishedKeys {
  let keys: ReadonlyMap<string, PublicKey> = new Map();
  let fetchedMs = -Infinity;
  let notBeforeMs = -Infinity;
  /** When a key id that was not found is looked for again. */
  const sought = new Map<string, number>();
  let pending: Promise<void> | undefined;
  let timer: NodeJS.Timeout | undefined;
  let isClosed = false;

  const fetch = async (): Promise<void> => {
    const sentMs = monotonicMs();
    let nextMs = everyMilliseconds;
    try {
      authority.forget();
      const asking = { headers: { accept: "application/jwk-set+json, application/json" }, maxBytes };
      const fetched = await authority.ask("jwks_uri", asking, (answer) => readJwkSet(readJson(answer)));
      keys = new Map([...fetched].map(([kid, key]) => [kid, sameAsKnown(keys.get(kid), key)]));
      fetchedMs = sentMs;
      notBeforeMs = sentMs + (keysRefetchSeconds * 1000) / part;
      changed();
    } catch (error) {
      if (!isClosed) log.warn({ why: describe(error) }, "keys not fetched, the last ones stay");
      notBeforeMs = sentMs + retryMilliseconds;
      nextMs = Math.min(everyMilliseconds, keysRefetchSeconds * 1000);
    }
    clearTimeout(timer);
    if (isClosed) return;
    timer = setTimeout(() => void start(), nextMs);
    timer.unref();
  };
  const start = (): Promise<void> => {
    pending ??= fetch().finally(() => (pending = undefined));
    return pending;
  };

  return {
    keyFor: (kid) => keys.get(kid),
    get ageSeconds() {
      return Math.max(0, (monotonicMs() - fetchedMs) / 1000);
    },
    async refresh(kid) {
      if (isClosed) return;
      // one that is under way may have been asked for before the key was there
      if (pending !== undefined) return pending;
      const nowMs = monotonicMs();
      if (nowMs < notBeforeMs || nowMs < (sought.get(kid ?? "") ?? -Infinity)) return;
      await start();
      if (kid === undefined || fetchedMs < nowMs || keys.has(kid)) return;
      sought.delete(kid);
      if (sought.size >= soughtKept) sought.delete(sought.keys().next().value!);
      sought.set(kid, nowMs + keysRefetchSeconds * 1000);
    },
    close() {
      isClosed = true;
      clearTimeout(timer);
    },
  };
}

/** What was verified with a key stands as long as the very object does. */
function sameAsKnown(known: PublicKey | undefined, key: PublicKey): PublicKey {
  return known !== undefined && samePublicKey(known, key) ? known : key;
}
