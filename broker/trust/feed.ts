/**
 * Keeps a copy of trust current: reads the list of revoked tokens and all else that a gate must know from an authority
 * elsewhere, over and over, each answer held by the authority until there is news.
 *
 * First everything, then what is new after a place (RFC 9770, section 9, with `diff=0`, and the number of updates checked
 * against the cursors), and from time to time everything again. From an error, or from no answer, no conclusion is drawn: the
 * view stays what it is and grows old, until it is too old to admit anybody.
 */
import type { Logger } from "pino";
import type { TrlPatch } from "../../shared/trl.ts";
import type { Reading } from "./copy-entries.ts";
import type { Copy } from "./copy.ts";
import type { FeedClock } from "./feed-clock.ts";
import { defaultFeedLimits } from "./feed-limits.ts";
import type { FeedLimits } from "./feed-limits.ts";
import { FeedError, openRequester } from "./feed-request.ts";
import type { Answer, AskedAuthority, FeedFault } from "./feed-request.ts";

/** What came of a request: `lost` where the authority did not know our place. */
export type FeedOutcome = "heard" | "lost" | FeedFault;

/** What a feed follows, and what it keeps current. */
export interface FeedOptions {
  readonly authority: AskedAuthority;
  readonly copy: Copy;
  readonly clock: FeedClock;
  readonly log: Logger;
  readonly limits?: Partial<FeedLimits> | undefined;
  /** Told of each request. */
  readonly contact?: ((outcome: FeedOutcome) => void) | undefined;
  /** In [0, 1). */
  readonly random?: (() => number) | undefined;
}

/** A feed that goes on by itself. */
export interface Feed {
  /** Whether the view is too old to admit anybody new. */
  readonly isStale: boolean;
  /** Resolves when the view is all that the authority knows for the first time in this process, or when this is closed. */
  readonly first: Promise<void>;
  /** Ends the request under way; resolves when nothing more is written. */
  close(): Promise<void>;
}

/** How often the age of the view is looked at and written down. */
const LOOK_MS = 1000;
const NOTE_MS = 60_000;
/** Of a failure that goes on there is a line after so long, and then each time after twice as long. */
const FIRST_LINE_MS = 60_000;
const LONGEST_LINE_MS = 3_600_000;
/** An authority that does not hold its answers is not asked more often. */
const LEAST_MS = 200;

const refusedLine = "the authority refuses this broker: it was taken back, or its certificate has ended";

/** Begins to follow. Never throws: who cannot be reached now is tried again. */
export function followAuthority(options: FeedOptions): Feed {
  return new Follower(options);
}

class Follower implements Feed {
  readonly first: Promise<void>;
  readonly #copy: Copy;
  readonly #clock: FeedClock;
  readonly #log: Logger;
  readonly #limits: FeedLimits;
  readonly #contact: (outcome: FeedOutcome) => void;
  readonly #random: () => number;
  readonly #requester: ReturnType<typeof openRequester>;
  readonly #closing = new AbortController();
  readonly #looking: NodeJS.Timeout;
  readonly #ended: Promise<void>;
  #isFirst: () => void = () => {};
  #everythingAtMs: number;
  #isBehind = true;
  #restarts = 0;
  #wasStale: boolean;
  #notedMs = -Infinity;
  #failing: { sinceMs: number; failures: number; lineMs: number; everyMs: number; fault: FeedFault } | undefined;

