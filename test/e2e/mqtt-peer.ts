/**
 * MQTT.js as a client that is not ours: over TLS or WebSocket, with a token alone or with the proof of its key, one
 * connection and no second attempt.
 */
import { createPrivateKey, sign } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { connect as connectTls, type TLSSocket } from "node:tls";
import mqtt, { MqttClient, type IClientOptions, type IClientPublishOptions } from "mqtt";
import { createWebSocketStream, WebSocket } from "ws";
import { within, type Ready } from "./fixture.ts";

export interface PeerMessage {
  readonly topic: string;
  readonly payload: string;
}

/** One session. */
export class MqttPeer {
  readonly client: MqttClient;
  /** When the connection ended, in seconds since 1970. */
  readonly closed: Promise<number>;
  isClosed = false;
  /** Whether the broker had a session of it. */
  isResumed = false;
  readonly #messages: PeerMessage[] = [];
  readonly #waiting = new Set<() => void>();

  constructor(client: MqttClient) {
    this.client = client;
    client.on("error", () => undefined);
    client.once("connect", ({ sessionPresent }) => (this.isResumed = sessionPresent));
    client.on("message", (topic, payload) => {
      this.#messages.push({ topic, payload: payload.toString() });
      for (const resolve of this.#waiting) resolve();
      this.#waiting.clear();
    });
    this.closed = new Promise((resolve) => {
      client.once("close", () => {
        this.isClosed = true;
        resolve(Date.now() / 1000);
      });
    });
  }

  /** Waits for CONNACK; rejects with its code as `code`. */
  async connected(): Promise<this> {
    const connected = new Promise<void>((resolve) => this.client.once("connect", () => resolve()));
    await within("CONNACK", Promise.race([connected, this.closed.then(() => failClosed())]));
    return this;
  }

  /** What SUBACK grants: a QoS or 128. */
  async subscribe(filter: string, qos: 0 | 1 = 1): Promise<number> {
    return within(
      `SUBACK for ${filter}`,
      new Promise((resolve, reject) => {
        this.client.subscribe(filter, { qos }, (error, _granted, packet) => {
          const code = packet?.granted[0];
          if (typeof code === "number") resolve(code);
          else reject(error ?? new Error("no code"));
        });
      }),
    );
  }

  /** Resolves when acknowledged, rejects when the connection ends before. */
  async publish(topic: string, payload: string | Buffer, options: IClientPublishOptions = { qos: 1 }): Promise<void> {
    const acknowledged = this.client.publishAsync(topic, payload, options);
    await within(`PUBACK for ${topic}`, Promise.race([acknowledged, this.closed.then(() => failClosed())]));
  }

  /** The next message that fits; those before it are dropped. */
  async message(fits: (message: PeerMessage) => boolean = () => true): Promise<PeerMessage> {
    const find = async (): Promise<PeerMessage> => {
      for (;;) {
        for (let next = this.#messages.shift(); next !== undefined; next = this.#messages.shift()) {
          if (fits(next)) return next;
        }
        await new Promise<void>((resolve) => this.#waiting.add(resolve));
      }
    };
    return within("a message", find());
  }

  end(): void {
    this.client.end(true);
  }
}

/** Where a broker is, and whom to trust there. */
export interface Served {
  readonly ready: Pick<Ready, "mqtts" | "wss" | "ca">;
}

const once1 = { reconnectPeriod: 0, protocolVersion: 4, keepalive: 0 } as const;

/** Connects with a bearer token; rejects with the CONNACK code as `code`. */
export function connectBearer(
  { ready }: Served,
  transport: "mqtts" | "wss",
  clientId: string,
  token: string,
  options: IClientOptions = {},
): Promise<MqttPeer> {
  const ca = readFileSync(ready.ca);
  const client = mqtt.connect(ready[transport], {
    ...once1,
    ca,
    clientId,
    username: "any",
    password: token,
    ...options,
  });
  return orRefusal(new MqttPeer(client));
}

/** Connects with the certificate of an agent and nothing else. */
export function connectCertificate(
  { ready }: Served,
  dir: string,
  clientId: string,
  options: IClientOptions = {},
): Promise<MqttPeer> {
  const [ca, cert, key] = [ready.ca, join(dir, "certificate.pem"), join(dir, "key.pem")].map((file) =>
    readFileSync(file),
  );
  const own = { ca: ca!, cert: cert!, key: key!, clientId };
  return orRefusal(new MqttPeer(mqtt.connect(ready.mqtts, { ...once1, ...own, ...options })));
}

/** Connects with a bound token and a signature over this connection's TLS exporter. `dir` is the folder of an agent. */
export async function connectProof(
  { ready }: Served,
  transport: "mqtts" | "wss",
  dir: string,
  clientId: string,
  token: string,
  prove: (socket: TLSSocket, keyPem: string) => Buffer = signExporter,
  options: IClientOptions = {},
): Promise<MqttPeer> {
  const ca = readFileSync(ready.ca);
  const url = new URL(ready[transport]);
  const { stream, tls } =
    transport === "wss" ? await openWebSocket(url.href, ca) : await openTls(Number(url.port), url.hostname, ca);
  const client = new MqttClient(() => stream, {
    ...once1,
    clientId,
    username: `ace${token}`,
    password: prove(tls, readFileSync(join(dir, "key.pem"), "utf8")),
    ...options,
  });
  return orRefusal(new MqttPeer(client));
}

/** RFC 9431, section 2.2.4.2.1, with ES256 as r‖s. */
export function signExporter(socket: TLSSocket, keyPem: string): Buffer {
  const exported = socket.exportKeyingMaterial(32, "EXPORTER-ACE-MQTT-Sign-Challenge", Buffer.alloc(0));
  return sign("sha256", exported, { key: createPrivateKey(keyPem), dsaEncoding: "ieee-p1363" });
}

async function openTls(port: number, host: string, ca: Buffer) {
  const tls = connectTls({ port, host, servername: host, ca });
  await within("a TLS handshake", once(tls, "secureConnect"));
  return { stream: tls, tls };
}

async function openWebSocket(url: string, ca: Buffer) {
  const socket = new WebSocket(url, "mqtt", { ca });
  const opened = Promise.all([once(socket, "upgrade"), once(socket, "open")]);
  const [[response]] = await within("a WebSocket", opened);
  const stream = createWebSocketStream(socket);
  // such a stream stays half open when the other end goes
  stream.once("end", () => stream.destroy());
  return { stream, tls: (response as { socket: TLSSocket }).socket };
}

async function orRefusal(peer: MqttPeer): Promise<MqttPeer> {
  let refusal: Error | undefined;
  peer.client.once("error", (error: Error) => (refusal = error));
  try {
    return await peer.connected();
  } catch (error) {
    peer.end();
    throw refusal ?? error;
  }
}

function failClosed(): never {
  throw new Error("the connection ended");
}
