/**
 * Where an attack takes place: a broker in a process of its own, an innocent pair in another, and here whoever attacks.
 *
 * Every row gets a topic prefix and clients that no other row has used. A broker that an attack has ended is started
 * again for the next one.
 */
import { request } from "node:https";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { IConnectPacket } from "mqtt-packet";
import type { EngineLimits } from "../../../broker/mqtt/limits.ts";
import { toBase64url } from "../../../shared/base64url.ts";
import type { Signer } from "../../../shared/es256.ts";
import { Wire, type WireOptions } from "../../gate/wire.ts";
import { startChild, type Child } from "./child.ts";
import { connectFrame, type ConnectFrame } from "./frames.ts";
import { bearerAudience, furnishGrounds, mintFor, type Device, type Grounds, type TokenWish } from "./installation.ts";
import type { PairCount } from "./innocent.ts";
import type { VictimMessage, VictimPorts, VictimUsage } from "./victim.ts";

export interface ArenaOptions {
  /** What differs from the broker's defaults. */
  readonly limits?: Partial<EngineLimits> | undefined;
  /** Whether there is an innocent pair. Default true. */
  readonly hasPair?: boolean | undefined;
  /** Starts an authority that publishes this key, and says where; the broker is then an Aedes with the four pieces. */
  readonly publishKey?: ((signer: Signer) => Promise<string>) | undefined;
}

/** What the broker and the innocent saw of one attack. */
export interface Damage {
  /** Undefined while the broker lives. */
  readonly end: string | undefined;
  /** What the broker wrote to stderr. */
  readonly complaints: string;
  readonly before: VictimUsage;
  readonly after: VictimUsage | undefined;
  readonly pair: PairCount | undefined;
}

export interface ClientChange {
  readonly enabled?: boolean;
  readonly roles?: readonly string[];
}

/** One that enters with a bearer token over plain MQTT. */
export interface Entrant extends TokenWish {
  /** Default: a client that nobody used. */
  readonly sub?: string;
}

export interface Arena {
  readonly port: VictimPorts;
  readonly caPem: string;
  readonly issuer: string;
  readonly grounds: Grounds;
  /** The topic prefix of this row, without a slash at its end. */
  readonly at: string;
  /** The lines of the broker's log. */
  log(): string[];
  /** A client id of the installation that nobody used before. */
  client(): string;
  device(): Device;
  token(sub: string, wish: TokenWish): Uint8Array;
  /** User name and password that carry a bearer token. */
  bearer(sub: string, wish: TokenWish): { readonly username: string; readonly password: Buffer };
  /** A CONNECT with a bearer token, as bytes. */
  connectBytes(entrant: Entrant, connect?: Partial<ConnectFrame>): Buffer;
  open(options?: Partial<WireOptions>): Promise<Wire>;
  /** Connects over plain MQTT; rejects when that is refused. */
  enter(entrant: Entrant, packet?: Partial<IConnectPacket>): Promise<Wire>;
  /** Connects a device over TLS with a bound token and a proof. */
  enterDevice(device: Device, wish: TokenWish, packet?: Partial<IConnectPacket>): Promise<Wire>;
  /** Changes a client at the authority; what the authority answers to anything else. */
  change(clientId: string, change: ClientChange): Promise<void>;
  ask(method: string, path: string, body: object): Promise<number>;
  /** Ends the broker with a signal and starts it on the same data; there is no pair from then on. */
  restart(signal: "SIGKILL" | "SIGTERM"): Promise<void>;
  usage(): Promise<VictimUsage>;
  begin(): Promise<void>;
  finish(): Promise<Damage>;
  close(): Promise<void>;
}

/** What the innocent pair exchanges its messages on. */
export const innocentTopic = "acme/innocent";

/** The issuer of an authority that is not the broker's. */
const elsewhere = "https://issuer.test";