  constructor({ authority, copy, clock, log, limits, contact, random }: FeedOptions) {
    this.#copy = copy;
    this.#clock = clock;
    this.#log = log;
    const given = { ...defaultFeedLimits, ...limits };
    // while an answer is held the view must not become too old
    const waitSeconds = Math.min(given.waitSeconds, Math.max(1, Math.floor(given.maxStalenessSeconds / 3)));
    this.#limits = { ...given, waitSeconds };
    this.#contact = contact ?? (() => {});
    this.#random = random ?? Math.random;
    this.#requester = openRequester(authority, this.#limits);
    this.#everythingAtMs = this.#nextEverything();
    this.#wasStale = this.isStale;
    if (this.#wasStale) log.warn(this.#age(), "nobody is admitted before the authority was heard");
    this.first = new Promise((resolve) => (this.#isFirst = resolve));
    this.#looking = setInterval(() => this.#look(), LOOK_MS);
    this.#looking.unref();
    this.#ended = this.#follow();
  }

  get isStale(): boolean {
    return this.#clock.ageSeconds > this.#limits.maxStalenessSeconds;
  }

  async close(): Promise<void> {
    this.#closing.abort();
    clearInterval(this.#looking);
    await this.#ended;
    this.#requester.close();
    this.#note();
    this.#isFirst();
  }

  async #follow(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      try {
        const pauseMs = await this.#ask(signal);
        if (pauseMs > 0) await pause(pauseMs, signal);
      } catch (error) {
        if (signal.aborted) return;
        await pause(this.#failed(error), signal);
      }
    }
  }

  /** One request and what follows from it; how long to wait for the next. */
  async #ask(signal: AbortSignal): Promise<number> {
    const { place } = this.#copy;
    if (place.list === "no" && this.#clock.monotonicMs() >= this.#everythingAtMs) {
      // where that cannot be written, what is new is heard all the same
      this.#everythingAtMs = this.#nextEverything();
      this.#copy.restart("plain");
    }
    const { list, trustCursor, trlCursor } = this.#copy.place;
    const after = list === "no" ? trlCursor : "everything";
    const waitSeconds = this.#isBehind || after === "everything" ? 0 : this.#limits.waitSeconds;
    const sentMs = this.#clock.monotonicMs();
    let answeredMs = sentMs;
    const answer = await this.#requester.ask({ after, trustCursor, waitSeconds }, signal, (date) => {
      answeredMs = this.#clock.monotonicMs();
      this.#clock.learn({ sentMs, answeredMs, isHeld: waitSeconds > 0, date });
    });
    const isNews = await this.#take(answer, trustCursor, signal);
    this.#heard(answer.kind === "lost" ? "lost" : "heard");
    if (answer.kind !== "lost") this.#settle(answer, answeredMs);
    return isNews ? 0 : LEAST_MS - (this.#clock.monotonicMs() - sentMs);
  }

  /** Takes what an answer says; whether it said anything. */
  async #take(answer: Answer, sent: string, signal: AbortSignal): Promise<boolean> {
    if (answer.kind === "lost") return this.#restart("restored", "the authority does not know our place in its list");
    const { trust: part, cursor } = answer;
    const told = { sent, part };
    if (answer.kind === "list") {
      await this.#copy.takeList({ hashes: answer.hashes, cursor }, told, this.#clock.nowSeconds(), signal);
      this.#everythingAtMs = this.#nextEverything();
      if (part.isReset && sent !== "") this.#countRestart("the authority does not know our place");
      return true;
    }
    const { patches, more } = answer;
    const before = this.#copy.place.trlCursor;
    if (part.isReset && sent !== "") {
      // the places of a restored authority are not those that we know
      this.#copy.takeUpdates([], before, told);
      this.#countRestart("the authority does not know our place");
      return true;
    }
    if (before !== null && cursor === null && !more)
      return this.#restart("restored", "the list of the authority begins");
    if ((cursor === null && more) || !this.#isGapless(before, cursor, patches))
      return this.#restart("plain", "updates of the list are lost");
    this.#copy.takeUpdates(patches, cursor, told);
    this.#restarts = 0;
    return patches.length > 0 || part.entries.length > 0;
  }

