/**
 * The resource server's side: says of a token who brings it and what it allows, or refuses it with the exact reason.
 *
 * The order is that of the cost: signature, issuer, audience and expiry with the published keys (RFC 9068, section 4), then
 * possession, then scopes, then what the authority says of revocation, as the strictest mode among the demanded scopes wants.
 * Where the authority has not said anything recent enough, the answer is no (`authority.unreachable`), unless somebody has
 * allowed what was found good a moment ago.
 */
import { FeedError } from "../broker/trust/feed-request.ts";
import { Refusal, refuse, type Reason } from "../shared/refusal.ts";
import { inspectToken, verifyToken } from "../shared/token.ts";
import { describe, openAuthority, type Authority } from "./authority.ts";
import { askScope } from "./introspection.ts";
import { KnownTokens, type KnownToken, type Word } from "./known-tokens.ts";
import { modeFor, readOptions, type Mode, type Settings, type VerifierLog, type VerifierOptions } from "./options.ts";
import { assertPossession, type Presentation } from "./possession.ts";
import { assertObject, assertScopes, narrow, toPrincipal, toPrincipalBase } from "./principal.ts";
import type { ObjectRule, Principal } from "./principal.ts";
import { openPublishedKeys, type PublishedKeys } from "./published-keys.ts";
import { followRevocations, type RevocationFeed } from "./revocation-feed.ts";
import { SpentProofs } from "./spent-proofs.ts";
import { Watches, type OnEnd } from "./watches.ts";

/** What a token is verified for. */
export interface VerifyRequest extends Presentation {
  /** All of them must stand in the token. */
  readonly scopes?: readonly string[] | undefined;
  /** What is asked for, and whose it must be. */
  readonly object?: ObjectRule | undefined;
}

/** How a verifier is. */
export interface VerifierStatus {
  /** Since the keys were fetched; null before the first time. */
  readonly keysAgeSeconds: number | null;
  /** Since the list of revoked tokens was all that the authority knew; null before that, and without a feed. */
  readonly feedAgeSeconds: number | null;
  /** Tokens on that list. */
  readonly revokedTokens: number;
  /** Tokens that are remembered as verified. */
  readonly knownTokens: number;
  /** Whether the authority was there, and the last request to each of its endpoints was answered. */
  readonly reachable: boolean;
  /** Why one was not; absent where none failed. */
  readonly lastError?: string;
  /** Requests to the authority that failed since the start. */
  readonly failures: number;
  /** Calls that were let in as last known good since the start. */
  readonly lastKnownGood: number;
}

/** Verifies tokens. */
export interface Verifier {
  readonly issuer: string;
  readonly audience: string;
  /** See `VerifierOptions`. */
  readonly origin: string | undefined;
  readonly log: VerifierLog;
  /**
   * Says who brings the token. Rejects with a {@link Refusal}: `token.*`, `scope.insufficient`, `proof.*`, `dpop.*`,
   * `certificate.missing`, `authority.unreachable`, or what the codecs refuse.
   */
  verify(token: string, request?: VerifyRequest): Promise<Principal>;
  /**
   * Calls back once when the token of a principal is good no more; until the returned function is called. Revocation is noticed
   * where a feed runs. Throws TypeError for a principal of another verifier.
   */
  watch(principal: Principal, onEnd: OnEnd): () => void;
  status(): VerifierStatus;
  /** Ends what runs; what is watched is told `session.closed`, and nobody is let in any more. */
  close(): Promise<void>;
}

/**
 * Opens a verifier. Resolves when the keys, and the list where a mode needs it, were asked for once; where the authority is away
 * it denies until it is there. Throws TypeError for options that are wrong.
 */
export async function createVerifier(options: VerifierOptions): Promise<Verifier> {
  const verifier = new TokenVerifier(readOptions(options));
  await verifier.first;
  return verifier;
}

class TokenVerifier implements Verifier {
  readonly first: Promise<unknown>;
  readonly #settings: Settings;
  readonly #authority: Authority;
  readonly #keys: PublishedKeys;
  readonly #feed: RevocationFeed | undefined;
  readonly #known: KnownTokens;
  readonly #spent: SpentProofs;
  readonly #watches: Watches;
  readonly #tokens = new WeakMap<Principal, KnownToken>();
  #lastKnownGood = 0;
  #isClosed = false;

