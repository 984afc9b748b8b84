/**
 * MQTT as a load generator speaks it: PUBLISH written before the load starts, and what comes back counted by its frames
 * alone. Topics and payloads are never read, so that a generator takes a fraction of what the broker takes.
 */
import mqttPacket from "mqtt-packet";

/** The same PUBLISH many times in a row; of QoS 1 with the packet identifiers 1, 2, 3, … */
export interface Frames {
  readonly bytes: Buffer;
  readonly count: number;
  /** Of each. */
  readonly frameBytes: number;
}

const noBytes = Buffer.alloc(0);
const packetType = { connack: 2, publish: 3, puback: 4, suback: 9 } as const;

/** What is published, and how. */
export interface Publication {
  readonly topic: string;
  readonly qos: 0 | 1;
  readonly payloadBytes: number;
}

/** Writes a publication `count` times. */
export function writePublishes({ topic, qos, payloadBytes }: Publication, count: number): Frames {
  const payload = Buffer.alloc(payloadBytes, 0x61);
  const frames = Array.from({ length: count }, (_, index) =>
    mqttPacket.generate({ cmd: "publish", topic, payload, qos, retain: false, dup: false, messageId: index + 1 }),
  );
  return { bytes: Buffer.concat(frames), count, frameBytes: frames[0]!.length };
}

/** A CONNECT of MQTT 3.1.1. */
export interface ConnectFields {
  readonly clientId: string;
  readonly clean: boolean;
  readonly username?: string | undefined;
  readonly password?: string | Buffer | undefined;
}

/** Writes a CONNECT. */
export function writeConnect({ clientId, clean, username, password }: ConnectFields): Buffer {
  return mqttPacket.generate({
    cmd: "connect",
    protocolId: "MQTT",
    protocolVersion: 4,
    keepalive: 600,
    clean,
    clientId,
    ...(username !== undefined && { username }),
    ...(password !== undefined && { password: Buffer.from(password) }),
  });
}

/** Writes a SUBSCRIBE to one filter. */
export function writeSubscribe(filter: string, qos: 0 | 1): Buffer {
  return mqttPacket.generate({ cmd: "subscribe", messageId: 1, subscriptions: [{ topic: filter, qos }] });
}

/** Counts what a broker sends on one connection. */
export class FrameCounter {
  publishes = 0;
  pubacks = 0;
  /** The return code of the CONNACK, and of the first filter of the SUBACK. */
  connack: number | undefined;
  suback: number | undefined;
  #rest: Buffer = noBytes;
  readonly #unanswered: number[] = [];

  /** Takes what has arrived, cut anywhere, and returns the PUBACKs that are due for it. The chunk is not kept. */
  feed(chunk: Buffer): Buffer | undefined {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let at = 0;
    for (let next = this.#countFrame(bytes, at); next > at; next = this.#countFrame(bytes, at)) at = next;
    this.#rest = at === bytes.length ? noBytes : Buffer.from(bytes.subarray(at));
    return this.#unanswered.length === 0 ? undefined : this.#writePubacks();
  }

  /** Where the frame that begins here ends; here when it is not whole. */
  #countFrame(bytes: Buffer, start: number): number {
    let at = start + 1;
    let length = 0;
    for (let shift = 0; ; shift += 7) {
      if (at >= bytes.length) return start;
      const byte = bytes[at++]!;
      length |= (byte & 0x7f) << shift;
      if (byte < 0x80) break;
      if (shift === 21) throw new Error("a remaining length of more than four bytes");
    }
    const end = at + length;
    if (end > bytes.length) return start;
    const head = bytes[start]!;
    switch (head >> 4) {
      case packetType.publish:
        this.publishes++;
        if ((head & 0x06) !== 0) this.#unanswered.push(bytes.readUInt16BE(at + 2 + bytes.readUInt16BE(at)));
        break;
      case packetType.puback:
        this.pubacks++;
        break;
      case packetType.connack:
        this.connack = bytes[at + 1]!;
        break;
      case packetType.suback:
        this.suback = bytes[at + 2]!;
        break;
    }
    return end;
  }

  #writePubacks(): Buffer {
    const pubacks = Buffer.allocUnsafe(this.#unanswered.length * 4);
    let at = 0;
    for (const packetId of this.#unanswered) {
      pubacks[at] = packetType.puback << 4;
      pubacks[at + 1] = 2;
      pubacks.writeUInt16BE(packetId, at + 2);
      at += 4;
    }
    this.#unanswered.length = 0;
    return pubacks;
  }
}