  /** Everything is read again; more than once in a row that is no answer but a fault. */
  #restart(reading: Reading, why: string): boolean {
    this.#copy.restart(reading);
    this.#countRestart(why);
    this.#log.warn({ why }, "all is read again");
    return false;
  }

  #countRestart(why: string): void {
    if (this.#restarts++ > 0) throw new FeedError("malformed", `${why}, again`);
  }

  /** RFC 9770, section 9, lets an answer skip updates and say that there are no more. */
  #isGapless(before: number | null, cursor: number | null, patches: readonly TrlPatch[]): boolean {
    if (cursor === null) return before === null && patches.length === 0;
    const modulus = this.#limits.maxIndex + 1;
    return (cursor - (before ?? -1) + modulus) % modulus === patches.length % modulus;
  }

  /** Whether the view is now all that the authority knew when it answered. */
  #settle(answer: Exclude<Answer, { kind: "lost" }>, answeredMs: number): void {
    const { list, sweep } = this.#copy.place;
    const isMore = answer.trust.more || (answer.kind === "updates" && answer.more);
    this.#isBehind = isMore || list !== "no" || sweep !== "no";
    if (this.#isBehind) return;
    this.#clock.current(answeredMs);
    this.#isFirst();
    this.#look();
  }

  #heard(outcome: "heard" | "lost"): void {
    this.#contact(outcome);
    if (this.#failing === undefined) return;
    const seconds = Math.round((this.#clock.monotonicMs() - this.#failing.sinceMs) / 1000);
    this.#log.info({ seconds }, "the authority answers again");
    this.#failing = undefined;
    this.#notedMs = -Infinity;
  }

  /** Says so, and how long to wait for the next attempt: full jitter, so that brokers do not come back together. */
  #failed(error: unknown): number {
    // a fault of ours, such as a disk that is full, is no more a reason to stop than one of the authority's
    const fault = error instanceof FeedError ? error.fault : "failed";
    this.#contact(fault);
    this.#isBehind = true;
    const nowMs = this.#clock.monotonicMs();
    if (this.#failing?.fault !== fault) {
      const { sinceMs = nowMs, failures = 0 } = this.#failing ?? {};
      this.#failing = { sinceMs, failures, fault, lineMs: nowMs, everyMs: FIRST_LINE_MS };
    }
    const failing = this.#failing;
    failing.failures++;
    if (nowMs >= failing.lineMs) {
      const facts = { fault, failures: failing.failures, why: (error as Error).message, ...this.#age() };
      if (!(error instanceof FeedError))
        this.#log.error({ ...facts, err: error }, "an answer could not be taken, the last view stays");
      else if (fault === "refused") this.#log.error(facts, refusedLine);
      else this.#log.warn(facts, "the authority was not heard, the last view stays");
      failing.lineMs = nowMs + failing.everyMs;
      failing.everyMs = Math.min(failing.everyMs * 2, LONGEST_LINE_MS);
    }
    const { firstRetryMilliseconds: firstMs, longestRetryMilliseconds: longestMs } = this.#limits;
    return this.#random() * Math.min(longestMs, firstMs * 2 ** Math.min(failing.failures - 1, 30));
  }

  /** Says when the view becomes too old and when it is not any more, and writes its age down for the next process. */
  #look(): void {
    const { isStale } = this;
    if (isStale !== this.#wasStale) {
      this.#wasStale = isStale;
      if (isStale) this.#log.error(this.#age(), "the authority was not heard for too long: nobody new is admitted");
      else this.#log.info(this.#age(), "the view is fresh: clients are admitted");
    }
    if (this.#clock.monotonicMs() - this.#notedMs >= NOTE_MS) this.#note();
  }

  #note(): void {
    const time = this.#clock.remember();
    if (time === undefined) return;
    this.#notedMs = this.#clock.monotonicMs();
    try {
      this.#copy.remember(time);
    } catch (error) {
      this.#log.error({ err: error }, "the age of the view could not be written down");
    }
  }

  #age(): { ageSeconds: number | null } {
    const { ageSeconds } = this.#clock;
    return { ageSeconds: Number.isFinite(ageSeconds) ? Math.round(ageSeconds) : null };
  }

  #nextEverything(): number {
    return this.#clock.monotonicMs() + this.#limits.everythingSeconds * 1000 * (0.9 + 0.2 * this.#random());
  }
}

/** Ends early, and without an error, when told to. */
function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, milliseconds);
    if (signal.aborted) end();
    else signal.addEventListener("abort", end);
  });
}