/** Furnishes an installation and starts everything. */
export async function openArena(options: ArenaOptions = {}): Promise<Arena> {
  const grounds = await furnishGrounds();
  const wires: Wire[] = [];
  let victim: Child;
  let pair: Child | undefined;
  let dataDir = "";
  let port: VictimPorts;
  let clientsUsed = 0;
  let devicesUsed = 0;
  let rows = 0;
  let before: VictimUsage;

  const startVictim = async (): Promise<void> => {
    const logFile = join(dataDir, "attacked.log");
    const keysUrl = await options.publishKey?.(grounds.signer);
    const authority = keysUrl && { issuer: elsewhere, keysUrl, audience: bearerAudience };
    victim = startChild("victim", { dataDir, logFile, limits: options.limits, authority });
    const message = await victim.next<VictimMessage>();
    if (!("listening" in message)) throw new Error("the broker does not say where it listens");
    port = message.listening;
  };
  const startPair = async (): Promise<void> => {
    const wish = { allow: [`pubsub:${innocentTopic}`], ttlSeconds: 3600 };
    const enter = (sub: string): object => {
      const { username, password } = arena.bearer(sub, wish);
      return { clientId: sub, username, password: password.toString() };
    };
    pair = startChild("innocent", {
      port: port.mqtt,
      topic: innocentTopic,
      publisher: enter("acme.alice"),
      subscriber: enter("acme.bob"),
    });
    await pair.next();
  };
  const startAll = async (): Promise<void> => {
    dataDir = grounds.copy();
    writeFileSync(join(dataDir, "attacked.log"), "");
    clientsUsed = devicesUsed = 0;
    await startVictim();
    if (options.hasPair !== false) await startPair();
  };
  const stopPair = async (): Promise<void> => {
    await pair?.stop();
    pair = undefined;
  };
  const dropWires = (): void => {
    for (const wire of wires.splice(0)) wire.drop();
  };
  const usage = async (question: "usage" | "mark"): Promise<VictimUsage> => {
    const message = await victim.ask<VictimMessage>(question);
    if (!("usage" in message)) throw new Error("the broker does not say what it uses");
    return message.usage;
  };

  const arena: Arena = {
    get port() {
      return port;
    },
    get issuer() {
      return options.publishKey === undefined ? `https://localhost:${port.http}` : elsewhere;
    },
    get at() {
      return `acme/row${rows}`;
    },
    caPem: grounds.caPem,
    grounds,
    log: () => readFileSync(join(dataDir, "attacked.log"), "utf8").split("\n"),
    client() {
      const id = grounds.clients[clientsUsed++];
      if (id === undefined) throw new Error("no client left that nobody used");
      return id;
    },
    device() {
      const device = grounds.devices[devicesUsed++];
      if (device === undefined) throw new Error("no device left that nobody used");
      return device;
    },
    token: (sub, wish) => mintFor(grounds, arena.issuer, sub, wish),
    bearer: (sub, wish) => ({ username: "any", password: Buffer.from(toBase64url(arena.token(sub, wish))) }),
    connectBytes({ sub = arena.client(), ...wish }, connect = {}) {
      return connectFrame({ clientId: sub, ...arena.bearer(sub, wish), ...connect });
    },
    async open(wireOptions = {}) {
      const transport = wireOptions.transport ?? "tcp";
      const ports = { tcp: port.mqtt, tls: port.mqtts, wss: port.wss };
      const wire = await Wire.open({ port: ports[transport], transport, ca: grounds.caPem, ...wireOptions });
      wires.push(wire);
      return wire;
    },
    async enter({ sub = arena.client(), ...wish }, packet = {}) {
      const wire = await arena.open();
      const { returnCode } = await wire.connect({ clientId: sub, ...arena.bearer(sub, wish), ...packet });
      if (returnCode !== 0) throw new Error(`${sub} is refused with code ${returnCode}`);
      return wire;
    },
    async enterDevice(device, wish, packet = {}) {
      const wire = await arena.open({ transport: "tls" });
      const token = arena.token(device.id, { ...wish, boundTo: device.privateKey });
      const username = `ace${toBase64url(token)}`;
      const password = wire.prove(device.privateKey);
      const { returnCode } = await wire.connect({ clientId: device.id, username, password, ...packet });
      if (returnCode !== 0) throw new Error(`${device.id} is refused with code ${returnCode}`);
      return wire;
    },
    async change(clientId, change) {
      const [project, name] = clientId.split(".");
      const status = await arena.ask("PATCH", `/v1/projects/${project}/clients/${name}`, change);
      if (status !== 200) throw new Error(`the authority answers ${status}`);
    },
    ask(method, path, body) {
      const adminKey = readFileSync(join(dataDir, "admin.key"), "utf8").trim();
      const headers = { "content-type": "application/json", authorization: `Bearer ${adminKey}` };
      const target = { host: "localhost", port: port.http, ca: grounds.caPem, method, path, headers };
      return new Promise((resolve, reject) => {
        const asking = request(target, (response) => {
          response.resume().once("end", () => resolve(response.statusCode!));
        });
        asking.once("error", reject).end(JSON.stringify(body));
      });
    },
    async restart(signal) {
      await stopPair();
      // while its clients are connected: it would begin to do what follows from their going
      await victim.signal(signal);
      dropWires();
      await startVictim();
    },
    usage: () => usage("usage"),
    async begin() {
      rows++;
      if (!victim.isAlive || (pair === undefined && options.hasPair !== false)) {
        await stopPair();
        await victim.stop();
        await startAll();
      }
      await usage("mark");
      before = await usage("usage");
      pair?.tell("begin");
    },
    async finish() {
      // what the attack left behind is part of it, until the innocent is through
      const count = await pair?.ask<PairCount>("end").catch(() => undefined);
      dropWires();
      const after = await usage("usage").catch(() => undefined);
      const { end, complaints } = victim;
      if (end !== undefined || (count !== undefined && count.disconnects > 0)) await stopPair();
      return { end: end && `${end} ${firstLine(complaints)}`, complaints, before, after, pair: count };
    },
    async close() {
      dropWires();
      await stopPair();
      await victim.stop();
      grounds.remove();
    },
  };
  await startAll();
  return arena;
}

/** Of a stack trace the line that says what it was. */
function firstLine(complaints: string): string {
  return complaints.split("\n").find((line) => /^\w*Error/.test(line)) ?? "";
}