  constructor(settings: Settings) {
    this.#settings = settings;
    this.#known = new KnownTokens(settings.cacheSize);
    this.#spent = new SpentProofs(settings.proofsKept);
    this.#watches = new Watches(
      (known) => this.#whyEnded(known),
      ({ base }) => base.expiresAt + settings.leewaySeconds - settings.nowSeconds(),
    );
    this.#authority = openAuthority(settings);
    const changed = (): void => this.#watches.look();
    this.#keys = openPublishedKeys(this.#authority, settings, changed);
    const isFollowing = [settings.mode, ...settings.scopes.values()].includes("feed");
    this.#feed = isFollowing ? followRevocations(this.#authority, settings, changed) : undefined;
    this.first = Promise.all([this.#keys.refresh(), this.#feed?.first]);
  }

  get issuer(): string {
    return this.#settings.issuer;
  }
  get audience(): string {
    return this.#settings.audience;
  }
  get origin(): string | undefined {
    return this.#settings.origin;
  }
  get log(): VerifierLog {
    return this.#settings.log;
  }

  async verify(token: string, request: VerifyRequest = {}): Promise<Principal> {
    if (typeof token !== "string") throw new TypeError("a token is a text");
    if (this.#isClosed) refuse("authority.unreachable", "the verifier is closed");
    if (this.#keys.ageSeconds > this.#settings.keysMaxAgeSeconds) await this.#renewKeys();
    const known = this.#recall(token) ?? this.#read(token) ?? (await this.#readAgain(token));
    const { scopes = [], object } = request;
    assertPossession(token, known.base, request, this.#settings, this.#spent);
    assertScopes(known.base, scopes);
    if (object !== undefined) assertObject(known.base, object);
    const mode = modeFor(this.#settings, scopes);
    const principal = mode === "introspect" ? await this.#askAbout(token, known) : this.#decide(known, mode);
    // the authority may allow less by now than the token says
    assertScopes(principal, scopes);
    if (this.#isClosed) refuse("authority.unreachable", "the verifier was closed meanwhile");
    this.#tokens.set(principal, known);
    return principal;
  }

  watch(principal: Principal, onEnd: OnEnd): () => void {
    const known = this.#tokens.get(principal);
    if (known === undefined) throw new TypeError("this verifier has not made this principal");
    const tell: OnEnd = (reason) => {
      try {
        onEnd(reason);
      } catch (error) {
        this.log.error({ err: error, reason }, "what was to end with a token has failed");
      }
    };
    if (this.#isClosed) {
      setImmediate(tell, "session.closed" satisfies Reason);
      return () => {};
    }
    return this.#watches.add(known, tell);
  }

  status(): VerifierStatus {
    const { isReachable, lastError, failures } = this.#authority.contact;
    return {
      keysAgeSeconds: toAge(this.#keys.ageSeconds),
      feedAgeSeconds: toAge(this.#feed?.ageSeconds ?? Infinity),
      revokedTokens: this.#feed?.size ?? 0,
      knownTokens: this.#known.size,
      reachable: isReachable,
      ...(lastError !== undefined && { lastError }),
      failures,
      lastKnownGood: this.#lastKnownGood,
    };
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#keys.close();
    this.#known.clear();
    this.#watches.close();
    const ended = this.#feed?.close();
    this.#authority.close();
    await ended;
  }

  /** A token whose signature is known to be good, if it is good now as far as that can be said without asking. */
  #recall(token: string): KnownToken | undefined {
    const known = this.#known.get(token);
    if (known === undefined) return undefined;
    const reason = this.#whyEnded(known);
    if (reason === undefined) return known;
    this.#known.drop(token);
    // what has lost its key is read anew: the key id may belong to another by now
    return reason === "token.key-unknown" ? undefined : refuse(reason);
  }

  /** Verifies a token; undefined where it names a key that is not known. */
  #read(token: string): KnownToken | undefined {
    const { issuer, audience, nowSeconds, leewaySeconds } = this.#settings;
    const keyFor = (kid: string) => this.#keys.keyFor(kid);
    const isAudience = (named: string): boolean => named === audience;
    const expected = { issuer, keyFor, isAudience, nowSeconds: nowSeconds(), leewaySeconds };
    try {
      const verified = verifyToken(token, expected);
      if (this.#feed?.isRevoked(verified.hashes) === true) refuse("token.revoked");
      const base = toPrincipalBase(verified);
      const key = keyFor(verified.kid)!;
      const known: KnownToken = { verified, key, base, feedWord: undefined, introspectionWord: undefined };
      this.#known.keep(token, known);
      return known;
    } catch (error) {
      if (error instanceof Refusal && error.reason === "token.key-unknown") return undefined;
      throw error;
    }
  }

  /** Fetches the keys for a token that would be good otherwise, and verifies it with what they are then. */
  async #readAgain(token: string): Promise<KnownToken> {
    const { kid, claims } = inspectToken(token);
    if (claims.iss !== this.issuer) refuse("token.issuer");
    if (claims.aud !== this.audience) refuse("token.audience");
    if (claims.exp + this.#settings.leewaySeconds <= this.#settings.nowSeconds()) refuse("token.expired");
    await this.#keys.refresh(kid);
    if (!Number.isFinite(this.#keys.ageSeconds)) refuse("authority.unreachable", "its keys were never fetched");
    return this.#read(token) ?? refuse("token.key-unknown", `kid ${kid?.slice(0, 64) ?? "absent"}`);
  }

  async #renewKeys(): Promise<void> {
    await this.#keys.refresh();
    if (this.#keys.ageSeconds <= this.#settings.keysMaxAgeSeconds) return;
    refuse("authority.unreachable", "its keys are too old");
  }

  /** By what is known here. */
  #decide(known: KnownToken, mode: Exclude<Mode, "introspect">): Principal {
    if (mode === "local") return toPrincipal(known.base, "keys", this.#keys.ageSeconds);
    const feed = this.#feed!;
    if (feed.ageSeconds > this.#settings.maxStalenessSeconds) {
      return this.#fallBack(known, [known.feedWord, known.introspectionWord], "the list of revoked tokens is too old");
    }
    known.feedWord = { base: known.base, heardMs: this.#settings.monotonicMs(), madeMs: feed.currentMs };
    return toPrincipal(known.base, "feed", feed.ageSeconds);
  }

  /** By what the authority says now. */
  async #askAbout(token: string, known: KnownToken): Promise<Principal> {
    const sentMs = this.#settings.monotonicMs();
    let allowed: Awaited<ReturnType<typeof askScope>>;
    try {
      allowed = await askScope(this.#authority, token, known.verified.claims);
    } catch (error) {
      if (!(error instanceof FeedError)) throw error;
      return this.#fallBack(known, [known.introspectionWord], describe(error));
    }
    if (allowed === undefined) {
      this.#known.dropEvery(known);
      known.introspectionWord = known.feedWord = undefined;
      return refuse("token.inactive");
    }
    // it may have ended while the authority was asked
    const reason = this.#whyEnded(known);
    if (reason !== undefined) refuse(reason);
    const heardMs = this.#settings.monotonicMs();
    const base = narrow(known.base, allowed.scope);
    known.introspectionWord = { base, heardMs, madeMs: sentMs };
    return toPrincipal(base, "introspection", Math.max(0, (heardMs - sentMs) / 1000));
  }

  /** By the last good word, if that is allowed and recent enough. */
  #fallBack(known: KnownToken, words: readonly (Word | undefined)[], why: string): Principal {
    const { lastKnownGoodSeconds = -1, monotonicMs } = this.#settings;
    const nowMs = monotonicMs();
    // an authority that refuses the credential of this api was there, and has taken that back
    const word = (this.#authority.isRefused ? [] : words)
      .filter((one) => one !== undefined)
      .filter(({ heardMs }) => nowMs - heardMs <= lastKnownGoodSeconds * 1000)
      .toSorted((a, b) => b.madeMs - a.madeMs)[0];
    const reason = this.#whyEnded(known);
    if (reason !== undefined) refuse(reason);
    if (word === undefined) return refuse("authority.unreachable", why);
    this.#lastKnownGood++;
    return toPrincipal(word.base, "last-known-good", Math.max(0, (nowMs - word.madeMs) / 1000));
  }

  /** Why a token whose signature was good once is good no more. */
  #whyEnded({ base, verified, key }: KnownToken): Reason | undefined {
    const { nowSeconds, leewaySeconds } = this.#settings;
    if (base.expiresAt + leewaySeconds <= nowSeconds()) return "token.expired";
    if (this.#feed?.isRevoked(verified.hashes) === true) return "token.revoked";
    return this.#keys.keyFor(verified.kid) === key ? undefined : "token.key-unknown";
  }
}

/** In whole seconds; null where there was nothing yet. */
function toAge(seconds: number): number | null {
  return Number.isFinite(seconds) ? Math.ceil(seconds) : null;
}
