/**
 * The gate for a program that runs an Aedes of its own: give it who issues the tokens, and pass `options` to the broker.
 *
 * Knows no registry: a client is who its token says, and lives as long as its token. Keys are given, or fetched from a
 * URL and kept current. The certificate of a device proves its key; what it may do comes from a token.
 */
import { X509Certificate } from "node:crypto";
import { pino } from "pino";
import type { Logger } from "pino";
import { openGate } from "./gate/hooks.ts";
import type { GateLimits } from "./gate/limits.ts";
import { brokerOptions } from "./mqtt/broker-options.ts";
import { readCoseKeySet, readJwkSet } from "./trust/key-set.ts";
import type { JsonWebKeySet, KeySet } from "./trust/key-set.ts";
import { followKeys } from "./trust/key-source.ts";
import type { KeySource } from "./trust/key-source.ts";
import { createMemoryTrust } from "./trust/memory-trust.ts";
import type { Trust } from "./trust/trust.ts";

/** Whose tokens the gate accepts, and for what. */
export interface EmbeddedGateOptions {
  /** The `iss` of the tokens. */
  readonly issuer: string;
  /** The `aud` of the tokens, one or several. */
  readonly audience?: string;
  readonly audiences?: readonly string[];
  /** The issuer's keys: a JWK Set, or the bytes of a COSE Key Set. Either this or `keysUrl`. */
  readonly keys?: JsonWebKeySet | Uint8Array;
  /** Where the issuer publishes them; `https:`, or `http:` on this machine. */
  readonly keysUrl?: string;
  /** PEM of the authorities for the certificate of `keysUrl`. Default: the system's. */
  readonly ca?: string;
  /** PEM of the authorities that issue device certificates. Without it client certificates are refused. */
  readonly deviceAuthorities?: string;
  /** Whether tokens without a bound key are let in. Default false. */
  readonly bearer?: boolean;
  /** The broker's persistence, where it is not the one in memory; the gate puts a guard around it. */
  readonly persistence?: object;
  readonly log?: Logger;
  readonly limits?: Partial<GateLimits>;
  /** Seconds since 1970, fractions welcome. Default: the clock. */
  readonly nowSeconds?: () => number;
}

/** A gate that is open. */
export interface EmbeddedGate {
  /** For `Aedes.createBroker(options)`. The broker's TLS server must ask for client certificates and let all in. */
  readonly options: ReturnType<typeof brokerOptions>;
  /** Stops timers and fetching; connections are for the broker to close. */
  close(): void;
}

/** Opens a gate. Rejects with a TypeError for options that do not fit, and when the keys cannot be had. */
export async function createGate(options: EmbeddedGateOptions): Promise<EmbeddedGate> {
  const log = options.log ?? pino({ level: "silent" });
  const audiences = [...(options.audiences ?? []), ...(options.audience === undefined ? [] : [options.audience])];
  if (audiences.length === 0) throw new TypeError("a gate needs an audience");
  if ((options.keys === undefined) === (options.keysUrl === undefined)) {
    throw new TypeError("a gate needs either keys or a keysUrl");
  }

  const trust = createMemoryTrust({
    issuer: options.issuer,
    knowsClients: false,
    deviceAuthorities: readCertificates(options.deviceAuthorities),
  });
  for (const audience of audiences) trust.learnApi({ audience, kind: "mqtt", bearer: options.bearer ?? false });

  let source: KeySource | undefined;
  if (options.keysUrl !== undefined) {
    source = await followKeys({ url: options.keysUrl, ca: options.ca, sink: trust, log });
  } else {
    for (const [kid, key] of readKeys(options.keys!)) trust.learnKey(kid, key);
  }

  const asked: Trust = source === undefined ? trust : { ...trust, refreshKeys: source.refresh };
  const gate = openGate({ trust: asked, log, limits: options.limits, nowSeconds: options.nowSeconds });
  return {
    options: brokerOptions(gate, options.persistence),
    close() {
      source?.close();
      gate.close();
    },
  };
}

function readKeys(keys: JsonWebKeySet | Uint8Array): KeySet {
  return keys instanceof Uint8Array ? readCoseKeySet(keys) : readJwkSet(keys);
}

function readCertificates(pem: string | undefined): X509Certificate[] {
  if (pem === undefined) return [];
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g);
  if (blocks === null) throw new TypeError("deviceAuthorities holds no certificate");
  return blocks.map((block) => new X509Certificate(block));
}
