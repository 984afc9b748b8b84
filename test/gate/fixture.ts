/**
 * A broker on free ports with a gate on a trust in memory, and the issuer, authority and clients to try it with.
 */
import { randomBytes } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { pino } from "pino";
import { openGate } from "../../broker/gate/hooks.ts";
import type { Gate } from "../../broker/gate/hooks.ts";
import type { GateLimits } from "../../broker/gate/limits.ts";
import type { RefusedAtGate } from "../../broker/gate/report.ts";
import { noGateMeter } from "../../broker/gate/meter.ts";
import { startEngine } from "../../broker/mqtt/engine.ts";
import type { Engine } from "../../broker/mqtt/engine.ts";
import { createMemoryTrust } from "../../broker/trust/memory-trust.ts";
import type { MemoryTrust } from "../../broker/trust/memory-trust.ts";
import { toBase64url } from "../../shared/base64url.ts";
import type { Claims } from "../../shared/claims.ts";
import { readPublicKey } from "../../shared/cose-key.ts";
import { nameAuthority } from "../../shared/device-certificate.ts";
import { mintCwt } from "../../shared/cwt.ts";
import { createSigner } from "../../shared/es256.ts";
import type { Signer } from "../../shared/es256.ts";
import { mintJwt } from "../../shared/jwt.ts";
import { parsePermission } from "../../shared/scope.ts";
import type { IConnectPacket } from "mqtt-packet";
import { makeAuthority, makePrivateKey } from "./certificates.ts";
import type { Identity, TestAuthority } from "./certificates.ts";
import { Wire } from "./wire.ts";
import type { WireOptions } from "./wire.ts";

export const ISSUER = "https://issuer.test";
export const AUDIENCE = "acme.telemetry";
export const BEARER_AUDIENCE = "acme.open";
export const HTTP_AUDIENCE = "acme.web";
export const KID = "k1";

export interface LogLine {
  readonly msg: string;
  readonly level: number;
  readonly reason?: string;
  readonly at?: string;
  readonly clientId?: string;
  readonly id?: string;
  readonly address?: string;
}

export type TokenWish = Partial<Omit<Claims, "scope">> & {
  readonly allow?: readonly string[];
  readonly scope?: Claims["scope"];
  readonly signer?: Signer;
  readonly ttl?: number;
};

export interface Fixture {
  readonly authority: TestAuthority;
  readonly signer: Signer;
  readonly trust: MemoryTrust;
  readonly gate: Gate;
  readonly engine: Engine;
  readonly log: LogLine[];
  /** Refusals as they are told to whoever keeps a record of them. */
  readonly told: RefusedAtGate[];
  /** The reasons of sessions that were taken back, as they were counted. */
  readonly counted: string[];
  /** A device the trust knows, with its key. */
  device(name?: string): { readonly id: string; readonly privateKey: KeyObject };
  certificate(device: { id: string; privateKey: KeyObject }): Promise<Identity>;
  claims(sub: string, wish?: TokenWish): Claims;
  cwt(sub: string, wish?: TokenWish): Uint8Array;
  jwt(sub: string, wish?: TokenWish): string;
  open(options?: Partial<WireOptions>): Promise<Wire>;
  /** Connects a device with a bound token and a proof. */
  enter(
    device: { id: string; privateKey: KeyObject },
    wish?: TokenWish,
    packet?: Partial<IConnectPacket>,
  ): Promise<Wire>;
  /** The reason of the last refusal that was logged. */
  lastReason(at?: string): string | undefined;
  /** The next log line that fits; looks back to where the last look ended. */
  logged(fits: (line: LogLine) => boolean): Promise<LogLine>;
  /** Acts once, in the very turn in which such a line is logged. */
  when(fits: (line: LogLine) => boolean, act: () => void): void;
  close(): Promise<void>;
}

export const nowSeconds = (): number => Math.floor(Date.now() / 1000);

export function userName(token: Uint8Array | string): string {
  return `ace${typeof token === "string" ? token : toBase64url(token)}`;
}

let names = 0;

