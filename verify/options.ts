/**
 * What a verifier is opened with, and the checks of it: a verifier that is configured wrongly is not opened at all.
 *
 * Refuses (TypeError) an issuer that is not reached over HTTPS, a mode that must ask the authority without a credential to
 * ask with, and the list of revoked tokens with a credential that it cannot be asked for with.
 */
import { openMonotonic } from "../broker/trust/feed-clock.ts";
import { readCredential, type ApiCredential, type OwnCredential } from "./own-credential.ts";

/**
 * How a token is verified, from the cheapest to the strictest. `local`: signature, issuer, audience and expiry with the keys
 * that the authority publishes; a token that was revoked is good until it expires. `feed`: that, and the list of revoked
 * tokens (RFC 9770), which the authority keeps current. `introspect`: that, and the authority is asked at each call (RFC
 * 7662).
 */
export type Mode = "local" | "feed" | "introspect";

/** What is done while the authority cannot be asked: nobody is let in, or who was found good a moment ago. */
export type WhenUnreachable = "deny" | { readonly lastKnownGoodSeconds: number };

/** Takes lines with facts; pino and what has its form. */
export interface VerifierLog {
  info(facts: object, message: string): void;
  warn(facts: object, message: string): void;
  error(facts: object, message: string): void;
}

/** What a verifier is opened with. */
export interface VerifierOptions {
  /** The `iss` of every token, an `https:` URL, exactly as the authority spells it. */
  readonly issuer: string;
  /** The `aud` of every token: the audience of this api. */
  readonly audience: string;
  /** Where the authority is reached where that is not its issuer, for example inside of a network. */
  readonly authorityUrl?: string | undefined;
  /** PEM of the authorities that its certificate is checked against; default: the system's. */
  readonly ca?: string | undefined;
  /** Needed for the modes `feed` and `introspect`; for `feed` it is a secret. */
  readonly credential?: ApiCredential | undefined;
  /** Default: `feed` with a secret, `introspect` with a key, `local` without either. */
  readonly mode?: Mode | undefined;
  /** The mode for a scope; of the scopes that a route demands the strictest mode counts. */
  readonly scopes?: Readonly<Record<string, Mode>> | undefined;
  /** How old the last word of the authority on revoked tokens may be. Default 60 s, at least 3 s. */
  readonly maxStalenessSeconds?: number | undefined;
  /** How old the published keys may be. Default a day. */
  readonly keysMaxAgeSeconds?: number | undefined;
  /** How often the keys are fetched at most because a token names an unknown one. Default 30 s. */
  readonly keysRefetchSeconds?: number | undefined;
  /** Default `deny`. */
  readonly whenUnreachable?: WhenUnreachable | undefined;
  /** For how long a token is taken after its `exp`. Default 0. */
  readonly leewaySeconds?: number | undefined;
  /** How long an answer of the authority may take. Default 3 s. */
  readonly answerMilliseconds?: number | undefined;
  /** Verified tokens that are remembered. Default 5,000; 0 for none. */
  readonly cacheSize?: number | undefined;
  /** DPoP proofs that are remembered so that none counts twice. Default 200,000. */
  readonly proofsKept?: number | undefined;
  /** Refuses tokens that are not bound to a key or a certificate. Default false. */
  readonly requireBound?: boolean | undefined;
  /**
   * Under which address clients reach this api, such as `https://api.example.com`: what a DPoP proof must be for. It is never
   * taken from a request. Without it proofs are refused.
   */
  readonly origin?: string | undefined;
  readonly log?: VerifierLog | undefined;
  /** Seconds since 1970. */
  readonly nowSeconds?: (() => number) | undefined;
  /** A clock that never jumps, milliseconds from anywhere. */
  readonly monotonicMs?: (() => number) | undefined;
}

/** The options with nothing left open. */
export interface Settings {
  readonly issuer: string;
  readonly audience: string;
  readonly authorityUrl: string;
  readonly ca: string | undefined;
  readonly credential: OwnCredential | undefined;
  readonly mode: Mode;
  readonly scopes: ReadonlyMap<string, Mode>;
  readonly maxStalenessSeconds: number;
  readonly keysMaxAgeSeconds: number;
  readonly keysRefetchSeconds: number;
  /** Undefined: nobody is let in. */
  readonly lastKnownGoodSeconds: number | undefined;
  readonly leewaySeconds: number;
  readonly answerMilliseconds: number;
  readonly cacheSize: number;
  readonly proofsKept: number;
  readonly requireBound: boolean;
  readonly origin: string | undefined;
  readonly log: VerifierLog;
  readonly nowSeconds: () => number;
  readonly monotonicMs: () => number;
}

