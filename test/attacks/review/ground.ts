/**
 * A broker in this process whose parts a test can reach: an Aedes with the four pieces on a loopback port, a store whose limits
 * and clock are the test's, and clients with bearer tokens.
 */
import { once } from "node:events";
import { createServer, type AddressInfo } from "node:net";
import { Aedes } from "aedes";
import type { IConnectPacket } from "mqtt-packet";
import { pino } from "pino";
import { onTestFinished } from "vitest";
import { openGate, type Gate } from "../../../broker/gate/hooks.ts";
import type { EngineBroker } from "../../../broker/mqtt/aedes-client.ts";
import { brokerOptions } from "../../../broker/mqtt/broker-options.ts";
import { emitter } from "../../../broker/mqtt/emitter.ts";
import { openGuard } from "../../../broker/mqtt/guard.ts";
import { defaultLimits, type EngineLimits } from "../../../broker/mqtt/limits.ts";
import { noMeter, type Drop } from "../../../broker/mqtt/meter.ts";
import { durableStore, type Store } from "../../../broker/mqtt/store/durable-store.ts";
import { createMemoryTrust } from "../../../broker/trust/memory-trust.ts";
import type { Trust } from "../../../broker/trust/trust.ts";
import { mintJwt } from "../../../shared/jwt.ts";
import { createSigner, type Signer } from "../../../shared/es256.ts";
import { parsePermission } from "../../../shared/scope.ts";
import { makePrivateKey } from "../../gate/certificates.ts";
import { Wire } from "../../gate/wire.ts";

const issuer = "https://issuer.test";
const audience = "acme.open";
const everything = ["pubsub:#"];

export interface Line {
  readonly msg: string;
  readonly reason?: string;
  readonly detail?: string;
}

export interface Ground {
  readonly broker: EngineBroker;
  readonly gate: Gate;
  readonly store: Store;
  readonly clock: { now: number };
  readonly log: Line[];
  readonly port: number;
  /** A bearer token. */
  token(sub: string, allow?: readonly string[], signer?: Signer): string;
  /** A CONNECT with a bearer token; the client is the id without its suffix. */
  connectPacket(clientId: string, packet?: Partial<IConnectPacket>, allow?: readonly string[]): IConnectPacket;
  open(): Promise<Wire>;
  /** Connects; rejects when that is refused. */
  enter(clientId: string, packet?: Partial<IConnectPacket>, allow?: readonly string[]): Promise<Wire>;
}

export interface Wanted {
  readonly limits?: Partial<EngineLimits>;
  readonly refreshKeys?: Trust["refreshKeys"];
  /** Told of what does not reach a subscriber. */
  readonly dropped?: (why: Drop) => void;
}

/** Opens it; it closes with the test. */
export async function openGround(wanted: Wanted = {}): Promise<Ground> {
  const limits: EngineLimits = { ...defaultLimits, ...wanted.limits };
  const signer = createSigner("k", makePrivateKey());
  const memory = createMemoryTrust({ issuer, knowsClients: false });
  memory.learnKey("k", signer.publicKey);
  memory.learnApi({ audience, kind: "mqtt", bearer: true });
  const trust: Trust = wanted.refreshKeys === undefined ? memory : { ...memory, refreshKeys: wanted.refreshKeys };

  const log: Line[] = [];
  const logger = pino({ level: "debug" }, { write: (line: string) => void log.push(JSON.parse(line) as Line) });
  const clock = { now: Math.floor(Date.now() / 1000) };
  const store = durableStore({ file: ":memory:", limits, log: logger, nowSeconds: () => clock.now });
  const mayKeepSession = (clientId: string): boolean => store.mayKeepSession(clientId);
  const gate = openGate({ trust, log: logger, isGuardNeeded: true, mayKeepSession });
  const broker = await Aedes.createBroker(brokerOptions(gate, { emitter: emitter(), store, limits }));
  const meter = { ...noMeter, ...(wanted.dropped && { dropped: wanted.dropped }) };
  const handle = openGuard(broker, gate, { limits, meter });
  const server = createServer({ noDelay: true }, (socket) => handle(socket));
  await once(server.listen(0, "127.0.0.1"), "listening");
  const wires: Wire[] = [];
  onTestFinished(async () => {
    for (const wire of wires) wire.drop();
    server.close();
    await new Promise<void>((resolve) => broker.close(() => resolve()));
    gate.close();
    store.close();
  });

  const ground: Ground = {
    broker: broker as unknown as Ground["broker"],
    gate,
    store,
    clock,
    log,
    port: (server.address() as AddressInfo).port,
    token(sub, allow = everything, by = signer) {
      const iat = Math.floor(Date.now() / 1000);
      const scope = allow.map(parsePermission);
      return mintJwt({ iss: issuer, sub, aud: audience, iat, exp: iat + 600, id: Buffer.of(1), scope }, by);
    },
    connectPacket(clientId, packet = {}, allow = everything) {
      const password = Buffer.from(ground.token(clientId.split(":", 1)[0]!, allow));
      const fixed = { cmd: "connect", protocolId: "MQTT", protocolVersion: 4, clean: true, keepalive: 0 } as const;
      return { ...fixed, clientId, username: "x", password, ...packet };
    },
    async open() {
      const wire = await Wire.open({ port: ground.port, transport: "tcp" });
      wires.push(wire);
      return wire;
    },
    async enter(clientId, packet, allow) {
      const wire = await ground.open();
      const { returnCode } = await wire.connect(ground.connectPacket(clientId, packet, allow));
      if (returnCode !== 0) throw new Error(`connack ${returnCode}`);
      return wire;
    },
  };
  return ground;
}

/** For what ends in its own time, and later on a busy machine. */
export const patienceMs = 10_000;

/** Lets others have their turn. */
export async function turns(count = 3): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
}
