/**
 * A pair of clients that do nobody any harm: one publishes a message of QoS 1 every few milliseconds, the other receives
 * it. How long each message takes says how the broker serves them while it is kept busy by others.
 */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import mqttPacket, { type Packet } from "mqtt-packet";
import { writeSubscribe } from "./frames.ts";

/** Who the two are, and how often one speaks. */
export interface PairSpec {
  readonly port: number;
  readonly publisher: Uint8Array;
  readonly subscriber: Uint8Array;
  readonly topic: string;
  readonly everyMs: number;
}

/** What the pair has seen. */
export interface Watched {
  /** Milliseconds of each message; of one that has not arrived, how long it has been on its way. */
  readonly latencies: number[];
  readonly missing: number;
  readonly isClosed: boolean;
}

const payloadBytes = 64;
/** A broker that has answered a probe so fast has nothing left to do. */
const settledMs = 20;
const settleLimitMs = 20_000;
/** What has not arrived so long after the last was sent counts as missing. */
const graceMs = 1000;

/** Connected, subscribed and silent until {@link begin}. */
export class Pair {
  readonly #spec: PairSpec;
  readonly #publisher: Socket;
  readonly #subscriber: Socket;
  /** When each message was sent; NaN once it has arrived. */
  #pending: number[] = [];
  #latencies: number[] = [];
  #arrived: (() => void) | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  private constructor(spec: PairSpec, publisher: Socket, subscriber: Socket) {
    this.#spec = spec;
    this.#publisher = publisher;
    this.#subscriber = subscriber;
  }

  static async open(spec: PairSpec): Promise<Pair> {
    const publisher = await join(spec.port, spec.publisher, () => {});
    const received: { take?: (packet: Packet) => void } = {};
    const subscriber = await join(spec.port, spec.subscriber, (packet) => received.take?.(packet));
    const pair = new Pair(spec, publisher, subscriber);
    const subscribed = new Promise<void>((resolve) => {
      received.take = (packet) => {
        if (packet.cmd === "suback") resolve();
        else if (packet.cmd === "publish") pair.#receive(packet.payload as Buffer, packet.messageId ?? 0);
      };
    });
    for (const socket of [publisher, subscriber]) socket.on("close", () => (pair.#isClosed = true));
    subscriber.write(writeSubscribe(spec.topic, 1));
    await subscribed;
    return pair;
  }

  /** Sends single messages until one is back at once, or for twenty seconds. */
  async settle(): Promise<void> {
    const deadline = performance.now() + settleLimitMs;
    while (performance.now() < deadline && !this.#isClosed) {
      this.#reset();
      const arrived = new Promise<void>((resolve) => (this.#arrived = resolve));
      this.#send();
      await Promise.race([arrived, sleep(settleLimitMs / 10)]);
      if ((this.#latencies[0] ?? Infinity) < settledMs) return;
      await sleep(settledMs);
    }
  }

  /** Publishes until {@link finish}. */
  begin(): void {
    this.#reset();
    const started = performance.now();
    this.#timer = setInterval(() => {
      while (!this.#isClosed && performance.now() - started >= this.#pending.length * this.#spec.everyMs) this.#send();
    }, 1);
  }

  /** Stops, waits a moment for what is on its way, and says how long each message took. */
  async finish(): Promise<Watched> {
    clearInterval(this.#timer);
    const deadline = performance.now() + graceMs;
    const isMissing = (sentAt: number): boolean => !Number.isNaN(sentAt);
    while (this.#pending.some(isMissing) && performance.now() < deadline && !this.#isClosed) await sleep(settledMs);
    const now = performance.now();
    const missing = this.#pending.filter(isMissing).map((sentAt) => now - sentAt);
    return { latencies: [...this.#latencies, ...missing], missing: missing.length, isClosed: this.#isClosed };
  }

  close(): void {
    this.#publisher.destroy();
    this.#subscriber.destroy();
  }

  #reset(): void {
    this.#pending = [];
    this.#latencies = [];
  }

  #send(): void {
    const payload = Buffer.alloc(payloadBytes);
    payload.writeUInt32BE(this.#pending.length);
    const { topic } = this.#spec;
    const messageId = (this.#pending.length % 60_000) + 1;
    const packet = { cmd: "publish", topic, payload, qos: 1, retain: false, dup: false, messageId } as const;
    const frame = mqttPacket.generate(packet);
    this.#pending.push(performance.now());
    this.#publisher.write(frame);
  }

  #receive(payload: Buffer, messageId: number): void {
    this.#subscriber.write(mqttPacket.generate({ cmd: "puback", messageId }));
    const number = payload.readUInt32BE();
    const sentAt = this.#pending[number];
    if (sentAt === undefined || Number.isNaN(sentAt)) return;
    this.#latencies.push(performance.now() - sentAt);
    this.#pending[number] = Number.NaN;
    this.#arrived?.();
  }
}

async function join(port: number, connectFrame: Uint8Array, take: (packet: Packet) => void): Promise<Socket> {
  const socket = connect({ port, host: "127.0.0.1", noDelay: true });
  socket.on("error", () => {});
  await once(socket, "connect");
  const parser = mqttPacket.parser({ protocolVersion: 4 });
  const accepted = new Promise<void>((resolve, reject) => {
    parser.on("packet", (packet) => {
      if (packet.cmd !== "connack") take(packet);
      else if (packet.returnCode === 0) resolve();
      else reject(new Error(`CONNACK ${packet.returnCode}`));
    });
    socket.once("close", () => reject(new Error("closed before CONNACK")));
  });
  socket.on("data", (chunk) => void parser.parse(chunk));
  socket.write(connectFrame);
  await accepted;
  return socket;
}
