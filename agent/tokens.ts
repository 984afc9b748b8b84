/**
 * The token the agent holds for one api: from the cache in its folder while enough life is left, else from the authority.
 *
 * A token that a broker refused is discarded and never presented again, so that no stale credential is replayed. A token
 * for less than the roles allow stays in memory: the cache belongs to the agent that runs with all of it.
 */
import { fromBase64url, toBase64url } from "../shared/base64url.ts";
import type { ObtainedToken, TokenWish } from "./authority.ts";
import type { ServerClock } from "./clock.ts";
import { AgentFailure } from "./failure.ts";
import { isWorthPresenting } from "./schedule.ts";
import { readTokens, writeTokens, type AgentIdentity } from "./state.ts";

/** A token, and where it is from. */
export interface HeldToken extends ObtainedToken {
  /** It was obtained by an earlier run or attempt, so the authority may have changed its mind since. */
  readonly fromCache: boolean;
}

/** The tokens for one api. */
export interface TokenSource {
  /** A token with enough life left. */
  current(): Promise<HeldToken>;
  /** A new token, whatever the cache holds. */
  renew(): Promise<HeldToken>;
  /** Forgets the cached token. */
  discard(): void;
}

/** Opens the source for one audience. `onNotRenewed` hears when the device certificate is due and was not renewed. */
export function openTokenSource(
  dir: string,
  enrolled: AgentIdentity,
  clock: ServerClock,
  wish: TokenWish,
  onNotRenewed: (failure: AgentFailure) => void = () => undefined,
): TokenSource {
  let identity = enrolled;
  const cache = wish.scope === undefined ? openFolderCache(dir, wish.audience, clock) : openMemoryCache();
  const renew = async (): Promise<HeldToken> => {
    // an agent with a token in its cache connects without HTTPS
    const { requestToken } = await import("./authority.ts");
    identity = await renewIfDue(dir, identity, clock, onNotRenewed);
    const obtained = await requestToken(identity, clock, wish);
    cache.write(obtained);
    return { ...obtained, fromCache: false };
  };
  return {
    renew,
    async current() {
      const known = cache.read();
      const remaining = known === undefined ? 0 : known.expiresAtSeconds - clock.nowSeconds();
      if (known === undefined || !isWorthPresenting(known.lifetimeSeconds, remaining)) return renew();
      return { ...known, fromCache: true };
    },
    discard: () => cache.write(undefined),
  };
}

/** A certificate lives much longer than a token, so whoever fetches tokens comes by in time. Failing, the old one is used. */
async function renewIfDue(
  dir: string,
  identity: AgentIdentity,
  clock: ServerClock,
  onNotRenewed: (failure: AgentFailure) => void,
): Promise<AgentIdentity> {
  const { isRenewalDue, renewCertificate } = await import("./renew.ts");
  if (!isRenewalDue(identity.certificatePem, clock.nowSeconds())) return identity;
  try {
    return await renewCertificate(dir, identity, clock);
  } catch (error) {
    if (!(error instanceof AgentFailure)) throw error;
    onNotRenewed(error);
    return identity;
  }
}

interface Cache {
  read(): ObtainedToken | undefined;
  write(token: ObtainedToken | undefined): void;
}

function openMemoryCache(): Cache {
  let held: ObtainedToken | undefined;
  return { read: () => held, write: (token) => (held = token) };
}

function openFolderCache(dir: string, audience: string, clock: ServerClock): Cache {
  return {
    read() {
      const entry = readTokens(dir).tokens[audience];
      return entry === undefined ? undefined : { ...entry, token: fromBase64url(entry.token) };
    },
    write(token) {
      const { [audience]: _before, ...tokens } = readTokens(dir).tokens;
      const entry = token === undefined ? {} : { [audience]: { ...token, token: toBase64url(token.token) } };
      writeTokens(dir, { time: clock.remember(), tokens: { ...tokens, ...entry } });
    },
  };
}
