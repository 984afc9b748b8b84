/**
 * Tokens that were verified, by their text, so that a token that comes again costs no signature. Bounded; the one that was
 * not asked for the longest goes first.
 *
 * What is kept is what a signature says for ever. Whether the token is good now (expiry, keys, revocation) is asked anew at
 * each use.
 */
import type { PublicKey } from "../shared/cose-key.ts";
import type { VerifiedToken } from "../shared/token.ts";
import type { PrincipalBase } from "./principal.ts";

/** A good word of the authority on a token: when it was heard and when it was made, in milliseconds, and what it allows. */
export interface Word {
  readonly base: PrincipalBase;
  readonly heardMs: number;
  readonly madeMs: number;
}

/** A token whose signature was verified with `key`. */
export interface KnownToken {
  readonly verified: VerifiedToken;
  readonly key: PublicKey;
  readonly base: PrincipalBase;
  /** When it was last found good by the list of revoked tokens, and by introspection. */
  feedWord: Word | undefined;
  introspectionWord: Word | undefined;
}

/** The cache. */
export class KnownTokens {
  readonly #most: number;
  readonly #tokens = new Map<string, KnownToken>();

  constructor(most: number) {
    this.#most = most;
  }

  get size(): number {
    return this.#tokens.size;
  }
  get(token: string): KnownToken | undefined {
    const known = this.#tokens.get(token);
    if (known === undefined) return undefined;
    this.#tokens.delete(token);
    this.#tokens.set(token, known);
    return known;
  }
  keep(token: string, known: KnownToken): void {
    if (this.#most === 0) return;
    if (this.#tokens.size >= this.#most) this.#tokens.delete(this.#tokens.keys().next().value!);
    this.#tokens.set(token, known);
  }
  drop(token: string): void {
    this.#tokens.delete(token);
  }
  /**
   * Drops a token in every spelling of it that is known, and takes back what was found good of them: who has the text of one
   * makes another that is as good, with the other form of the signature.
   */
  dropEvery({ base: { tokenId, client, issuedAt, expiresAt } }: KnownToken): void {
    for (const [token, known] of this.#tokens) {
      const { base } = known;
      if (base.tokenId !== tokenId || base.client !== client) continue;
      if (base.issuedAt !== issuedAt || base.expiresAt !== expiresAt) continue;
      known.introspectionWord = known.feedWord = undefined;
      this.#tokens.delete(token);
    }
  }
  clear(): void {
    this.#tokens.clear();
  }
}
