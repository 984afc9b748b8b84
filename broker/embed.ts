/**
 * The gate and the three pieces beside it for a program that runs an Aedes of its own: give `createGate` who issues the
 * tokens, an emitter and a store, pass its `options` to the broker, and put `guard` where `broker.handle` would stand.
 *
 * Knows no registry: a client is who its token says, and lives as long as its token. Keys are given, or fetched from a
 * URL and kept current. The certificate of a device proves its key; what it may do comes from a token.
 */
import { X509Certificate } from "node:crypto";
import type { EventEmitter } from "node:events";
import { pino } from "pino";
import type { Logger } from "pino";
import type { Server } from "node:net";
import { openGate } from "./gate/hooks.ts";
import type { Gate } from "./gate/hooks.ts";
import type { GateLimits } from "./gate/limits.ts";
import { openArrivals } from "./mqtt/arrivals.ts";
import { brokerOptions } from "./mqtt/broker-options.ts";
import { openGuard } from "./mqtt/guard.ts";
import type { Handle } from "./mqtt/guard.ts";
import { defaultLimits } from "./mqtt/limits.ts";
import type { EngineLimits } from "./mqtt/limits.ts";
import { storeOf } from "./mqtt/pieces.ts";
import type { Piece } from "./mqtt/pieces.ts";
import { durableStore } from "./mqtt/store/durable-store.ts";
import { fireStoredWills } from "./mqtt/stored-wills.ts";
import { readCoseKeySet, readJwkSet } from "./trust/key-set.ts";
import type { JsonWebKeySet, KeySet } from "./trust/key-set.ts";
import { followKeys } from "./trust/key-source.ts";
import type { KeySource } from "./trust/key-source.ts";
import { createMemoryTrust } from "./trust/memory-trust.ts";
import type { DeviceAuthority } from "./trust/trust.ts";
import { nameAuthority } from "../shared/device-certificate.ts";

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
  /** What Aedes routes messages with: `emitter()`. */
  readonly emitter?: object;
  /** Where sessions, queues, retained messages and wills are kept: `durableStore({ file })`, or another persistence. */
  readonly store?: object;
  /** Pieces that this program does without, by name; a gate does not open with a piece missing that is not named here. */
  readonly without?: readonly Piece[];
  readonly log?: Logger;
  readonly limits?: Partial<GateLimits & EngineLimits>;
  /** Seconds since 1970, fractions welcome. Default: the clock. */
  readonly nowSeconds?: () => number;
}

/** A gate that is open. */
export interface EmbeddedGate {
  /** For `Aedes.createBroker(options)`. The broker's TLS server must ask for client certificates and let all in. */
  readonly options: ReturnType<typeof brokerOptions>;
  /** The gate itself, for `guard`. */
  readonly gate: Gate;
  readonly without: readonly Piece[];
  readonly limits: Partial<EngineLimits> | undefined;
  readonly log: Logger;
  /** Stops timers and fetching; connections are for the broker to close. */
  close(): void;
}

/** A guard in front of a broker of one's own. */
export interface EmbeddedGuard {
  /** Takes the place of `broker.handle`: for the listener of a `net` or `tls` server, or with the request of a WebSocket. */
  readonly handle: Handle;
  /**
   * Watches a server's connections from the moment they are accepted: how many, how often, and how long until CONNACK. Call it
   * before the server listens.
   */
  watch(server: Server): void;
  close(): void;
}

/**
 * Opens a gate. Rejects with a TypeError for options that do not fit, for a piece that is missing and not named in
 * `without`, and when the keys cannot be had.
 */
export async function createGate(options: EmbeddedGateOptions): Promise<EmbeddedGate> {
  const log = options.log ?? pino({ level: "silent" });
  const audiences = [...(options.audiences ?? []), ...(options.audience === undefined ? [] : [options.audience])];
  if (audiences.length === 0) throw new TypeError("a gate needs an audience");
  if ((options.keys === undefined) === (options.keysUrl === undefined)) {
    throw new TypeError("a gate needs either keys or a keysUrl");
  }
  const without = options.without ?? [];
  for (const piece of ["emitter", "store"] as const) {
    if (options[piece] === undefined && !without.includes(piece)) {
      throw new TypeError(`a gate needs ${piece}, or to be told that it is to do without: without: ["${piece}"]`);
    }
  }

  let source: KeySource | undefined;
  const trust = createMemoryTrust({
    issuer: options.issuer,
    knowsClients: false,
    deviceAuthorities: readAuthorities(options.deviceAuthorities),
    ...(options.keysUrl !== undefined && { refreshKeys: async () => source?.refresh() }),
  });
  for (const audience of audiences) trust.learnApi({ audience, kind: "mqtt", bearer: options.bearer ?? false });

  if (options.keysUrl !== undefined) {
    source = await followKeys({ url: options.keysUrl, ca: options.ca, sink: trust, log });
  } else {
    for (const [kid, key] of readKeys(options.keys!)) trust.learnKey(kid, key);
  }

  const store = options.store ?? durableStore({ file: ":memory:", limits: options.limits });
  const keeper = storeOf(store);
  const gate = openGate({
    trust,
    log,
    limits: options.limits,
    nowSeconds: options.nowSeconds,
    isGuardNeeded: !without.includes("guard"),
    // takes all of them: a message goes to one member, of those that are there and of those that are not
    isSharing: !(["guard", "emitter", "store"] as const).some((piece) => without.includes(piece)),
    mayKeepSession: keeper && ((clientId) => keeper.mayKeepSession(clientId)),
  });
  return {
    options: brokerOptions(gate, { emitter: options.emitter, store, limits: options.limits }),
    gate,
    without,
    limits: options.limits,
    log,
    close() {
      source?.close();
      gate.close();
    },
  };
}

/** Puts the wire guard in front of a broker that was made with the gate's options. Throws a TypeError if one is missing. */
export function guard(broker: object, { gate, without, limits, log }: EmbeddedGate): EmbeddedGuard {
  const arrivals = openArrivals({ limits: { ...defaultLimits, ...limits }, log });
  const handle = openGuard(broker, gate, {
    limits,
    without,
    admitted: (connection, request) => arrivals.settle(connection, request),
  });
  // nobody listening would end the process
  (broker as EventEmitter).on("error", (error: Error) => log.error({ err: error }, "broker failed"));
  fireStoredWills(broker, gate, log).catch((error: unknown) => log.error({ err: error }, "stored wills were not read"));
  return { handle, watch: (server) => arrivals.watch(server), close: () => arrivals.close() };
}

function readKeys(keys: JsonWebKeySet | Uint8Array): KeySet {
  return keys instanceof Uint8Array ? readCoseKeySet(keys) : readJwkSet(keys);
}

function readAuthorities(pem: string | undefined): DeviceAuthority[] {
  if (pem === undefined) return [];
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g);
  if (blocks === null) throw new TypeError("deviceAuthorities holds no certificate");
  return blocks.map((block) => {
    const certificate = new X509Certificate(block);
    return { id: nameAuthority(certificate), certificate };
  });
}