const modes: readonly Mode[] = ["local", "feed", "introspect"];
const silent: VerifierLog = { info() {}, warn() {}, error() {} };

/** Checks the options and fills in the defaults. Throws TypeError. */
export function readOptions(options: VerifierOptions): Settings {
  const { issuer, audience, whenUnreachable = "deny" } = options;
  assertHttps(issuer, "issuer");
  if (typeof audience !== "string" || audience === "") throw new TypeError("audience is not a text");
  if (options.authorityUrl !== undefined) assertHttps(options.authorityUrl, "authorityUrl");
  const credential = options.credential && readCredential(options.credential);
  const mode = options.mode ?? defaultMode(options.credential);
  const scopes = new Map(Object.entries(options.scopes ?? {}));
  for (const one of [mode, ...scopes.values()]) assertPossible(one, credential);
  return {
    issuer,
    audience,
    authorityUrl: options.authorityUrl ?? issuer,
    ca: options.ca,
    credential,
    mode,
    scopes,
    maxStalenessSeconds: number(options, "maxStalenessSeconds", 60, 3),
    keysMaxAgeSeconds: number(options, "keysMaxAgeSeconds", 86_400, 1),
    keysRefetchSeconds: number(options, "keysRefetchSeconds", 30, 1),
    lastKnownGoodSeconds:
      whenUnreachable === "deny" ? undefined : number(whenUnreachable, "lastKnownGoodSeconds", 0, 0),
    leewaySeconds: number(options, "leewaySeconds", 0, 0),
    answerMilliseconds: number(options, "answerMilliseconds", 3000, 1),
    cacheSize: number(options, "cacheSize", 5000, 0),
    proofsKept: number(options, "proofsKept", 200_000, 1),
    requireBound: options.requireBound ?? false,
    origin: readOrigin(options.origin),
    log: options.log ?? silent,
    nowSeconds: options.nowSeconds ?? (() => Date.now() / 1000),
    monotonicMs: options.monotonicMs ?? openMonotonic(),
  };
}

/** The strictest of the modes of these scopes; the default where none is demanded. */
export function modeFor({ mode, scopes }: Pick<Settings, "mode" | "scopes">, demanded: readonly string[]): Mode {
  if (demanded.length === 0) return mode;
  const found = demanded.map((scope) => modes.indexOf(scopes.get(scope) ?? mode));
  return modes[Math.max(...found)]!;
}

/** An address that clients use, without a slash at the end. Throws TypeError. */
export function readOrigin(origin: string | undefined): string | undefined {
  if (origin === undefined) return undefined;
  const { protocol, search, hash } = URL.canParse(origin) ? new URL(origin) : { protocol: "", search: "", hash: "" };
  if (!/^https?:$/.test(protocol) || search !== "" || hash !== "") {
    throw new TypeError("origin is the address of this api, such as https://api.example.com");
  }
  return origin.replace(/\/+$/, "");
}

function assertHttps(text: unknown, name: string): void {
  const url = typeof text === "string" && URL.canParse(text) ? new URL(text) : undefined;
  const isPlain = url !== undefined && url.search === "" && url.hash === "" && url.username === "";
  if (!isPlain || url.protocol !== "https:") throw new TypeError(`${name} is not an https URL`);
}

/** The cheapest that hears of revoked tokens with what was given, whether that can be used or not. */
function defaultMode(given: ApiCredential | undefined): Mode {
  if (given === undefined) return "local";
  return Object.hasOwn(given, "privateKey") && given.secret === undefined ? "introspect" : "feed";
}

function assertPossible(mode: Mode, credential: OwnCredential | undefined): void {
  if (!modes.includes(mode)) throw new TypeError(`there is no mode ${mode}`);
  if (mode === "local") return;
  if (credential === undefined) {
    const forms = mode === "feed" ? "secret}" : "secret} or {id, privateKey}";
    throw new TypeError(`mode ${mode} needs the credential of the api, {id: "<project>/<api>", ${forms}`);
  }
  if (mode === "feed" && credential.kind === "key") {
    throw new TypeError("mode feed needs a secret: the list of revoked tokens cannot be asked for with a key");
  }
}

function number<Name extends string>(
  from: { readonly [name in Name]?: number | undefined },
  name: Name,
  fallback: number,
  least: number,
): number {
  const value = from[name] ?? fallback;
  if (!Number.isFinite(value) || value < least) throw new TypeError(`${name} is not a number from ${least} on`);
  return value;
}
