/**
 * An MQTT client that is all hands: sends the packets or bytes it is told to and gives back what arrives, over TLS, plain
 * TCP or WebSocket. No keepalive, no reconnect, no acknowledgement that was not asked for.
 */
import { once } from "node:events";
import { connect as connectTcp } from "node:net";
import type { Duplex } from "node:stream";
import { connect as connectTls } from "node:tls";
import type { TLSSocket } from "node:tls";
import { createWebSocketStream, WebSocket } from "ws";
import mqttPacket from "mqtt-packet";
import type { IConnackPacket, IConnectPacket, IPublishPacket, ISubackPacket, Packet, QoS } from "mqtt-packet";
import { exporterValue } from "../../shared/proof.ts";
import { createSigner } from "../../shared/es256.ts";
import type { KeyObject } from "node:crypto";

export interface WireOptions {
  readonly port: number;
  readonly transport?: "tls" | "tcp" | "wss";
  readonly ca?: string;
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  readonly maxVersion?: "TLSv1.2" | "TLSv1.3";
  /** Of an earlier connection, to be resumed. */
  readonly session?: Buffer | undefined;
  /** What a browser says of the page that asks for a WebSocket. */
  readonly origin?: string;
}

export interface PublishOptions {
  readonly qos?: QoS;
  readonly retain?: boolean;
}

/** One connection. */
export class Wire {
  readonly #stream: Duplex;
  readonly #tls: TLSSocket | undefined;
  readonly #received: Packet[] = [];
  readonly #waiting: (() => void)[] = [];
  readonly closed: Promise<void>;
  isClosed = false;
  /** What resumes this TLS session, once the server has sent it. */
  ticket: Buffer | undefined;
  #messageId = 0;

  private constructor(stream: Duplex, tls: TLSSocket | undefined) {
    this.#stream = stream;
    this.#tls = tls;
    const parser = mqttPacket.parser({ protocolVersion: 4 });
    parser.on("packet", (packet: Packet) => {
      this.#received.push(packet);
      this.#wake();
    });
    stream.on("data", (chunk: Buffer) => parser.parse(chunk));
    stream.on("error", () => {});
    stream.once("end", () => stream.destroy());
    this.closed = new Promise((resolve) =>
      stream.once("close", () => {
        this.isClosed = true;
        this.#wake();
        resolve();
      }),
    );
  }

  static async open(options: WireOptions): Promise<Wire> {
    const { port, transport = "tls", ca, cert, key, maxVersion, session, origin } = options;
    const tlsOptions = { ca, cert, key, servername: "localhost", ...(maxVersion && { maxVersion }) };
    if (transport === "tcp") {
      const socket = connectTcp(port, "127.0.0.1");
      await once(socket, "connect");
      return new Wire(socket, undefined);
    }
    if (transport === "wss") {
      const socket = new WebSocket(`wss://localhost:${port}`, "mqtt", { ...tlsOptions, ...(origin && { origin }) });
      const [[response]] = await Promise.all([once(socket, "upgrade"), once(socket, "open")]);
      return new Wire(createWebSocketStream(socket), (response as { socket: TLSSocket }).socket);
    }
    const socket = connectTls({ port, host: "localhost", ...tlsOptions, ...(session && { session }) });
    const wire = new Wire(socket, socket);
    socket.on("session", (ticket: Buffer) => (wire.ticket = ticket));
    await once(socket, "secureConnect");
    return wire;
  }

  /** The signature over this connection's exporter value. */
  prove(privateKey: KeyObject): Buffer {
    return Buffer.from(createSigner("", privateKey).sign(exporterValue(this.#tls)));
  }

  /** Whether the TLS session is a resumed one. */
  get isResumed(): boolean {
    return this.#tls?.isSessionReused() === true;
  }

  /** The exporter value of this connection. */
  exported(): Uint8Array {
    return exporterValue(this.#tls);
  }

  send(packet: Packet): void {
    this.#stream.write(mqttPacket.generate(packet));
  }

  sendBytes(bytes: Uint8Array): void {
    this.#stream.write(bytes);
  }

  /** Reads nothing from now on, as a client does that is stuck. */
  pause(): void {
    this.#stream.pause();
  }

  resume(): void {
    this.#stream.resume();
  }

  /** Breaks the connection without a DISCONNECT. */
  drop(): void {
    this.#stream.destroy();
  }

  /** Ends the connection as a client should. */
  async leave(): Promise<void> {
    this.send({ cmd: "disconnect" });
    this.#stream.end();
    await this.closed;
  }

  /** The next packet of this kind, others are passed over; rejects when the connection closes before. */
  async next<T extends Packet = Packet>(cmd: Packet["cmd"]): Promise<T> {
    for (;;) {
      const index = this.#received.findIndex((packet) => packet.cmd === cmd);
      if (index >= 0) return this.#received.splice(index, 1)[0] as T;
      if (this.isClosed) throw new Error(`closed before ${cmd}`);
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  /** What arrived of this kind so far. */
  all(cmd: Packet["cmd"]): Packet[] {
    return this.#received.filter((packet) => packet.cmd === cmd);
  }

  /** Sends CONNECT and gives back the code of CONNACK. */
  async connect(packet: Partial<IConnectPacket>): Promise<IConnackPacket> {
    this.send({
      cmd: "connect",
      protocolId: "MQTT",
      protocolVersion: 4,
      clean: true,
      clientId: "",
      keepalive: 0,
      ...packet,
    });
    return this.next<IConnackPacket>("connack");
  }

  /** Subscribes and gives back what was granted: a QoS or 128 for each filter. */
  async subscribe(filters: readonly string[], qos: QoS = 0): Promise<number[]> {
    this.send({ cmd: "subscribe", messageId: 99, subscriptions: filters.map((topic) => ({ topic, qos })) });
    return (await this.next<ISubackPacket>("suback")).granted as number[];
  }

  /** Publishes; with QoS 1 or 2 waits for the acknowledgement. */
  async publish(topic: string, payload: string | Buffer = "", options: PublishOptions = {}): Promise<void> {
    const { qos = 0, retain = false } = options;
    const messageId = qos > 0 ? ++this.#messageId : undefined;
    this.send({ cmd: "publish", topic, payload, qos, retain, dup: false, ...(messageId && { messageId }) });
    if (qos === 1) await this.next("puback");
    if (qos !== 2) return;
    await this.next("pubrec");
    this.send({ cmd: "pubrel", messageId: messageId! });
    await this.next("pubcomp");
  }

  /** The next message, as topic and text. */
  async message(): Promise<{ topic: string; payload: string; qos: number; retain: boolean }> {
    const { topic, payload, qos, retain, messageId } = await this.next<IPublishPacket>("publish");
    if (qos === 1) this.send({ cmd: "puback", messageId: messageId! });
    return { topic, payload: payload.toString(), qos, retain };
  }

  /** Answers that everything sent before was taken: the broker works a connection's packets off in order. */
  async settled(): Promise<void> {
    this.send({ cmd: "pingreq" });
    await this.next("pingresp");
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}
