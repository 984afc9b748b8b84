/**
 * Keeps the keys of a trust as an issuer publishes them at a URL.
 *
 * Fetches at the start, from time to time, and when a token names an unknown key, but then not more often than twice a
 * minute. Bounded in size and time, follows no redirect. Once keys are known, a failure leaves them as they are.
 */
import type { Logger } from "pino";
import { fetchBytes } from "./fetch-bytes.ts";
import { readCoseKeySet, readJwkSet } from "./key-set.ts";
import type { KeySet } from "./key-set.ts";
import type { TrustSink } from "./trust.ts";

/** Where the keys are, and whom to tell of them. */
export interface KeySourceOptions {
  /** `https:`, or `http:` on a loopback address. */
  readonly url: string;
  /** PEM of the authorities that the server's certificate is checked against; default: the system's. */
  readonly ca?: string | undefined;
  readonly sink: TrustSink;
  readonly log: Logger;
  /** How often at most to look when asked. Default half a minute. */
  readonly atMostEveryMilliseconds?: number;
}

/** Keys that are kept current. */
export interface KeySource {
  /** Fetches again unless that was done a moment ago. Never rejects. */
  readonly refresh: () => Promise<void>;
  close(): void;
}

/** How often to look without being asked. */
const everyMilliseconds = 600_000;
const fetchMilliseconds = 5000;
const maxBytes = 64 * 1024;
const loopback = /^(localhost|127(\.\d+){3}|\[::1\])$/;

/** Fetches the keys; rejects when that fails. Then keeps them current until closed. */
export async function followKeys(options: KeySourceOptions): Promise<KeySource> {
  const { sink, log, ca } = options;
  const url = new URL(options.url);
  if (url.protocol !== "https:" && !(url.protocol === "http:" && loopback.test(url.hostname))) {
    throw new TypeError("keys are fetched over https, or over http from this machine");
  }
  const atMostEvery = options.atMostEveryMilliseconds ?? 30_000;
  let known: KeySet = new Map();
  let fetchedAt = -Infinity;
  let pending: Promise<void> | undefined;

  const update = async (): Promise<void> => {
    fetchedAt = performance.now();
    const keys = await fetchKeys(url, ca);
    for (const [kid, key] of keys) sink.learnKey(kid, key);
    for (const kid of known.keys()) if (!keys.has(kid)) sink.forgetKey(kid);
    known = keys;
  };
  const refresh = (): Promise<void> => {
    if (pending === undefined && performance.now() - fetchedAt < atMostEvery) return Promise.resolve();
    pending ??= update()
      .catch((error: unknown) =>
        log.warn({ err: error, url: url.origin + url.pathname }, "keys not fetched, the last ones stay"),
      )
      .finally(() => (pending = undefined));
    return pending;
  };

  await update();
  const timer = setInterval(() => void refresh(), everyMilliseconds);
  timer.unref();
  return { refresh, close: () => clearInterval(timer) };
}

async function fetchKeys(url: URL, ca: string | undefined): Promise<KeySet> {
  const { status, type, body } = await fetchBytes(url, {
    headers: { accept: "application/jwk-set+json, application/cose-key-set, application/json" },
    ca,
    answerMilliseconds: fetchMilliseconds,
    bodyMilliseconds: fetchMilliseconds,
    maxBytes,
  });
  if (status !== 200) throw new Error(`status ${status}`);
  if (type.includes("json")) return readJwkSet(JSON.parse(body.toString("utf8")));
  if (type.includes("cose") || type.includes("cbor")) return readCoseKeySet(body);
  throw new TypeError(`neither a JWK Set nor a COSE Key Set: ${type || "no content type"}`);
}
