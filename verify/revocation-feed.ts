/**
 * Follows the list of revoked tokens of one api (RFC 9770, sections 6 to 9, over HTTPS) with the api's own credential: first
 * all of it, then what is new after a place, each answer held by the authority until there is news, and from time to time all
 * of it again.
 *
 * From an error, or from no answer, no conclusion is drawn: the list stays what it is and grows old.
 */
import { FeedError, isAboutCursor } from "../broker/trust/feed-request.ts";
import { defaultFeedLimits } from "../broker/trust/feed-limits.ts";
import type { Fetched } from "../broker/trust/fetch-bytes.ts";
import { Refusal } from "../shared/refusal.ts";
import { decodeTrl, TRL_CBOR, type TrlAnswer, type TrlPatch } from "../shared/trl.ts";
import { describe, type Authority } from "./authority.ts";
import type { Settings } from "./options.ts";
import { RevokedHashes } from "./revoked-hashes.ts";

/** A list that is kept current. */
export interface RevocationFeed {
  /** Since the list was all that the authority knew; Infinity before the first time. */
  readonly ageSeconds: number;
  /** When that was, on the clock that never jumps. */
  readonly currentMs: number;
  /** Revoked tokens of this api. */
  readonly size: number;
  isRevoked(hashes: readonly string[]): boolean;
  /** Resolves after the first attempt to read the list, whatever came of it. */
  readonly first: Promise<void>;
  close(): Promise<void>;
}

const { everythingSeconds, firstRetryMilliseconds, longestRetryMilliseconds, maxIndex } = defaultFeedLimits;
/** An authority that does not hold its answers is not asked more often. */
const leastMilliseconds = 200;
const longestWaitSeconds = 25;
const listBytes = 64 * 1024 * 1024;
const listMilliseconds = 30_000;
/** What left the list counts for so long yet, for clocks that differ. */
const keptSeconds = 300;
/** An authority that was restored from a backup has forgotten what this list knows: that counts for so long. */
const restoredMilliseconds = 24 * 3_600_000;

/** Begins to follow. `changed` is called after each change of the list. Never throws. */
export function followRevocations(authority: Authority, settings: Settings, changed: () => void): RevocationFeed {
  return new Follower(authority, settings, changed);
}

class Follower implements RevocationFeed {
  readonly first: Promise<void>;
  readonly #authority: Authority;
  readonly #settings: Settings;
  readonly #changed: () => void;
  readonly #hashes: RevokedHashes;
  readonly #closing = new AbortController();
  readonly #ended: Promise<void>;
  readonly #waitSeconds: number;
  #isFirst: () => void = () => {};
  #currentMs = -Infinity;
  /** The newest update that is known; "none" before the list was read. */
  #place: number | null | "none" = "none";
  #isRestored = false;
  #isBehind = true;
  #everythingAtMs = 0;
  #failures = 0;
  /** How often in a row the list had to be read again. */
  #restarts = 0;