/** `told`: what a trust in memory is to say of itself. */
export async function openFixture(
  limits: Partial<GateLimits> = {},
  told: { readonly isStale?: () => boolean; readonly refreshKeys?: () => Promise<void> } = {},
): Promise<Fixture> {
  const authority = await makeAuthority();
  const server = await authority.server();
  const signer = createSigner(KID, makePrivateKey());
  const trust = createMemoryTrust({
    issuer: ISSUER,
    deviceAuthorities: [{ id: nameAuthority(authority.x509), certificate: authority.x509 }],
    ...(told.isStale && { isStale: told.isStale }),
  });
  if (told.refreshKeys !== undefined) Object.assign(trust, { refreshKeys: told.refreshKeys });
  trust.learnKey(KID, signer.publicKey);
  trust.learnApi({ audience: AUDIENCE, kind: "mqtt", bearer: false });
  trust.learnApi({ audience: BEARER_AUDIENCE, kind: "mqtt", bearer: true });
  trust.learnApi({ audience: HTTP_AUDIENCE, kind: "http", bearer: true });

  const log: LogLine[] = [];
  const counted: string[] = [];
  const meter = { ...noGateMeter, takenBack: (reason: string) => void counted.push(reason) };
  const listeners = new Set<() => void>();
  const write = (line: string): void => {
    log.push(JSON.parse(line) as LogLine);
    for (const listener of listeners) listener();
  };
  const logger = pino({ level: "debug" }, { write });
  // tests look for lines of their own among those of many refusals
  const allLines = { refusalLines: 1_000_000, refusalLinesPerAddress: 1_000_000 };
  const refused: RefusedAtGate[] = [];
  const gate = openGate({
    trust,
    log: logger,
    meter,
    limits: { ...allLines, ...limits },
    refused: (one) => refused.push(one),
  });
  const engine = await startEngine({
    gate,
    tls: { cert: server.cert, key: server.key, ca: authority.cert },
    host: "localhost",
    mqttsPort: 0,
    wssPort: 0,
    mqttPort: 0,
    log: logger,
  });
  const wires: Wire[] = [];
  let seen = 0;

  const fixture: Fixture = {
    authority,
    signer,
    trust,
    gate,
    engine,
    log,
    told: refused,
    counted,
    device(name = `d${++names}`) {
      const id = `acme.${name}`;
      trust.learnClient({ id, enabled: true });
      return { id, privateKey: makePrivateKey() };
    },
    certificate: (device) => authority.device(device.id, { privateKey: device.privateKey }),
    claims(sub, { allow = [`pubsub:t/${sub}/#`], ttl = 600, signer: _signer, ...wish } = {}) {
      const now = nowSeconds();
      const scope = allow.map(parsePermission);
      return { iss: ISSUER, sub, aud: AUDIENCE, exp: now + ttl, iat: now, id: randomBytes(8), scope, ...wish };
    },
    cwt: (sub, wish) => mintCwt(fixture.claims(sub, wish), wish?.signer ?? signer),
    jwt: (sub, wish) => mintJwt(fixture.claims(sub, wish), wish?.signer ?? signer),
    async open(options = {}) {
      const port = { tls: engine.mqttsPort, wss: engine.wssPort, tcp: engine.mqttPort }[options.transport ?? "tls"]!;
      const wire = await Wire.open({ port, ca: authority.cert, ...options });
      wires.push(wire);
      return wire;
    },
    async enter(device, wish = {}, packet = {}) {
      const wire = await fixture.open();
      const cnf = { kind: "key", key: readPublicKey(device.privateKey) } as const;
      const connack = await wire.connect({
        clientId: device.id,
        username: userName(fixture.cwt(device.id, { cnf, ...wish })),
        password: wire.prove(device.privateKey),
        ...packet,
      });
      if (connack.returnCode !== 0) throw new Error(`connack ${connack.returnCode}: ${fixture.lastReason()}`);
      return wire;
    },
    lastReason: (at) => log.findLast((line) => line.msg.startsWith("refused") && (!at || line.at === at))?.reason,
    async logged(fits) {
      for (;;) {
        while (seen < log.length) if (fits(log[seen++]!)) return log[seen - 1]!;
        await new Promise<void>((resolve) => {
          const listener = (): void => {
            listeners.delete(listener);
            resolve();
          };
          listeners.add(listener);
        });
      }
    },
    when(fits, act) {
      const listener = (): void => {
        if (!fits(log.at(-1)!)) return;
        listeners.delete(listener);
        act();
      };
      listeners.add(listener);
    },
    async close() {
      for (const wire of wires) wire.drop();
      await engine.close();
      gate.close();
    },
  };
  return fixture;
}