  constructor(authority: Authority, settings: Settings, changed: () => void) {
    this.#authority = authority;
    this.#settings = settings;
    this.#changed = changed;
    this.#hashes = new RevokedHashes(keptSeconds + settings.leewaySeconds);
    // a list is as old as the question before the one that is held: neither may make it too old
    this.#waitSeconds = Math.min(longestWaitSeconds, Math.max(1, Math.floor(settings.maxStalenessSeconds / 3)));
    this.first = new Promise((resolve) => (this.#isFirst = resolve));
    this.#ended = this.#follow();
  }

  get ageSeconds(): number {
    return Math.max(0, (this.#settings.monotonicMs() - this.#currentMs) / 1000);
  }
  get currentMs(): number {
    return this.#currentMs;
  }
  get size(): number {
    return this.#hashes.size;
  }
  isRevoked(hashes: readonly string[]): boolean {
    return this.#hashes.has(hashes);
  }
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#ended;
  }

  async #follow(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      let pauseMs: number;
      try {
        pauseMs = await this.#ask(signal);
      } catch (error) {
        if (signal.aborted) break;
        pauseMs = this.#failed(error);
      }
      this.#isFirst();
      if (pauseMs > 0) await pause(pauseMs, signal);
    }
    this.#isFirst();
  }

  /** One request and what follows from it; how long to wait for the next. */
  async #ask(signal: AbortSignal): Promise<number> {
    const { monotonicMs } = this.#settings;
    const sentMs = monotonicMs();
    if (sentMs >= this.#everythingAtMs) this.#place = "none";
    const place = this.#place;
    const heldSeconds = this.#isBehind || place === "none" ? 0 : this.#waitSeconds;
    const asking = {
      query: place === "none" ? {} : { diff: "0", ...(place !== null && { cursor: `${place}` }) },
      headers: { accept: TRL_CBOR, ...(heldSeconds > 0 && { prefer: `wait=${heldSeconds}` }) },
      isAuthenticated: true,
      heldSeconds,
      maxBytes: listBytes,
      bodyMilliseconds: listMilliseconds,
      signal,
    };
    const answer = await this.#authority.ask("trl_endpoint", asking, readAnswer);
    const isNews = answer === "lost" ? this.#restart("the place is not known there", true) : this.#take(answer, place);
    this.#failures = 0;
    // it is only known that it is newer than the question: on its way it may have been held up
    if (!this.#isBehind) this.#currentMs = sentMs;
    if (isNews) this.#changed();
    return isNews ? 0 : leastMilliseconds - (monotonicMs() - sentMs);
  }

  /** Takes what an answer says; whether it said anything. */
  #take({ fullSet, diffSet, cursor, more }: TrlAnswer, place: number | null | "none"): boolean {
    const nowMs = this.#settings.monotonicMs();
    if (place === "none") {
      if (fullSet === undefined || cursor === undefined) throw new FeedError("malformed", "no full list");
      this.#hashes.replace(fullSet, nowMs, this.#isRestored ? restoredMilliseconds : 0);
      this.#place = cursor;
      this.#everythingAtMs = nowMs + everythingSeconds * 1000;
      this.#isBehind = false;
      this.#isRestored = false;
      return true;
    }
    if (diffSet === undefined || cursor === undefined || more === undefined) {
      throw new FeedError("malformed", "no updates with a cursor");
    }
    if (place !== null && cursor === null && !more) return this.#restart("the list begins there", true);
    if (!isGapless(place, cursor, diffSet, more)) return this.#restart("updates are lost", false);
    this.#hashes.update(diffSet, nowMs);
    this.#place = cursor;
    this.#isBehind = more;
    this.#restarts = 0;
    return diffSet.length > 0;
  }

  /** The list is read again; more than once in a row that is no answer but a fault. */
  #restart(why: string, isRestored: boolean): false {
    this.#place = "none";
    this.#isBehind = true;
    this.#isRestored ||= isRestored;
    if (this.#restarts++ > 0) throw new FeedError("malformed", `${why}, again`);
    this.#settings.log.warn({ why }, "the list of revoked tokens is read again");
    return false;
  }

  /** Full jitter, so that not everybody comes back at once. */
  #failed(error: unknown): number {
    const { log } = this.#settings;
    this.#isBehind = true;
    const facts = { why: describe(error), ageSeconds: Number.isFinite(this.ageSeconds) ? this.ageSeconds : null };
    if (this.#failures++ === 0) log.warn(facts, "the list of revoked tokens was not read, the last one stays");
    // who lives with a list for a short time only comes back sooner
    const mostMs = Math.min(longestRetryMilliseconds, (this.#settings.maxStalenessSeconds * 1000) / 6);
    const longestMs = Math.min(mostMs, firstRetryMilliseconds * 2 ** Math.min(this.#failures, 30));
    return leastMilliseconds + Math.random() * longestMs;
  }
}

function readAnswer(fetched: Fetched): TrlAnswer | "lost" {
  const { status, type, body } = fetched;
  if (status === 400 && isAboutCursor(body)) return "lost";
  if (status !== 200) throw new FeedError("failed", `status ${status}`);
  if (type !== TRL_CBOR) throw new FeedError("malformed", "the answer is no list of revoked tokens");
  try {
    return decodeTrl(body, { maxBytes: listBytes });
  } catch (error) {
    if (error instanceof Refusal) throw new FeedError("malformed", error.message, error);
    throw error;
  }
}

/** RFC 9770, section 9, lets an answer skip updates and say that there are no more. */
function isGapless(before: number | null, cursor: number | null, patches: readonly TrlPatch[], more: boolean): boolean {
  if (cursor === null) return before === null && patches.length === 0 && !more;
  const modulus = maxIndex + 1;
  return (cursor - (before ?? -1) + modulus) % modulus === patches.length % modulus;
}

function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, milliseconds);
    timer.unref();
    signal.addEventListener("abort", end);
    if (signal.aborted) end();
  });
}
